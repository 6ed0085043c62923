"""At most one attempt per domain at a time, shared by every look-up that waits for it.

A `Flight` is one attempt under way: its task, and the result for the look-ups that wait. The
`SingleFlight` starts flights, returns the one under way, limits their number, and answers waiting
look-ups when the lookup timeout ends. What an attempt does is in `attempt`; this module only calls
the function that it was given.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.stats import Source
from postfix_mta_sts.values import Value

ATTEMPTS_LIMIT: Final = 10_000
"""Attempts under way at once; a look-up that would need one more is answered as unknown."""

_log = logging.getLogger(__name__)


class LookupResult(Value, frozen=True):
    """The result of a look-up."""

    state: State | None
    """None if the lookup timeout ended before the attempt, the attempt limit was reached, or the
    attempt was cancelled at shutdown. A domain without a policy has a state: an absence."""
    source: Source


NO_RESULT: Final = LookupResult(None, Source.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an attempt must do, fixed when it starts."""

    query_txt: bool = False
    """Query the TXT record even if it is not due."""
    force_fetch: bool = False
    """Query TXT, fetch the policy and look up DANE, even if nothing is due."""
    is_recheck: bool = False
    """The attempt was started by the recheck queue."""
    row_was_read: bool = False
    """The store was read for this domain just before; `row` is what it held."""
    row: State | None = None

    @property
    def needs_txt(self) -> bool:
        """Whether the attempt queries TXT even if that is not due."""
        return self.query_txt or self.force_fetch


DEFAULT_ORDER: Final = Order()


class Flight:
    """One attempt under way, and the look-ups that wait for it.

    The attempt calls `publish` whenever it has a state to serve, and `offer` for a state that may
    only be served when the lookup timeout has ended.
    """

    __slots__ = (
        "_deadline",
        "_fallback",
        "_timed_out",
        "_timer",
        "order",
        "result",
        "state",
        "task",
        "wanted",
    )

    def __init__(self, order: Order, deadline: float) -> None:
        self.order = order
        self.result: asyncio.Future[LookupResult] = asyncio.get_running_loop().create_future()
        """Set by the first `publish`, by the lookup timeout, or at the end of the attempt."""
        self.state: State | None = None
        """The last published state."""
        self.wanted = False
        """Whether a look-up waits, or waited: then the cache keeps the state."""
        self.task: asyncio.Task[None]
        self._deadline = deadline  # by the clock of the event loop
        self._fallback = NO_RESULT
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out = False

    def publish(self, state: State, source: Source) -> None:
        """Give this state to the look-ups that wait."""
        self.state = state
        if not self.result.done():
            self.result.set_result(LookupResult(state, source))

    def offer(self, fallback: LookupResult) -> None:
        """Give this result to look-ups whose timeout ends before the next `publish`."""
        self._fallback = fallback

    def wait(self) -> asyncio.Future[LookupResult]:
        """The result, available at the latest when the lookup timeout ends.

        The timeout counts from the start of the attempt: a look-up that comes after it gets what
        there is, at once.
        """
        self.wanted = True
        loop = asyncio.get_running_loop()
        if self._timed_out:
            late: asyncio.Future[LookupResult] = loop.create_future()
            late.set_result(self._fallback)
            return late
        if self._timer is None:
            self._timer = loop.call_at(self._deadline, self._time_out)
        return self.result

    def end(self) -> None:
        """Release the look-ups that still wait; the attempt has ended without a state."""
        if self._timer:
            self._timer.cancel()
        if not self.result.done():
            self.result.set_result(NO_RESULT)

    def _time_out(self) -> None:
        if not self.result.done():
            self._timed_out = True
            self.result.set_result(self._fallback)


Run: TypeAlias = Callable[[Domain, Flight], Awaitable[None]]
"""Carries out one attempt; handles its own errors."""


class SingleFlight:
    """The attempts under way.

    `run` carries out an attempt; `on_end` is called after each. `lookup_timeout`: seconds that a
    look-up waits for an attempt, counted from its start; the attempt continues in the background.
    `limit`: attempts under way at once.
    """

    def __init__(
        self,
        run: Run,
        on_end: Callable[[Flight], None],
        *,
        lookup_timeout: float,
        limit: int,
    ) -> None:
        self.lookup_timeout = lookup_timeout
        self._run = run
        self._on_end = on_end
        self._limit = limit
        self._at_limit = False
        self._flights: dict[Domain, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, domain: Domain) -> Flight | None:
        """The attempt under way for a domain."""
        return self._flights.get(domain)

    def start(self, domain: Domain, order: Order = DEFAULT_ORDER) -> Flight | None:
        """Start an attempt, unless one is under way: that one is shared, even if its order differs.

        Returns None at the limit.
        """
        if flight := self._flights.get(domain):
            return flight
        if not self._has_room():
            return None
        loop = asyncio.get_running_loop()
        flight = self._flights[domain] = Flight(order, loop.time() + self.lookup_timeout)
        flight.task = loop.create_task(self._run_flight(domain, flight), name=f"attempt {domain}")
        return flight

    async def wait_for_end(self, domain: Domain) -> None:
        """Return when no attempt is under way for this domain."""
        while flight := self._flights.get(domain):
            await asyncio.wait([flight.task])

    async def close(self) -> None:
        """Cancel all attempts; look-ups that wait get `NO_RESULT`."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for domain in list(self._flights):  # cancelled before their first step
            self._end(domain)

    async def _run_flight(self, domain: Domain, flight: Flight) -> None:
        try:
            await self._run(domain, flight)
        finally:
            self._end(domain)

    def _end(self, domain: Domain) -> None:
        flight = self._flights.pop(domain)
        flight.end()
        self._on_end(flight)

    def _has_room(self) -> bool:
        """Whether one more attempt may start; a change is logged."""
        under_way = len(self._flights)
        if not self._at_limit and under_way >= self._limit:
            self._at_limit = True
            event(
                _log,
                logging.WARNING,
                "attempt limit reached, look-ups answered as unknown",
                limit=under_way,
            )
        elif self._at_limit and under_way <= self._limit // 2:
            self._at_limit = False
            event(_log, logging.INFO, "below the attempt limit again", under_way=under_way)
        return under_way < self._limit
