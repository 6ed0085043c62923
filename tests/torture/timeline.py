"""The daemon's clock and the faults of a run, from its start to now."""

import math
from bisect import bisect_right
from collections.abc import Collection

from tests.torture.events import Fault


class Clock:
    """The daemon's clock: `at` plus an offset that changes at some moments."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._offsets: list[float] = []
        self.set_back_at = -math.inf
        """When the clock was last set back."""

    def set(self, at: float, offset: float) -> None:
        """From `at` on the clock has this offset."""
        if self._offsets and offset < self._offsets[-1]:
            self.set_back_at = at
        self._times.append(at)
        self._offsets.append(offset)

    def wall(self, at: float) -> float:
        """The time that the clock shows at `at`."""
        return at + self._offsets[max(0, bisect_right(self._times, at) - 1)]

    def lowest(self, since: float, until: float) -> float:
        """The earliest time that the clock shows between two moments."""
        return min(self.wall(since), *(self.wall(t) for t in self._between(since, until)), math.inf)

    def highest(self, since: float, until: float) -> float:
        """The latest time that the clock shows between two moments."""
        ends = (t + before for t, before in self._ends(since, until))
        return max(self.wall(until), *ends, -math.inf)

    def was_set(self, since: float, until: float) -> bool:
        """Whether the clock was set between two moments."""
        return bool(self._between(since, until))

    def _between(self, since: float, until: float) -> list[float]:
        first, last = bisect_right(self._times, since), bisect_right(self._times, until)
        return self._times[first:last]

    def _ends(self, since: float, until: float) -> list[tuple[float, float]]:
        """Each moment at which the clock was set, and the offset until then."""
        first, last = bisect_right(self._times, since), bisect_right(self._times, until)
        return [(self._times[n], self._offsets[n - 1]) for n in range(max(first, 1), last)]


class Faults:
    """When each fault began and ended."""

    def __init__(self) -> None:
        self._spans: list[tuple[Fault, float, float]] = []
        self._open: dict[Fault, float] = {}

    def begin(self, fault: Fault, at: float) -> None:
        """A fault begins."""
        self._open.setdefault(fault, at)

    def end(self, fault: Fault, at: float) -> None:
        """A fault ends."""
        began = self._open.pop(fault, None)
        if began is not None:
            self._spans.append((fault, began, at))

    def now(self) -> tuple[Fault, ...]:
        """The faults that last."""
        return tuple(self._open)

    def during(
        self, kinds: Collection[Fault], since: float, until: float, after: float = 0.0
    ) -> bool:
        """Whether one of these faults, or the time `after` it, meets the span."""
        if any(began <= until for fault, began in self._open.items() if fault in kinds):
            return True
        spans = ((began, ended) for fault, began, ended in self._spans if fault in kinds)
        return any(began <= until and since <= ended + after for began, ended in spans)

    def last_end(self, kinds: Collection[Fault]) -> float:
        """When the last of these faults ended; infinite if one lasts."""
        if any(fault in kinds for fault in self._open):
            return math.inf
        return max((ended for fault, _, ended in self._spans if fault in kinds), default=-math.inf)
