"""Whether a daemon lives, and whether it can do all that it is there for.

Border: figures → yes or no, with words, in JSON. Nothing is tried out here, so that asking makes
no noise on disk or network: what counts is how it went when a part was last needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.stats import Part, Snapshot

_FAILING: Final[Mapping[Part, str]] = {
    Part.DNS: "no name server answers; policies that are known stay in force",
    Part.STORE_READING: "policies on file cannot be read; those in memory stay in force",
    Part.STORE_WRITING: "policies are kept in memory and would not outlive a restart",
}


@dataclass(frozen=True, slots=True)
class Health:
    """An answer to whoever asks whether this runs."""

    ok: bool
    body: bytes
    """A JSON object, for people and for programs: `ok`, and what is said of each check."""


def alive() -> Health:
    """Whoever gets this has been answered by the event loop itself."""
    return Health(ok=True, body=_body({"ok": True, "version": __version__}))


def ready(snapshot: Snapshot, processes: int = 1) -> Health:
    """Whether all parts work in all `processes`, of which these are the figures.

    Not ready does not mean that Postfix is not answered: it is, from what is known.
    """
    checks = {str(part): _said(snapshot, part) for part in Part}
    checks["processes"] = _heard(len(snapshot.pids), processes)
    ok = not any(checks.values())
    said = {name: {"ok": not trouble, "says": trouble or "ok"} for name, trouble in checks.items()}
    return Health(ok, _body({"ok": ok, "checks": said}))


def _said(snapshot: Snapshot, part: Part) -> str:
    """What is wrong with a part, nothing if it works."""
    failing, processes = snapshot.failing[part], len(snapshot.pids)
    where = f" (in {failing} of {processes} processes)" if processes > 1 else ""
    return f"{_FAILING[part]}{where}" if failing else ""


def _heard(heard: int, processes: int) -> str:
    missing = processes - heard
    return f"{missing} of {processes} do not answer" if missing > 0 else ""


def _body(said: Mapping[str, object]) -> bytes:
    return json.dumps(said, indent=2).encode() + b"\n"
