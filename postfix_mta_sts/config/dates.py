"""Read and write the end of an exception: a date, a date with a time, or how long from now on.

Without a zone a date and a time are local. `config` and the command `exception` use the same
notation of dates; only the command knows a now.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, time, timedelta
from typing import Final

LONGEST: Final = 3660 * 86_400
"""Seconds: ten years. What is to last longer has no end."""
ALLOWED: Final = "a date like 2026-12-31 (its end), or 2026-12-31T18:00, with or without +01:00"

# RFC 3339 §5.6, in which Appendix A allows a blank for the T; here seconds and zone are optional.
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(Z|z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DAY_FIRST = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})")
_WITHOUT_SIGNS = re.compile(r"([0-9]{4})[/.]?([0-9]{2})[/.]?([0-9]{2})")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhdw])([a-z]*)", re.IGNORECASE)
UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""The seconds of each unit of a duration."""
_NEVER: Final = frozenset({"forever", "never", "always", "none", "infinity"})
_UNIT_NAMES: Final = frozenset({"second", "sec", "minute", "min", "hour", "hr", "day", "week"})
_LAST_YEAR: Final = 9998
"""The year after it is still one that Python knows, in any zone."""


def parse_until(text: str) -> float:
    """Return the end, in epoch seconds; `2026-12-31` ends with that day.

    Raises `ValueError`, with what to write if that can be guessed.
    """
    match = _DATE.fullmatch(text)
    if not match:
        raise ValueError(_hint(text))
    day, clock, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or '').upper()}")
    except ValueError:
        raise ValueError("there is no such day or time") from None
    if not 1970 < moment.year <= _LAST_YEAR:
        raise ValueError(f"the year is not from 1971 to {_LAST_YEAR}")
    if clock is None:
        moment += timedelta(days=1)
    return moment.timestamp()


def until_text(until: float) -> str:
    """Return an end as `parse_until` reads it; a day, if it is the end of one."""
    moment = datetime.fromtimestamp(until).astimezone()
    if moment.time() == time():
        return f"{moment.date() - timedelta(days=1)}"
    return moment.isoformat(timespec="seconds")


def parse_duration(text: str) -> float:
    """Return how long `30m`, `12h`, `3d` or `2w` is, in seconds; 1 s to ten years.

    Raises `ValueError`, with what to write.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match or (match[3] and not _is_unit(match[2], match[3])):
        raise ValueError("write a number and its unit: 30m, 12h, 3d or 2w")
    seconds = float(match[1]) * UNITS[match[2].lower()]
    if not 1 <= seconds <= LONGEST:
        raise ValueError("it must be from 1s to 3660d; write forever for what has no end")
    return seconds


def _is_unit(first: str, rest: str) -> bool:
    """Whether letters are the name of a unit, such as `days`; `3mo` is not minutes."""
    return f"{first}{rest}".lower().removesuffix("s") in _UNIT_NAMES


def _hint(text: str) -> str:
    """Return what to write instead of another notation of a date; else an empty text."""
    if text.lower() in _NEVER:
        return "write forever: true in the place of until"
    if _DURATION.fullmatch(text):
        return "write the day on which it ends: a file does not say when it began"
    for pattern, order in ((_DAY_FIRST, (3, 2, 1)), (_WITHOUT_SIGNS, (1, 2, 3))):
        if match := pattern.fullmatch(text):
            year, month, day = (match[number].zfill(2) for number in order)
            with suppress(ValueError):
                parse_until(f"{year}-{month}-{day}")
                return f"write {year}-{month}-{day}"
    return ""
