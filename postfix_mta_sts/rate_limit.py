"""Limit how often the log shows an event that a client or a remote host can cause at will.

Pure: the caller passes the time and writes the line.
"""

import math
from typing import Final

INTERVAL: Final = 60.0
"""Seconds between two lines about the same kind of event."""


class RateLimit:
    """Admits one event in `interval` seconds, and counts those in between.

    Keep one object for each kind of event, not for each client: a client can be many.
    """

    __slots__ = ("_interval", "_left_out", "_next_at")

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._next_at = -math.inf
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """The number of events that a line may now stand for, this one included; None: no line.

        `now`: monotonic seconds.
        """
        if now < self._next_at:
            self._left_out += 1
            return None
        count, self._left_out = 1 + self._left_out, 0
        self._next_at = now + self._interval
        return count
