"""`policy list --asked-since TIME`: the look-ups of that time, added up by the answer of now.

The daemon counts look-ups by day (UTC); those of the day in which the time begins count, too.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from postfix_mta_sts.admin.times import NO_VALUE
from postfix_mta_sts.cli.answers import answer
from postfix_mta_sts.config.field_types import seconds

LONGEST: Final = 7 * 86_400
"""Seconds for which look-ups of each day are kept (`store.days`)."""


def asked_since(text: str) -> int:
    """Return the seconds of the option; raises `ArgumentTypeError`."""
    try:
        given = math.ceil(seconds(text))
    except ValueError:
        given = -1
    if not 0 <= given <= LONGEST:
        reason = "not a time such as 12h or 7d, or longer than 7d: look-ups of 7 days are counted"
        raise argparse.ArgumentTypeError(reason)
    return given


class Tally:
    """Adds up look-ups since a day: that of `now` less `within`, both in seconds."""

    def __init__(self, now: float, within: int) -> None:
        self.first_day = f"{datetime.fromtimestamp(now - within, UTC):%Y-%m-%d}"
        self._domains: Counter[str] = Counter()
        self._times: Counter[str] = Counter()

    def add(self, entry: Mapping[str, Any]) -> int:
        """Add an entry of the list; return its look-ups."""
        days = entry["asked_days"].items()
        times: int = sum(number for day, number in days if day >= self.first_day)
        told = answer(entry) or NO_VALUE
        self._domains[told] += 1
        self._times[told] += times
        return times

    def lines(self) -> Iterator[tuple[str, object]]:
        """Yield the sums by answer: most domains first."""
        for told, number in self._domains.most_common():
            domains = "1 domain" if number == 1 else f"{number:,} domains"
            times = self._times[told]
            yield told, f"{domains}, {'1 look-up' if times == 1 else f'{times:,} look-ups'}"
