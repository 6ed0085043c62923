"""Find the state of a domain: in the cache, else in the store, else by an attempt.

This module decides nothing about policies (`mtasts.lifecycle` does) and does not touch the network
(`attempt` does): it puts cache, store reads (`row_reader`), single flight and recheck queue
together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final

from postfix_mta_sts.batching import Batcher
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.decision import Knowledge, PolicyStep
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Standing, State
from postfix_mta_sts.resolver.attempt import Attempt
from postfix_mta_sts.resolver.cache import CacheEntry, Limits, Made, StateCache
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.fairness import DAEMON, Client
from postfix_mta_sts.resolver.fleet_question import SharedPolicies
from postfix_mta_sts.resolver.preview import preview
from postfix_mta_sts.resolver.recheck_queue import CONCURRENCY, RecheckQueue
from postfix_mta_sts.resolver.row_reader import RowReader
from postfix_mta_sts.resolver.single_flight import (
    ATTEMPTS_LIMIT,
    DEFAULT_ORDER,
    Flight,
    LookupResult,
    Order,
    Ready,
    SingleFlight,
    is_complete,
)
from postfix_mta_sts.resolver.sources import AttemptContext, Sources
from postfix_mta_sts.resolver.usage import TakeUsage, Usage
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.values import TrackedValue

BEHIND_LIMIT: Final = 1_000
"""Look-ups behind replies at once. They hold no client back, so that a burst of new domains would
make attempts of them all; what is not looked up now is looked up when it is asked for again."""

FLEET_WAIT: Final = 2.0
"""Seconds for which an attempt waits for another relay that fetches the policy, and a fifth of the
lookup timeout at most: most Policy Hosts answer sooner, and there must be time to fetch."""

_END: Final = object()


class _LookUp(TrackedValue, frozen=True):
    """A look-up that the cache could not serve."""

    domain: Domain
    ready: Ready
    client: Client
    asked_at: float
    result: asyncio.Future[LookupResult]


class Resolver:
    """Domain → state.

    `lookup_timeout`: seconds that a look-up waits for an attempt, counted from the attempt's start;
    the attempt continues in the background. `limits`: of the cache. `attempts`: attempts under way
    at once. `counters`: counts what is done.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        lookup_timeout: float,
        limits: Limits,
        attempts: int = ATTEMPTS_LIMIT,
        counters: Counters | None = None,
    ) -> None:
        self.attempts = attempts
        self.usage = Usage()
        """Domains that were asked for, until that is written to the store."""
        self.share_usage: TakeUsage | None = None
        """Gets what is written to the store of when domains were asked for; returns at once."""
        self._sources = sources
        self._counters = counters or Counters()
        self._cache = StateCache(limits, self._evicted)
        self._context = AttemptContext(sources, self._cache, self.usage, self._counters)
        self._flights = SingleFlight(
            self._run, self._flight_ended, lookup_timeout=lookup_timeout, limit=attempts
        )
        self._context.fleet_wait = _fleet_wait(lookup_timeout)
        # Look-ups keep half of the attempts.
        room = max(1, min(CONCURRENCY, attempts // 2))
        self._rechecks = RecheckQueue(self._start_recheck, room)
        self._behind: set[Domain] = set()
        self._behind_limit = max(1, min(BEHIND_LIMIT, attempts // 2))
        self._dropping: asyncio.Task[None] | None = None
        reader = RowReader(self._context, self._recheck_soon)
        self._store_reads: Batcher[Domain, LookupResult | Order, _LookUp] = Batcher(
            reader.read, self._after_read
        )

    def use_dane(self, dane_lookup: DaneLookup | None, asked_of: Hashable = None) -> None:
        """Serve no state without a verdict from now on; None: look up no verdicts any more.

        `asked_of` identifies the name servers: verdicts found before they changed are dropped.
        Nothing else drops a verdict before its time.
        """
        self._context.dane_lookup = dane_lookup
        if dane_lookup is None or asked_of == self._context.asked_of:
            return
        if self._context.asked_of is not None:
            self._context.verdicts_since = self._sources.clock()
            dropping = self._cache.drop_verdicts()
            if next(dropping, _END) is not _END:
                self._dropping = asyncio.create_task(_in_slices(dropping), name="drop verdicts")
        self._context.asked_of = asked_of

    def use_fleet(self, fleet: SharedPolicies | None) -> None:
        """Share policies with other relays from now on; None: share none any more."""
        self._context.fleet = fleet

    def reconfigure(self, *, lookup_timeout: float, limits: Limits) -> None:
        """Apply new limits; surplus cache entries are evicted by the insertions that follow."""
        self._flights.lookup_timeout = lookup_timeout
        self._context.fleet_wait = _fleet_wait(lookup_timeout)
        self._cache.limits = limits

    @property
    def entries(self) -> int:
        """States in the cache."""
        return len(self._cache)

    @property
    def policies(self) -> int:
        """Policies in the cache."""
        return self._cache.policies

    @property
    def under_way(self) -> int:
        """Attempts under way."""
        return len(self._flights)

    def cached(self, domain: Domain) -> CacheEntry | None:
        """The cache entry, if it can be served now; a due recheck starts in the background."""
        entry = self._cache.get(domain)
        if entry is None:
            return None
        standing = self._context.standing(entry.state)
        if standing is Standing.UNKNOWN:
            return None
        now = self._sources.clock()
        self._cache.use(entry, now)
        if entry.state and entry.state.policy:
            self.usage.note(domain, 1, now)
        if standing is Standing.DUE:
            self._recheck_soon(domain)
        return entry

    def find(
        self, domain: Domain, ready: Ready = is_complete, client: Client = DAEMON
    ) -> asyncio.Future[LookupResult]:
        """What is known of a domain that the cache cannot serve, and its source.

        The result comes when `ready` says that it is enough, when the lookup timeout ends, or when
        the attempt ends for that of another `client`. The future may be cancelled at any time: the
        attempt continues.
        """
        now = self._sources.clock()
        self.usage.note(domain, 1, now)
        result: asyncio.Future[LookupResult] = asyncio.get_running_loop().create_future()
        look_up = _LookUp(domain, ready, client, now, result)
        flight = self._flights.get(domain)
        if flight and not lifecycle.is_from_future(flight.knowledge.state, now):
            self._wait_for_attempt(look_up, DEFAULT_ORDER)
        else:
            # Also beside an attempt to which a policy seemed to have expired: the clock was ahead.
            self._store_reads.ask(domain, look_up)
        return result

    def find_behind(self, domain: Domain, client: Client = DAEMON) -> None:
        """Look a domain up, as `find` does, behind a reply that does not depend on it.

        Of many for one domain, one waits; above the limit nothing is looked up. The limit of a
        connection does not apply: it is for one that waits, and would end what is slow each time.
        """
        if domain in self._behind or len(self._behind) >= self._behind_limit:
            self.usage.note(domain, 1, self._sources.clock())
            return
        self._behind.add(domain)
        result = self.find(domain, client=Client(client.owner))
        result.add_done_callback(lambda _: self._behind.discard(domain))

    def leave(self, client: Client) -> None:
        """Note that a connection is closed; its attempts go on."""
        self._flights.leave(client)

    async def renew(self, domain: Domain) -> None:
        """Query TXT, fetch the policy if it is due, and wait for the end, however long it takes."""
        if flight := self._flights.start(domain, Order(query_txt=True)):
            await asyncio.wait([flight.task])

    async def renew_verdicts(self, asked_since: float) -> None:
        """Queue a recheck for DANE domains in use whose verdict is due."""
        for domains in self._cache.verdicts_due(asked_since, self._sources.clock()):
            for domain in domains:
                self._recheck_soon(domain)
            await asyncio.sleep(0)

    async def correct_times(self) -> None:
        """Take back what a clock that was ahead has written into the states of the cache."""
        since = min(self._context.verdicts_since, self._sources.clock())
        self._context.verdicts_since = since  # else no verdict counts until that time comes
        await _in_slices(self._cache.correct_times(self._sources.clock))

    async def refresh(self, domain: Domain) -> State | None:
        """Fetch the policy now, regardless of its id and age; return the state after it.

        None if there was no outcome: at the attempt limit, after a fault of this program, or if the
        attempt was cancelled.
        """
        await self._flights.wait_for_end(domain)
        flight = self._flights.start(domain, Order(force_fetch=True))
        if flight is None:
            return None
        await asyncio.wait([flight.task])
        knowledge = flight.knowledge
        has_ended = knowledge.is_complete and knowledge.step is not PolicyStep.OWN_FAULT
        return knowledge.state if has_ended else None

    async def forget(self, domain: Domain) -> bool:
        """Remove a domain from cache and store, history included; return whether it was there."""
        await self._flights.wait_for_end(domain)
        self._rechecks.discard(domain)
        was_cached = self._cache.drop(domain)
        self.usage.drop(domain)
        return await self._sources.store.forget(domain) or was_cached

    def entry(self, domain: Domain) -> CacheEntry | None:
        """The cache entry, whether or not it can be served."""
        return self._cache.get(domain)

    def flight(self, domain: Domain) -> Flight | None:
        """The attempt under way for a domain; None: there is none."""
        return self._flights.get(domain)

    def preview(self, domain: Domain, row: State | None) -> LookupResult:
        """What a look-up would be answered by now, if it does not wait; `row`: from the store.

        It does not count as a look-up. A reply that must wait for more is not decided by it.
        """
        return preview(domain, row, self._flights.get(domain), self._context)

    def note_uses(self, domain: Domain, times: int, at: float) -> None:
        """Note that replies made from the state of a domain were given again, last at `at`."""
        if entry := self._cache.get(domain):
            self._cache.use(entry, at)
            if entry.state and entry.state.policy:
                self.usage.note(domain, times, at)

    async def write_usage(self) -> None:
        """Write to the store when domains were asked for, and how often, since the last time."""
        if asked := self.usage.take():
            if self.share_usage:
                self.share_usage(asked)
            await self._sources.store.touch(asked)

    def attach(self, entry: CacheEntry, made: Made) -> None:
        """Keep what was made from the state of an entry, as long as that is current."""
        self._cache.attach(entry, made, self._sources.clock())

    async def states(self, wanted: Callable[[State], bool]) -> list[tuple[Domain, State]]:
        """The cached states that are wanted; other tasks run meanwhile."""
        found: list[tuple[Domain, State]] = []
        for entries in self._cache.slices():
            states = ((entry.domain, entry.state) for entry in entries)
            found += [(domain, state) for domain, state in states if state and wanted(state)]
            await asyncio.sleep(0)
        return found

    async def close(self) -> None:
        """Cancel all attempts; look-ups that wait get what is known."""
        self._rechecks.close()
        if self._dropping:
            self._dropping.cancel()
        await self._flights.close()

    def _run(self, domain: Domain, flight: Flight) -> Awaitable[None]:
        return Attempt(self._context, domain, flight).run()

    def _flight_ended(self, flight: Flight) -> None:
        if flight.order.is_recheck:
            self._rechecks.ended()
        self._rechecks.resume()

    def _recheck_soon(self, domain: Domain) -> None:
        """Queue a recheck, which starts when its turn comes."""
        if not self._flights.get(domain):
            self._rechecks.add(domain)

    def _start_recheck(self, domain: Domain) -> bool:
        """Start a recheck, if it is still due and there is room; return whether it was started."""
        entry = self._cache.get(domain)
        if entry is None or self._flights.get(domain):
            return False
        if self._context.standing(entry.state) is Standing.FRESH:
            return False
        return self._flights.start(domain, Order(is_recheck=True)) is not None

    def _after_read(self, look_up: _LookUp, found: LookupResult | Order) -> None:
        """Answer a look-up by the row that was read, or make it wait for an attempt."""
        if isinstance(found, Order):
            self._wait_for_attempt(look_up, found)
        else:
            look_up.result.set_result(found)

    def _wait_for_attempt(self, look_up: _LookUp, order: Order) -> None:
        """Make a look-up wait for an attempt.

        At the limit, a look-up of the daemon itself is answered by what the row says.
        """
        if flight := self._flights.start(look_up.domain, order, look_up.client):
            flight.wanted = True
            flight.asked_at = look_up.asked_at
            flight.join(look_up.result, look_up.ready)
            return
        state = lifecycle.live(order.row, self._sources.clock())
        source = Source.STORE if state else Source.NONE
        known = Knowledge(state, PolicyStep.TXT_PENDING)
        look_up.result.set_result(LookupResult(known, source, time_is_up=True))

    def _evicted(self, domain: Domain) -> None:
        self._rechecks.discard(domain)
        self._counters.evicted += 1


def _fleet_wait(lookup_timeout: float) -> float:
    return min(FLEET_WAIT, lookup_timeout / 5)


async def _in_slices(work: Iterable[None]) -> None:
    """Do the steps of this work, and let other tasks run before each."""
    for _ in work:
        await asyncio.sleep(0)
