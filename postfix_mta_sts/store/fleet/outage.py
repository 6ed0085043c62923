"""What the log says while the shared store fails: one line when it begins, one when it is over.

All outages together have at most one line a minute: what was left out is said the next time after
that, if it is still true.
"""

import logging
from collections.abc import Callable
from typing import Final

from postfix_mta_sts import logs
from postfix_mta_sts.rate_limit import RateLimit

_log: Final = logging.getLogger(__name__)


class Outage:
    """One kind of outage; `monotonic` is a clock in seconds, `lines` limits what all kinds log."""

    def __init__(self, monotonic: Callable[[], float], lines: RateLimit) -> None:
        self._monotonic = monotonic
        self._lines = lines
        self._said = ""
        """The operation that fails, for readers of the log."""

    def say(self, operation: str, problem: str, *, covered_by: str = "") -> None:
        """Log it if it is new that an operation fails (`problem`), or that it works (none).

        `covered_by`: an operation after whose line this one is not new.
        """
        known = {operation, covered_by} - {""} if problem else {""}
        if self._said in known or not self._lines.take(self._monotonic()):
            return
        before, self._said = self._said, operation if problem else ""
        if problem:
            logs.event(
                _log, logging.WARNING, "shared store failing", operation=operation, reason=problem
            )
        else:
            logs.event(_log, logging.INFO, "shared store recovered", operation=before)
