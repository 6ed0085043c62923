"""How often a domain was asked for on each of the last days; pure functions.

A day is that of UTC, as a number since the epoch. A store keeps `DAYS` counts for a domain, and
puts that of a day in the place of the one `DAYS` days before.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

DAYS: Final = 8
"""Days with a count: today, and the seven before."""
_SECONDS: Final = 86_400

DayCounts: TypeAlias = tuple[tuple[int, int], ...]
"""Days with look-ups and their number, the earliest first."""


def day_of(at: float) -> int:
    """Return the day of a time (epoch seconds)."""
    return int(at // _SECONDS)


def start_of(day: int) -> int:
    """Return when a day begins (epoch seconds)."""
    return day * _SECONDS


def lately(counts: Iterable[tuple[int, int]]) -> DayCounts:
    """Return the counts in order, without those that are older than `DAYS` days."""
    known = sorted(counts)
    return tuple(each for each in known if each[0] > known[-1][0] - DAYS)


def add(counts: DayCounts, day: int, times: int) -> DayCounts:
    """Return the counts with more look-ups on a day."""
    same = sum(number for each, number in counts if each == day)
    others = [each for each in counts if each[0] % DAYS != day % DAYS]
    return lately([*others, (day, same + times)])


def merge(one: DayCounts, other: DayCounts) -> DayCounts:
    """Return the counts of two places that both count the same look-ups, or some of them."""
    days = {day for day, _ in (*one, *other)}
    return lately((day, max(dict(one).get(day, 0), dict(other).get(day, 0))) for day in days)
