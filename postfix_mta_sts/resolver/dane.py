"""What DANE says of one domain: asked beside an attempt at its policy, counted, and logged.

Border: when to ask, the resolver knows; what an answer means, `mtasts.dane`. It is asked once,
however many wait for it, and ends with the attempt.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from postfix_mta_sts.mtasts.changes import verdict_change
from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, Verdict, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.resolver.chronicle import record
from postfix_mta_sts.stats import SUCCESS, Counters, Stage

DaneLookup: TypeAlias = Callable[[Domain], Awaitable[DaneOutcome]]
"""Finds out what DANE says of a domain; that the DNS fails is an outcome too."""

_log = logging.getLogger(__name__)


class DaneCheck:
    """A verdict as it was, and, if a `dane_lookup` is asked, as it will be.

    `clock` gives epoch seconds.
    """

    def __init__(
        self,
        domain: Domain,
        before: Verdict | None,
        dane_lookup: DaneLookup | None,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self.before = before
        self._domain = domain
        self._clock = clock
        self._counters = counters
        self._asked = asyncio.ensure_future(dane_lookup(domain)) if dane_lookup else None
        self._after: Verdict | None = None

    @property
    def asks(self) -> bool:
        """Whether there is, or was, something to wait for."""
        return self._asked is not None

    async def verdict(self) -> Verdict | None:
        """What is believed of the domain now; None where DANE is not asked about at all."""
        if self._asked is None:
            return self.before
        if self._after is None:
            self._after = self._noted(await self._asked)
        return self._after

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._asked:
            self._asked.cancel()

    def _noted(self, outcome: DaneOutcome) -> Verdict:
        failed = outcome.kind is DaneKind.FAILURE
        self._counters.attempts[Stage.DANE, DnsFailureError.code if failed else SUCCESS] += 1
        after = after_verdict(self.before, outcome, self._clock())
        record(_log, self._domain, verdict_change(self.before, after))
        return after
