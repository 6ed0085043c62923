"""One DANE check: look up what DANE says of a domain, count it, and log a changed verdict.

`Attempt` decides when to check; `mtasts.dane` decides what an outcome means. A check looks up once,
however often its verdict is awaited, and ends with the attempt.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.changes import Change, Severity, verdict_change
from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, Verdict, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.stats import SUCCESS, Counters, Stage

DaneLookup: TypeAlias = Callable[[Domain], Awaitable[DaneOutcome]]
"""Looks up what DANE says of a domain; a DNS failure is an outcome too, not an exception."""

_LEVELS: Final = {
    Severity.DETAIL: logging.DEBUG,
    Severity.NOTE: logging.INFO,
    Severity.WARNING: logging.WARNING,
}

_log = logging.getLogger(__name__)


class DaneCheck:
    """The verdict before and after a look-up; without `dane_lookup` it does not change.

    The look-up starts at construction. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        domain: Domain,
        before: Verdict | None,
        dane_lookup: DaneLookup | None,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._domain = domain
        self._before = before
        self._clock = clock
        self._counters = counters
        self._lookup = asyncio.ensure_future(dane_lookup(domain)) if dane_lookup else None
        self._after: Verdict | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a look-up was started."""
        return self._lookup is not None

    async def verdict(self) -> Verdict | None:
        """The verdict after the look-up, or the one before if there is no look-up."""
        if self._lookup is None:
            return self._before
        if self._after is None:
            self._after = self._finish(await self._lookup)
        return self._after

    def cancel(self) -> None:
        """Stop the look-up."""
        if self._lookup:
            self._lookup.cancel()

    def _finish(self, outcome: DaneOutcome) -> Verdict:
        failed = outcome.kind is DaneKind.FAILURE
        self._counters.attempts[Stage.DANE, DnsFailureError.code if failed else SUCCESS] += 1
        after = after_verdict(self._before, outcome, self._clock())
        log_change(_log, self._domain, verdict_change(self._before, after))
        return after


def log_change(logger: logging.Logger, domain: Domain, change: Change) -> None:
    """Log a change of a domain at the level of its severity."""
    event(logger, _LEVELS[change.severity], change.what, domain, exc_info=None, **change.fields)
