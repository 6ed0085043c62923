"""The result of `doctor`: the types are the JSON schema that `doctor --schema` prints.

Values only. Text from elsewhere has been made printable where it entered the program.
"""

import enum
from typing import Final

from postfix_mta_sts.values import Value

WELL: Final = 0
WARNINGS: Final = 1
HARM: Final = 2
"""Exit codes: all is well, warnings only, mail is held or unprotected."""


class Effect(enum.StrEnum):
    """What a finding does to mail."""

    HELD = "held"
    """Mail waits, all of it or that to domains with a policy."""
    UNPROTECTED = "unprotected"
    """Mail is delivered without the protection that policies promise."""
    NONE = "none"
    """Nothing yet: it is a warning."""


class Finding(Value, frozen=True):
    """Something that is not as it should be."""

    id: str
    """A stable word for programs, such as `map-missing`; docs/doctor.md has all of them."""
    effect: Effect
    what: str
    """What was found. It goes on after a label, so it begins small, or with a name."""
    why: str
    """Why it matters. It begins with a capital, or with a program; no full stop."""
    mend: str
    """The one shell command that mends it, as root; empty: no command can."""
    instance: str = ""
    """The instance of Postfix; empty: all, or it is not about Postfix."""
    services: tuple[str, ...] = ()
    """The services of master.cf that it concerns; empty: all, or none in particular."""


class Unseen(Value, frozen=True):
    """Something that could not be looked at. It does not change the exit code."""

    what: str
    reason: str
    """Why not, and as whom it could be."""


class Fact(Value, frozen=True):
    """Something that was seen, and is neither right nor wrong."""

    label: str
    text: str


class Report(Value, frozen=True):
    """All that `doctor` says."""

    version: str
    """Of the program that says it."""
    checked_at: float
    """Epoch seconds."""
    exit_code: int
    sentence: str
    """The conclusion."""
    findings: tuple[Finding, ...]
    """Those that hold mail come first, then those that leave it unprotected, then warnings."""
    unseen: tuple[Unseen, ...]
    facts: tuple[Fact, ...]
