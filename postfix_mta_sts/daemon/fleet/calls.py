"""The calls of the shared store: every part of the daemon asks it by these.

It counts the requests, and keeps since when the store works, or does not. The network process talks
to the store, and knows whether it works: a read-only one answers some requests and fails others.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.stats import Counters, FleetNumbers
from postfix_mta_sts.stats.labels import FleetOutcome, FleetRequest
from postfix_mta_sts.store.fleet.limits import GRACE, limit_of
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    CallFleet,
    Claim,
    OfferCheck,
    ReadExceptions,
    Request,
    Seen,
    StoreCondition,
    Unavailable,
)

NO_ANSWER: Final = Unavailable("the network process did not answer in time")
_NO_VERSION: Final = 2**53
"""Above the version of every document: none is sent."""


class FleetCalls:
    """Asks by `ask`, which never raises; see `NetworkClient.ask_fleet`.

    `condition` says whether the store works, see `NetworkClient.fleet_condition`; `is_on`, whether
    there is a fleet.
    """

    def __init__(
        self,
        ask: CallFleet,
        condition: Callable[[], StoreCondition],
        counters: Counters,
        clock: Callable[[], float],
        *,
        is_on: bool,
    ) -> None:
        self._is_on = is_on
        self._ask = ask
        self._condition = condition
        self._counters = counters
        self._clock = clock
        self._known = StoreCondition()
        self._since: float | None = None
        self.on_recovery: Callable[[], None] | None = None
        """Called when the store works again; returns at once."""

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """Return the answer of the store, or `Unavailable`, in the time of `limits`.

        Only a `Claim` may take longer if the network process hangs: it must not be cancelled, lest
        a lease that it gets be renewed for nothing.
        """
        outcome = FleetOutcome.CANCELLED
        try:
            answer = await self._answer(request)
            outcome = _outcome(answer)
        finally:
            self._counters.fleet_requests[kind_of(type(request)), outcome] += 1
            self._note(is_answered=outcome is FleetOutcome.ANSWERED)
        if isinstance(answer, Seen):
            self._counters.fleet_seconds += answer.seconds
        return answer

    async def meet(self, seconds: float) -> None:
        """Wait until the store has answered once, or has failed, for so many seconds at most.

        A relay with an empty disk knows what the fleet knows from its first look-up on. A look has
        less time than the network process takes to start.
        """
        if self._is_on:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.ask(ReadExceptions(above=_NO_VERSION))

    async def offer_check(self, check: Check) -> None:
        """Give a check to the fleet, if there is one."""
        if self._is_on:
            await self.ask(OfferCheck(check))

    def reconfigure(self, *, is_on: bool, is_same: bool) -> None:
        """Take over whether there is a fleet; forget what is known of a store, unless it stays."""
        self._is_on = is_on
        if not is_same:
            self._known, self._since = StoreCondition(), None

    def numbers(self, waiting: int = 0, exceptions_version: int = 0) -> FleetNumbers:
        """Return what `status` and metrics show; the arguments are those of other parts."""
        if not self._is_on:
            return FleetNumbers()
        self._note(is_answered=False)
        return FleetNumbers(
            is_on=True,
            problem=self._known.problem,
            since=self._since,
            is_asked=self._known.is_asked,
            is_slow=self._known.is_slow,
            waiting=waiting,
            exceptions_version=exceptions_version,
        )

    async def _answer(self, request: AnyRequest) -> AnyAnswer:
        limit = None if isinstance(request, Claim) else limit_of(request) + GRACE
        try:
            async with asyncio.timeout(limit):
                return await self._ask(request)
        except TimeoutError:
            return NO_ANSWER

    def _note(self, *, is_answered: bool) -> None:
        """Note whether the store works. That it does, only an answer shows.

        A network process that has just been started knows nothing of the store yet.
        """
        condition = self._condition()
        if not (condition.problem or is_answered):
            return
        before, self._known = self._known, condition
        if self._since is None or bool(condition.problem) != bool(before.problem):
            self._since = self._clock()
        if before.problem and not condition.problem and self.on_recovery:
            self.on_recovery()


def kind_of(request: type[Request]) -> FleetRequest:
    """Return under which name requests of a class are counted."""
    return _KINDS[request.__name__]


def _outcome(answer: AnyAnswer) -> FleetOutcome:
    if not isinstance(answer, Unavailable):
        return FleetOutcome.ANSWERED
    return FleetOutcome.FAILED if answer.was_asked else FleetOutcome.SKIPPED


_KINDS: Final = {
    re.sub("(?:^|_)([a-z])", lambda m: m[1].upper(), kind): kind for kind in FleetRequest
}
