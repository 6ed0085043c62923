"""Read the rows of domains that the cache cannot serve, and say what each row is good for.

A stored policy that can be served goes to the cache. Any other domain needs an attempt, whose
`Order` has the row; if the store is slow, it has a future of the row, and the attempt asks the
network meanwhile.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.decision import from_memory
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Standing, State
from postfix_mta_sts.resolver.dane import with_later_verdict
from postfix_mta_sts.resolver.single_flight import DEFAULT_ORDER, LookupResult, Order
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.store import StoreError


class RowReader:
    """Reads batches; `recheck_soon` gets each domain whose stored policy goes to the cache."""

    def __init__(self, context: AttemptContext, recheck_soon: Callable[[Domain], None]) -> None:
        self._context = context
        self._sources = context.sources
        self._cache = context.cache
        self._recheck_soon = recheck_soon
        self._slow: set[asyncio.Future[Mapping[Domain, State]]] = set()

    async def read(self, domains: Sequence[Domain]) -> dict[Domain, LookupResult | Order]:
        """Read the rows; a domain whose row cannot be served gets an `Order`."""
        reading = asyncio.ensure_future(self._sources.store.load_all(domains))
        # On a disk that hangs, one batch after the other must not wait for its turn to be patient.
        patience = 0 if self._slow else self._sources.read_patience
        await asyncio.wait([reading], timeout=patience)
        if not reading.done():
            self._slow.add(reading)
            reading.add_done_callback(self._slow.discard)
            return {domain: Order(reading=_row(reading, domain)) for domain in domains}
        try:
            rows = reading.result()
        except StoreError:  # the store has logged it; the attempt reads once more
            return dict.fromkeys(domains, DEFAULT_ORDER)
        usable = self._context.usable
        return {domain: self._after_row(domain, usable(rows.get(domain))) for domain in domains}

    def _after_row(self, domain: Domain, row: State | None) -> LookupResult | Order:
        if state := self._servable(domain, row):
            return LookupResult(from_memory(state), Source.STORE)
        return Order(row_was_read=True, row=row)

    def _servable(self, domain: Domain, row: State | None) -> State | None:
        """The state that can be served after the read; a stored policy goes to the cache."""
        entry, state = self._cache.get(domain), servable(domain, row, self._context)
        if state and (entry is None or entry.state is not state):
            self._cache.put(domain, state, self._sources.clock())
            self._recheck_soon(domain)
        return state


def servable(domain: Domain, row: State | None, context: AttemptContext) -> State | None:
    """The state that can be served once the row was read: that of the cache, or a stored policy.

    An attempt may have ended during the read. The row is without a verdict of other name servers.
    """
    entry, now = context.cache.get(domain), context.sources.clock()
    if entry and context.standing(entry.state) is not Standing.UNKNOWN:
        return entry.state
    policy = lifecycle.live(row, now)
    if policy and entry and (known := context.usable(entry.state)):
        policy = with_later_verdict(policy, known.dane, now)
    if policy is None or context.standing(policy) is Standing.UNKNOWN:
        return None
    return policy


def _row(
    reading: asyncio.Future[Mapping[Domain, State]], domain: Domain
) -> asyncio.Future[State | None]:
    """The row of one domain in a batch that is being read."""

    async def row() -> State | None:
        return (await asyncio.shield(reading)).get(domain)

    future = asyncio.ensure_future(row())
    # It may fail after the client and the attempt are gone.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
