"""Points in time, as a person reads them beside a clock: how long ago, how far ahead.

Border: epoch seconds in, words out; None, where there is no such time, is a dash.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
NEVER: Final = "-"


def span(seconds: float) -> str:
    """A length of time in its largest unit and the one below it: `3d 4h`, `12m`, `5s`."""
    left = max(0, round(seconds))
    for (unit, size), (lower, part) in pairwise(_UNITS):
        if left >= size:
            rest = left % size // part
            return f"{left // size}{unit} {rest}{lower}" if rest else f"{left // size}{unit}"
    return f"{left}s"


def ago(at: float | None, now: float) -> str:
    """How long ago that was."""
    return NEVER if at is None else f"{span(now - at)} ago"


def ahead(at: float | None, now: float) -> str:
    """How long it is until then."""
    if at is None:
        return NEVER
    return f"in {span(at - now)}" if at > now else f"due for {span(now - at)}"


def moment(at: float) -> str:
    """The time itself, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def dated(at: float, words: str) -> str:
    """The time itself, and the same in words."""
    return f"{moment(at)}, {words}"
