"""What is known of each domain: from memory, else from the store, else by an attempt.

Border: in which order these are asked, and what is remembered. An attempt goes its own way
(`attempts`), and nothing is decided here.
"""

import asyncio
from collections.abc import Sequence

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Standing, State
from postfix_mta_sts.resolver.attempt import Sources
from postfix_mta_sts.resolver.batching import Batcher
from postfix_mta_sts.resolver.cache import CacheEntry, StateCache
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.flight import LookupResult
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT, SingleFlight
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.stats import Counters, Source


class Resolver:
    """Domain → state: from memory, from the store, or from the network, in that order.

    `lookup_timeout`: seconds that a look-up waits for an attempt, counted from its beginning;
    the attempt goes on behind. `entries`: how many states are kept in memory. `attempts`: how
    many may be under way at once. `counters`: where what is done is counted.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        lookup_timeout: float,
        entries: int,
        attempts: int = ATTEMPTS_LIMIT,
        counters: Counters | None = None,
    ) -> None:
        self.usage = Usage()
        """Which domains were asked for, and are to be noted on file."""
        self._sources = sources
        self._counters = counters or Counters()
        self._memory = StateCache(entries, self._evicted)
        self._attempts = SingleFlight(
            sources,
            self._memory,
            self.usage,
            self._counters,
            lookup_timeout=lookup_timeout,
            limit=attempts,
        )
        self._batcher: Batcher[Domain, LookupResult] = Batcher(self._read)

    def use_dane(self, dane_lookup: DaneLookup | None) -> None:
        """Serve nothing without DANE's verdict from now on; None: ask for none any more."""
        self._attempts.dane_lookup = dane_lookup
        self._memory.drop_verdicts()

    def reconfigure(self, *, lookup_timeout: float, entries: int) -> None:
        """Go on with these; what is in memory beyond `entries` goes with the next that comes."""
        self._attempts.lookup_timeout = lookup_timeout
        self._memory.entries = entries

    @property
    def entries(self) -> int:
        """How many states are in memory."""
        return len(self._memory)

    @property
    def under_way(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts)

    def recall(self, domain: Domain) -> CacheEntry | None:
        """What memory can serve, if anything; a recheck that is due begins behind it."""
        known = self._memory.get(domain)
        if known is None:
            return None
        now = self._sources.clock()
        worth = self._attempts.standing(known.state, now)
        if worth is Standing.UNKNOWN:
            return None
        self._memory.use(known, now)
        if known.state and known.state.policy:
            self.usage.note(domain, 1, now)
        if worth is Standing.DUE:
            self._attempts.recheck_soon(domain)
        return known

    async def look_up(self, domain: Domain) -> State | None:
        """The state to answer by; None where there is none in time, or no room to ask."""
        known = self.recall(domain)
        return known.state if known else (await self.find(domain)).state

    def find(self, domain: Domain) -> asyncio.Future[LookupResult]:
        """The same of a domain that memory cannot serve, and where it came from.

        May be cancelled at any time: the attempt belongs to nobody and goes on.
        """
        self.usage.note(domain, 1, self._sources.clock())
        if attempt := self._attempts.of(domain):
            return asyncio.shield(self._attempts.awaited(attempt))
        return self._batcher.ask(domain)

    async def renew(self, domain: Domain) -> None:
        """Go through an attempt and wait for its end, however long it takes."""
        attempt = self._attempts.begin(domain)
        if attempt and attempt.task:
            attempt.whole = True
            await asyncio.wait([attempt.task])

    def renew_verdicts(self, asked_since: float) -> None:
        """Have the verdicts that are due of DANE domains in use found again, behind all replies."""
        for domain in self._memory.verdicts_due(asked_since, self._sources.clock()):
            self._attempts.recheck_soon(domain)

    async def refresh(self, domain: Domain) -> State | None:
        """Fetch the policy now, whatever its id and age; the state after it.

        None where there is no room for one more attempt, or this one was broken off.
        """
        await self._attempts.ended(domain)
        attempt = self._attempts.begin(domain)
        if attempt is None or attempt.task is None:
            return None
        attempt.forced = attempt.whole = True  # it has not gone a step yet
        await asyncio.wait([attempt.task])
        return attempt.after

    async def forget(self, domain: Domain) -> bool:
        """Know nothing of a domain any more, nor of its past; whether anything was known."""
        await self._attempts.ended(domain)
        known = self.unlearn(domain)
        self.usage.drop(domain)
        return await self._sources.store.forget(domain) or known

    def unlearn(self, domain: Domain) -> bool:
        """Have a domain no more in memory: another process knows more; whether it was there."""
        self._attempts.rechecks.discard(domain)
        return self._memory.drop(domain)

    def known(self, domain: Domain) -> CacheEntry | None:
        """Where the domain's state stands in memory, whatever it is worth."""
        return self._memory.get(domain)

    def policies(self) -> list[tuple[Domain, State]]:
        """The states in memory that hold a policy."""
        return [(domain, state) for domain, state in self._memory.states() if state.policy]

    def failing(self) -> list[tuple[Domain, State]]:
        """The states in memory whose last attempt failed, those of policies and of absences."""
        return [(domain, state) for domain, state in self._memory.states() if state.failure]

    async def close(self) -> None:
        """End the attempts under way; those who wait for them are told that nothing is known."""
        await self._attempts.close()

    async def _read(
        self, domains: Sequence[Domain]
    ) -> dict[Domain, LookupResult | asyncio.Future[LookupResult]]:
        """What the file can serve; of the other domains, what an attempt will find."""
        on_file = await self._sources.store.load_all(domains)
        return {domain: self._after_reading(domain, on_file.get(domain)) for domain in domains}

    def _after_reading(
        self, domain: Domain, on_file: State | None
    ) -> LookupResult | asyncio.Future[LookupResult]:
        if state := self._taken(domain, on_file):
            return LookupResult(state, Source.STORE)
        attempt = self._attempts.begin(domain)
        if attempt is None:
            return self._attempts.unjudged(lifecycle.live(on_file, self._sources.clock()))
        attempt.read, attempt.on_file = True, on_file
        return self._attempts.awaited(attempt)

    def _taken(self, domain: Domain, on_file: State | None) -> State | None:
        """What can be served now that the file was read; a policy from there is remembered."""
        now = self._sources.clock()
        known = self._memory.get(domain)  # whoever asked at the same time may have been faster
        if known and self._attempts.standing(known.state, now) is not Standing.UNKNOWN:
            return known.state
        policy = lifecycle.live(on_file, now)
        if policy is None or self._attempts.standing(policy, now) is Standing.UNKNOWN:
            return None
        self._memory.put(domain, policy, now)
        self._attempts.recheck_soon(domain)
        return policy

    def _evicted(self, domain: Domain) -> None:
        self._attempts.rechecks.discard(domain)
        self._counters.evicted += 1
