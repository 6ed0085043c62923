"""`policy list --asked-since TIME`: the look-ups of that time, added up by the answer of now.

The daemon counts look-ups by day (UTC); those of the day in which the time begins count, too.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.times import NO_VALUE, counted, day
from postfix_mta_sts.cli.answers import answer
from postfix_mta_sts.cli.time_argument import seconds_of

LONGEST: Final = 7 * 86_400
"""Seconds for which look-ups of each day are kept (`store.days`)."""


def asked_since(text: str) -> int:
    """Return the seconds of the option; raises `ArgumentTypeError`."""
    try:
        given = seconds_of(text)
    except argparse.ArgumentTypeError:
        given = -1
    if not 0 <= given <= LONGEST:
        reason = "not a time such as 12h or 7d, or longer than 7d: look-ups of 7 days are counted"
        raise argparse.ArgumentTypeError(reason)
    return given


class Tally:
    """Adds up look-ups since a day: that of `now` less `within`, both in seconds."""

    def __init__(self, now: float, within: int) -> None:
        self.first_day = day(now - within)
        self._domains: Counter[str] = Counter()
        self._times: Counter[str] = Counter()

    def add(self, entry: Mapping[str, Any]) -> int:
        """Add an entry of the list; return its look-ups."""
        days = entry["asked_days"].items()
        times: int = sum(number for on, number in days if on >= self.first_day)
        told = answer(entry) or NO_VALUE
        self._domains[told] += 1
        self._times[told] += times
        return times

    def lines(self) -> Iterator[tuple[str, object]]:
        """Yield the sums by answer: most domains first."""
        for told, number in self._domains.most_common():
            yield told, f"{counted(number, 'domain')}, {counted(self._times[told], 'look-up')}"
