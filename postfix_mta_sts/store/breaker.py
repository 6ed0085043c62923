"""The ways to a store that may fail, whether each does, and how long is waited for it.

Border: what is asked there, and what else becomes of a failure, `failsafe` knows; here it is
remembered, and logged when it begins and when it is over.
"""

import logging
import math
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts import logs
from postfix_mta_sts.store import StoreError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited, in seconds."""

    retry: float = 5.0
    """Before a failed store is tried again."""
    replace: float = 300.0
    """Between two replacements of a damaged file."""
    read: float = 1.0
    """No look-up waits longer for a sick disk."""
    list: float = 10.0
    """A scan of all rows may take this long; no look-up waits for it."""
    write: float = 3.0
    """Longer than a read, because a write may have to wait for a lock first."""


USUAL: Final = Timing()


class Breaker:
    """One of the ways to a store; `deadline`: seconds that an answer may take."""

    def __init__(self, name: str, deadline: float) -> None:
        self.name = name
        self.deadline = deadline
        self.failing = False
        """Whether what was last asked failed."""
        self.retry_at = -math.inf
        """Until then it is not asked again, if it fails; by the clock of whoever asks."""

    def failed(self, error: StoreError, retry_at: float) -> None:
        """Note a failure; the first in a row is logged."""
        self.retry_at = retry_at
        if not self.failing:
            self.failing = True
            logs.event(_log, logging.WARNING, "store failing", doing=self.name, reason=str(error))

    def may_be_asked(self, now: float) -> bool:
        """Whether it works, or it is time to see whether it does again."""
        return not self.failing or now >= self.retry_at

    def works(self, written: int | None = None) -> None:
        """Note a success; the first after failures is logged."""
        if self.failing:
            self.failing = False
            logs.event(_log, logging.INFO, "store works again", doing=self.name, written=written)


def too_slow(what: str, way: Breaker) -> StoreError:
    """What is wrong when the deadline of a way has passed."""
    return StoreError(f"{what} took longer than {way.deadline:g} s")
