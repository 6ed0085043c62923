"""Write times for people: as a date in UTC, and relative to now.

Times are seconds since the epoch; None is written as a dash.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_WEEK: Final = 6 * 86_400
"""Seconds for which the name of a day is clear."""
NO_VALUE: Final = "-"


def span(seconds: float) -> str:
    """Write a duration in its two largest units: `3d 4h`, `12m`, `5s`."""
    left = max(0, round(seconds))
    for (unit, size), (lower, part) in pairwise(_UNITS):
        if left >= size:
            rest = left % size // part
            return f"{left // size}{unit} {rest}{lower}" if rest else f"{left // size}{unit}"
    return f"{left}s"


def in_words(seconds: float) -> str:
    """Write a duration in its largest unit, for a sentence: `3 days`, `1 hour`."""
    for (_, size), unit in zip(_UNITS, ("day", "hour", "minute"), strict=False):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"


def ago(at: float | None, now: float) -> str:
    """Write a past time: `12m ago`."""
    return NO_VALUE if at is None else f"{span(now - at)} ago"


def ahead(at: float | None, now: float) -> str:
    """Write a future time: `in 12m`, or `overdue by 12m` if it has passed."""
    if at is None:
        return NO_VALUE
    return f"in {span(at - now)}" if at > now else f"overdue by {span(now - at)}"


def moment(at: float) -> str:
    """Write the date and the time in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def day(at: float) -> str:
    """Write the date in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def day_of_week(at: float, now: float) -> str:
    """Write a past day in UTC: `Tuesday`, or its date if it was 6 days ago or more."""
    return f"{datetime.fromtimestamp(at, UTC):%A}" if 0 <= now - at < _WEEK else day(at)


def dated(at: float, relative: str) -> str:
    """Write the date and the time in UTC, and the same relative to now."""
    return f"{moment(at)}, {relative}"


def counted(number: int, noun: str) -> str:
    """Return `1 domain`, `2,000 domains`."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"
