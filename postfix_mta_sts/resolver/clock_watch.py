"""Compares the wall clock with the monotonic clock: jumps, and how far its past can be trusted.

Pure: the caller reads both clocks. A wall clock may be wrong when the machine starts, and be set
later. What it says is no reason to throw anything away before it has said so for a day.
"""

from collections import deque
from typing import Final

from postfix_mta_sts.mtasts.lifecycle import DAY

JUMP: Final = 5.0
"""Seconds by which the wall clock must deviate from the monotonic clock to count as set."""
TRUSTED_AFTER: Final = DAY
"""Seconds of this process's uptime through which the clock must have said the same."""


class ClockWatch:
    """The course of the wall clock since the start, read about once a minute.

    `wall` is in seconds since the epoch, `monotonic` in seconds since any moment.
    """

    def __init__(self, wall: float, monotonic: float) -> None:
        self._offset = wall - monotonic
        # From when on the wall clock was never less than so much ahead of the other: (monotonic,
        # seconds).
        self._courses = deque([(monotonic, self._offset)])

    def read(self, wall: float, monotonic: float) -> float:
        """Note the time; return by how many seconds the wall clock was set, 0 if it was not."""
        before, self._offset = self._offset, wall - monotonic
        set_by = self._offset - before
        if abs(set_by) > JUMP:
            self._courses.append((monotonic, self._offset))
        else:  # as it is, or slewed
            start, least = self._courses[-1]
            self._courses[-1] = start, min(least, self._offset)
        while len(self._courses) > 1 and self._courses[1][0] <= monotonic - TRUSTED_AFTER:
            self._courses.popleft()
        return set_by if abs(set_by) > JUMP else 0.0

    def surely_past(self, monotonic: float) -> float | None:
        """Return the latest time that has been in the past for a day of uptime; None at first.

        However the clock was set meanwhile: all through that day it showed a later time.
        """
        begin = monotonic - TRUSTED_AFTER
        if self._courses[0][0] > begin:
            return None
        return min(max(start, begin) + offset for start, offset in self._courses)
