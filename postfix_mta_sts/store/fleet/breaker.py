"""When a shared store that has failed is asked again: a circuit breaker, as a pure state machine.

    CLOSED     -- two failures in a row -->            OPEN
    OPEN       -- a call after the pause, the probe --> HALF_OPEN
    HALF_OPEN  -- the probe works -->                  CLOSED
    HALF_OPEN  -- the probe fails -->                  OPEN, for twice the pause

Calls that were admitted before the breaker opened decide nothing when they end: many are on their
way when a store stops, and only the probe is known to have started after that. For the same reason
calls that were on their way when another failed count as one failure with it: one slow commit of
PostgreSQL is the end of many. `access` makes the calls.
"""

import enum
import math
from typing import Final

from postfix_mta_sts.values import Value, replace

FAILURES: Final = 2
"""In a row, which open a closed breaker: one alone may be a lost packet."""
FIRST_PAUSE: Final = 5.0
"""Seconds; each probe that fails doubles them."""
LONGEST_PAUSE: Final = 60.0


class Position(enum.Enum):
    """What a breaker does with a call."""

    CLOSED = enum.auto()
    """It admits each."""
    OPEN = enum.auto()
    """It admits none until the pause is over; the next one then is the probe."""
    HALF_OPEN = enum.auto()
    """It admits none: the probe is on its way."""


class Admission(enum.Enum):
    """How a breaker has answered a call that asked; each but `NONE` is reported when it ends."""

    NONE = enum.auto()
    CALL = enum.auto()
    PROBE = enum.auto()


class Breaker(Value, frozen=True):
    """The state; times are seconds of a monotonic clock, which the caller passes in."""

    position: Position = Position.CLOSED
    failures: int = 0
    """In a row, while it is closed."""
    failed_at: float = -math.inf
    """When the last of these ended."""
    pause: float = 0.0
    """Seconds for which it is open, the last time; 0: it is closed."""
    retry_at: float = -math.inf
    """While it is open: when the probe may start."""

    def asked(self, now: float) -> tuple["Breaker", Admission]:
        """Return the state after a call asked for admission, and the answer to it."""
        if self.position is Position.CLOSED:
            return self, Admission.CALL
        if self.position is Position.OPEN and now >= self.retry_at:
            return replace(self, position=Position.HALF_OPEN), Admission.PROBE
        return self, Admission.NONE

    def succeeded(self, admission: Admission) -> "Breaker":
        """Return the state after a call that worked."""
        if self._decides(admission):
            return Breaker()
        return self

    def failed(self, admission: Admission, asked_at: float, now: float) -> "Breaker":
        """Return the state after a call that asked for admission at `asked_at` and failed."""
        if not self._decides(admission) or asked_at < self.failed_at:
            return self
        if admission is Admission.CALL and self.failures + 1 < FAILURES:
            return replace(self, failures=self.failures + 1, failed_at=now)
        pause = min(2 * self.pause, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
        return Breaker(Position.OPEN, pause=pause, retry_at=now + pause)

    def gave_up(self, admission: Admission) -> "Breaker":
        """Return the state after a call that ended before it was known whether the store works.

        If it was the probe, the next call is one.
        """
        if self.position is Position.HALF_OPEN and admission is Admission.PROBE:
            return replace(self, position=Position.OPEN)
        return self

    def _decides(self, admission: Admission) -> bool:
        """Whether the end of a call says something of the store as it is now."""
        if self.position is Position.CLOSED:
            return admission is Admission.CALL
        return self.position is Position.HALF_OPEN and admission is Admission.PROBE
