"""Asks `postfix-mta-sts query --smtp` what Postfix will do, and compares that with what it did."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.smtp_client.words import normalise
from tests.e2e.daemon import PROGRAM
from tests.e2e.namespace import Namespace
from tests.e2e.zoo.animal import Wish
from tests.e2e.zoo.keeping import Place, Seen

_AT_ONCE: Final = 4
_LONGEST: Final = 10_000  # bytes of a line in the log
_TIMEOUT: Final = 120
"""Seconds for one command, on a busy machine; its own deadline is much shorter."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the command said of one domain."""

    exit_code: int
    errors: str
    diagnosis: Mapping[str, Any]
    """Empty if it failed."""

    @property
    def sentence(self) -> str:
        """The verdict."""
        return str(self.diagnosis["verdict"]["sentence"])

    @property
    def outcome(self) -> Seen | None:
        """What Postfix will do; None: it does not know."""
        delivery = self.diagnosis.get("delivery")
        if not delivery:
            return None
        return Seen(delivery["outcome"], delivery["dsn"], normalise(delivery["text"]))

    @property
    def wish(self) -> Wish:
        """What RFC 8461 wants; in mode testing a host that fails gets the mail all the same."""
        daemon, network = self.diagnosis["daemon"], self.diagnosis["network"] or {}
        if (daemon["mode"] or network.get("mode")) != "enforce":
            return Wish.NOTHING
        delivery = self.diagnosis.get("delivery") or {}
        known = [host["conforms"] for host in delivery.get("hosts", ())]
        if True in known:
            return Wish.DELIVER
        return Wish.HOLD if False in known else Wish.NOTHING


@dataclass(frozen=True, slots=True)
class Oracle:
    """The command with the configuration of a daemon and the programs of a Postfix."""

    inside: Namespace
    config: Path
    programs: Path

    def ask(self, key: str) -> Said:
        """Run the command for one next-hop."""
        options = ("--smtp", "--json", "--config", self.config)
        done = subprocess.run(
            self.inside.command(PROGRAM, "query", key, *options),
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            env=os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}"},
        )
        diagnosis = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        return Said(done.returncode, done.stderr, diagnosis)

    def ask_all(self, places: Sequence[Place]) -> Mapping[str, Said]:
        """Run it for each domain: name → what it said."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = pool.map(self.ask, (place.next_hop for place in places))
            return {place.animal.name: each for place, each in zip(places, said, strict=True)}


def seen_as(seen: Seen) -> Seen:
    """Return what Postfix logged in the terms of the command; a reply to a message is no news."""
    text = "" if seen.status == "sent" else printable(seen.text.encode(), _LONGEST)
    return Seen(seen.status, seen.dsn, normalise(text))
