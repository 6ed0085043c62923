"""Runs the commands of a daemon and a Postfix, above all `query --smtp`.

What it says is compared with what Postfix did.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.smtp_client.words import normalise
from tests.e2e.mta import Mta
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
class Done:
    """What a command printed, and its exit code."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Oracle:
    """The commands with the configuration of a daemon and the programs of a Postfix."""

    config: Path
    socket: Path

    def ask(self, key: str) -> Said:
        """Run `query --smtp` for one next-hop."""
        done = self.run("query", key, "--smtp", "--json")
        diagnosis = json.loads(done.output) if done.output.startswith("{") else {}
        return Said(done.code, done.errors, diagnosis)

    def run(self, *words: str) -> Done:
        """Run any command."""
        arguments = [*words, "--config", str(self.config)]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(self.socket))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(arguments).encode() + b"\n")
                stream.flush()
                return Done(**json.loads(stream.read()))

    def ask_all(self, places: Sequence[Place]) -> Mapping[str, Said]:
        """Run it for each domain: name → what it said."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = pool.map(self.ask, (place.next_hop for place in places))
            return {place.animal.name: each for place, each in zip(places, said, strict=True)}


@contextlib.contextmanager
def oracle(inside: Namespace, config: Path, mta: Mta, programs: Path) -> Iterator[Oracle]:
    """Have the commands ready while the context is open.

    They have the queue directory and the programs of a Postfix; these are in a folder for PATH.
    """
    path = programs / "oracle"
    # Each `ip netns exec` has its own mounts, so nothing is unmounted.
    script = 'mount --bind "$0/var/spool" /var/spool && exec "$@"'
    command = (sys.executable, "-m", "tests.e2e.zoo.forks", path)
    with subprocess.Popen(
        inside.command("sh", "-c", script, mta.root, *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Oracle(config, path)
        process.communicate()  # the end of its input


def seen_as(seen: Seen) -> Seen:
    """Return what Postfix logged in the terms of the command; a reply to a message is no news."""
    text = "" if seen.status == "sent" else printable(seen.text.encode(), _LONGEST)
    return Seen(seen.status, seen.dsn, normalise(text))
