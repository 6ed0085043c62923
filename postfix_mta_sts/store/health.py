"""The health of the store: whether one kind of access to it works, and when to try it again.

It logs the first failure and the first success after it. `failsafe` decides what happens to a
request that is not allowed or that fails. This is no circuit breaker as `fleet.breaker` is one: a
read of the own disk is never skipped, one failure counts, the pause does not grow, and the repair
calls whether or not a call is allowed.
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
    """Pauses and timeouts, in seconds."""

    retry: float = 5.0
    """Pause before a failed store is tried again."""
    replace: float = 300.0
    """Minimum time between two replacements of a damaged file."""
    read: float = 10.0
    """Timeout of a read; a look-up need not wait for its end."""
    list: float = 10.0
    """Timeout of a scan of all rows; no look-up waits for a scan."""
    write: float = 3.0
    """Timeout of a write; longer than a read, because a write may first wait for a lock."""


DEFAULT_TIMING: Final = Timing()


class Health:
    """State of one kind of access: reading, listing or writing.

    `timeout`: seconds that one call may take. `pause`: seconds without a call after a failure.
    """

    def __init__(self, operation: str, timeout: float, pause: float) -> None:
        self.operation = operation
        self.timeout = timeout
        self.pause = pause
        self.failing = False
        """Whether the last call failed."""
        self.problem = ""
        """Why the last call failed; empty if it did not."""
        self.retry_at = -math.inf
        """While failing, no call is allowed before this time, on the caller's clock."""

    def failed(self, error: StoreError, retry_at: float) -> None:
        """Record a failure; log it if it is the first in a row."""
        self.retry_at = retry_at
        self.problem = str(error)
        if not self.failing:
            self.failing = True
            logs.event(
                _log,
                logging.WARNING,
                "store failing",
                operation=self.operation,
                reason=self.problem,
            )

    def allows(self, now: float) -> bool:
        """Whether a call may be made: the last one succeeded, or the pause is over."""
        return not self.failing or now >= self.retry_at

    def succeeded(self, written: int | None = None) -> None:
        """Record a success; log it if it is the first after a failure.

        `written`: how many policies a repair has written.
        """
        self.problem = ""
        if self.failing:
            self.failing = False
            logs.event(
                _log, logging.INFO, "store recovered", operation=self.operation, written=written
            )


def timeout_error(operation: str, timeout: float) -> StoreError:
    """Make the error of an operation that exceeded its timeout."""
    return StoreError(f"{operation} took longer than {timeout:g} s")
