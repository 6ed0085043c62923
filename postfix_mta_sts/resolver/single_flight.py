"""At most one attempt per domain at a time, shared by every look-up that waits for it.

A `Flight` is one attempt under way: its task, what it knows so far, and the look-ups that wait. The
`SingleFlight` starts flights, returns the one under way, limits their number, and answers waiting
look-ups when the lookup timeout ends. What an attempt does is in `attempt`, what a look-up can be
answered by is in `mtasts.decision`, which attempt ends for another is in `fairness`; this module
only calls these functions.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.decision import NOTHING, Knowledge
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.resolver.fairness import DAEMON, Client, Shares
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.values import TrackedValue, Value

ATTEMPTS_LIMIT: Final = 10_000
"""Attempts under way at once; for one more, the oldest of the owner with most is given up."""
WAITING_LIMIT: Final = 1_000
"""Look-ups that wait for one attempt, before cancelled ones are dropped: clients that ask and
disconnect leave them."""
LATE: Final = 1.0
"""Seconds after which the end of a lookup timeout was missed: this process was stopped, and answers
of the network process may be waiting. They get as much time again to arrive."""

_log = logging.getLogger(__name__)


class LookupResult(Value, frozen=True):
    """The result of a look-up: all that is known when it must, or can, be answered."""

    knowledge: Knowledge
    source: Source
    time_is_up: bool = False
    """The answer must be made of what is known: the lookup timeout ended, or the attempt ended, by
    itself or for another one at the attempt limit."""

    @property
    def state(self) -> State | None:
        """What is known as a state; None: nothing. A domain without a policy has a state, too."""
        return self.knowledge.state


Ready: TypeAlias = Callable[[Knowledge], bool]
"""Whether a look-up can be answered by this knowledge before the time is up."""


def is_complete(knowledge: Knowledge) -> bool:
    """A `Ready` for a look-up that waits for everything."""
    return knowledge.is_complete


class Order(TrackedValue, frozen=True, kw_only=True):
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
    reading: asyncio.Future[State | None] | None = None
    """The read of the row that is under way, and slow. It may raise `StoreError`."""

    @property
    def needs_txt(self) -> bool:
        """Whether the attempt queries TXT even if that is not due."""
        return self.query_txt or self.force_fetch


DEFAULT_ORDER: Final = Order()


class Flight:
    """One attempt under way, and the look-ups that wait for it.

    The attempt calls `know` whenever it knows more, and `answer` when that may be enough for a
    look-up. Each look-up decides by its own key and map whether it is.
    """

    __slots__ = (
        "_deadline",
        "_limit",
        "_started",
        "_time_is_up",
        "_timer",
        "_waiting",
        "asked_at",
        "knowledge",
        "order",
        "source",
        "task",
        "wanted",
    )

    def __init__(self, order: Order, deadline: float) -> None:
        self.order = order
        self.knowledge = NOTHING
        self.source = Source.NONE
        """Where `knowledge` is from."""
        self.wanted = False
        """Whether a look-up waits, or waited: then the cache keeps the state."""
        self.asked_at = 0.0
        """Epoch seconds of the last look-up that joined; 0: none did."""
        self.task: asyncio.Task[None]
        self._started = asyncio.get_running_loop().time()
        self._deadline = deadline  # by the clock of the event loop
        self._time_is_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[asyncio.Future[LookupResult], Ready]] = []
        self._limit = WAITING_LIMIT

    @property
    def age(self) -> float:
        """Seconds since the attempt has started."""
        return asyncio.get_running_loop().time() - self._started

    @property
    def time_left(self) -> float:
        """Seconds that a look-up waits for the attempt from now on."""
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    def know(self, knowledge: Knowledge, source: Source) -> None:
        """Note what is known now; look-ups get it when the time is up, or with `answer`."""
        self.knowledge = knowledge
        self.source = source

    def answer(self) -> None:
        """Answer the look-ups for which this knowledge is enough."""
        self._waiting = [waiting for waiting in self._waiting if not self._try(*waiting)]

    def wait(self, ready: Ready = is_complete) -> asyncio.Future[LookupResult]:
        """The result for a look-up; see `join`. It may be cancelled at any time."""
        look_up: asyncio.Future[LookupResult] = asyncio.get_running_loop().create_future()
        self.join(look_up, ready)
        return look_up

    def join(self, look_up: asyncio.Future[LookupResult], ready: Ready) -> None:
        """Set the result of a look-up when it is `ready`, or when the lookup timeout ends.

        The timeout counts from the start of the attempt: a look-up that comes after it gets what
        is known, at once.
        """
        self.wanted = True
        if self._try(look_up, ready):
            return
        self._waiting.append((look_up, ready))
        if len(self._waiting) > self._limit:
            self._drop_cancelled()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            is_over = loop.time() >= self._deadline
            end = self._time_out if is_over else self._on_deadline
            self._timer = loop.call_at(self._deadline, end)

    def end(self) -> None:
        """Answer the look-ups that still wait; the attempt has ended and will not know more."""
        if self._timer:
            self._timer.cancel()
        self._time_out()

    def _on_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() > self._deadline + LATE:
            self._timer = loop.call_later(LATE, self._time_out)
        else:
            self._time_out()

    def _drop_cancelled(self) -> None:
        """Drop cancelled look-ups; the next time is when the number has doubled."""
        self._waiting = [waiting for waiting in self._waiting if not waiting[0].done()]
        self._limit = max(WAITING_LIMIT, 2 * len(self._waiting))

    def _time_out(self) -> None:
        self._time_is_up = True
        if self._waiting:
            self.answer()

    def _try(self, look_up: asyncio.Future[LookupResult], ready: Ready) -> bool:
        """Answer a look-up if this knowledge is enough; return whether it is over."""
        if look_up.done():  # cancelled by its client
            return True
        if self.knowledge.says_nothing and not self._time_is_up:
            return False
        try:
            is_enough = self._time_is_up or ready(self.knowledge)
        except Exception as error:  # noqa: BLE001 (it ends this look-up, and no other)
            look_up.set_exception(error)
            return True
        if is_enough:
            look_up.set_result(LookupResult(self.knowledge, self.source, self._time_is_up))
        return is_enough


Run: TypeAlias = Callable[[Domain, Flight], Awaitable[None]]
"""Carries out one attempt; handles its own errors."""


class SingleFlight:
    """The attempts under way.

    `run` carries out an attempt; `on_end` is called after each. `lookup_timeout`: seconds that a
    look-up waits for an attempt, counted from its start; the attempt continues in the background.
    `limit`: attempts under way at once; `fairness` says which one ends for one more.
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
        self._is_limit_told = False
        self._full = RateLimit()
        self._for_newer = RateLimit()
        self._flights: dict[Domain, Flight] = {}
        self._shares: Shares[Domain] = Shares(limit)
        self._given_up: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, domain: Domain) -> Flight | None:
        """The attempt under way for a domain."""
        return self._flights.get(domain)

    def start(
        self, domain: Domain, order: Order = DEFAULT_ORDER, client: Client = DAEMON
    ) -> Flight | None:
        """Start an attempt, unless one is under way: that one is shared, even if its order differs.

        At the limit, another attempt ends for it: the oldest of the owner that has most. If that is
        the daemon itself, its attempt does not start, and the result is None.
        """
        flight = self._flights.get(domain)
        has_room = self._has_room()
        is_own = flight is None and client is DAEMON
        if is_own and not has_room and self._shares.has_most(DAEMON.owner):
            return None
        surplus = self._shares.ask(domain, client)
        # First: `on_end` may start another attempt, which must find this one under way.
        flight = flight or self._start(domain, order)
        if surplus:
            self._make_room(surplus, client)
        return flight

    def leave(self, client: Client) -> None:
        """Note that a connection is closed; its attempts go on."""
        self._shares.leave(client)

    async def wait_for_end(self, domain: Domain) -> None:
        """Return when no attempt is under way for this domain."""
        while flight := self._flights.get(domain):
            await asyncio.wait([flight.task])

    async def close(self) -> None:
        """Cancel all attempts; look-ups that wait get what is known."""
        for domain in list(self._flights):
            self._give_up(domain)
        if self._given_up:
            await asyncio.wait(self._given_up)

    def _start(self, domain: Domain, order: Order) -> Flight:
        loop = asyncio.get_running_loop()
        flight = self._flights[domain] = Flight(order, loop.time() + self.lookup_timeout)
        flight.task = loop.create_task(self._run_flight(domain, flight), name=f"attempt {domain}")
        return flight

    async def _run_flight(self, domain: Domain, flight: Flight) -> None:
        try:
            await self._run(domain, flight)
        finally:
            self._end(domain, flight)

    def _make_room(self, domains: Sequence[Domain], client: Client) -> None:
        """Give attempts up for one that this client needs."""
        for domain in domains:
            self._give_up(domain)
        if count := self._for_newer.take(asyncio.get_running_loop().time()):
            event(
                _log,
                logging.INFO,
                "attempt ended for a newer one",
                domains[0],
                client=client.owner.name,
                count=count,
            )

    def _give_up(self, domain: Domain) -> None:
        """Answer the look-ups that wait for an attempt by what is known, and cancel it."""
        flight = self._flights[domain]
        self._end(domain, flight)
        flight.task.cancel()
        self._given_up.add(flight.task)
        flight.task.add_done_callback(self._given_up.discard)

    def _end(self, domain: Domain, flight: Flight) -> None:
        if self._flights.get(domain) is flight:  # not given up before
            del self._flights[domain]
            self._shares.end(domain)
            flight.end()
            self._on_end(flight)

    def _has_room(self) -> bool:
        """Whether one more attempt may start without the end of another; a change is logged."""
        under_way = len(self._flights)
        if not self._at_limit and under_way >= self._limit:
            self._at_limit = True
            if count := self._full.take(asyncio.get_running_loop().time()):
                self._is_limit_told = True
                event(
                    _log,
                    logging.WARNING,
                    "attempt limit reached, the oldest end for new ones",
                    limit=under_way,
                    count=count,
                )
        elif self._at_limit and under_way <= self._limit // 2:
            self._at_limit = False
            if self._is_limit_told:
                self._is_limit_told = False
                event(_log, logging.INFO, "below the attempt limit again", under_way=under_way)
        return under_way < self._limit
