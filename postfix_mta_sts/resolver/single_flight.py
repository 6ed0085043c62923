"""One attempt a domain at a time to know more of it, whoever asks.

Border: who waits for what, and how many go on at once. The way to the network is an `attempt`, what
is found goes to a `memory`, and nothing is decided here.
"""

import asyncio
import logging
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import is_due
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Standing, State, standing
from postfix_mta_sts.resolver.attempt import Attempt, Sources
from postfix_mta_sts.resolver.cache import StateCache
from postfix_mta_sts.resolver.dane import DaneCheck, DaneLookup
from postfix_mta_sts.resolver.flight import NO_RESULT, Flight, LookupResult
from postfix_mta_sts.resolver.recheck_queue import RecheckQueue
from postfix_mta_sts.resolver.throttle import Throttle
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.stats import Counters, Source, Stage
from postfix_mta_sts.values import replace

ATTEMPTS_LIMIT: Final = 10_000
"""Attempts under way at once; a look-up that would need one more is answered as unknown."""

TURNS: Final = 8
"""SingleFlight that go on in one round of the event loop, so that known domains come in between."""

_log = logging.getLogger(__name__)


class SingleFlight:
    """The attempts under way, and the rechecks that wait to be.

    `lookup_timeout`: seconds that a look-up waits for an attempt, counted from its beginning; the
    attempt goes on behind. `limit`: how many may be under way at once.
    """

    def __init__(
        self,
        sources: Sources,
        memory: StateCache,
        usage: Usage,
        counters: Counters,
        *,
        lookup_timeout: float,
        limit: int,
    ) -> None:
        self.lookup_timeout = lookup_timeout
        self.dane_lookup: DaneLookup | None = None
        """Who says what DANE makes of a domain; None: that is not asked."""
        self.rechecks = RecheckQueue(self._recheck)
        self._sources = sources
        self._memory = memory
        self._usage = usage
        self._counters = counters
        self._limit = limit
        self._crowded = False
        self._throttle = Throttle(TURNS)
        self._under_way: dict[Domain, Flight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def of(self, domain: Domain) -> Flight | None:
        """The attempt under way for a domain."""
        return self._under_way.get(domain)

    def standing(self, state: State | None, now: float) -> Standing:
        """What a state is good for."""
        return standing(state, now, dane=self.dane_lookup is not None)

    def begin(self, domain: Domain) -> Flight | None:
        """The attempt under way for this domain, or a new one; None where there are too many."""
        if attempt := self._under_way.get(domain):
            return attempt
        if not self._has_room():
            return None
        loop = asyncio.get_running_loop()
        waited_until = loop.time() + self.lookup_timeout
        attempt = Flight(loop.create_future(), waited_until)
        self._under_way[domain] = attempt
        attempt.task = loop.create_task(self._attempt(domain, attempt), name=f"attempt {domain}")
        return attempt

    def awaited(self, attempt: Flight) -> asyncio.Future[LookupResult]:
        """What an attempt finds, or what there is when nobody waits for it any longer."""
        attempt.remember = True
        loop = asyncio.get_running_loop()
        if attempt.overdue:
            attempt.answer = loop.create_future()
            attempt.answer.set_result(self.unjudged(attempt.kept))
        elif attempt.waited_for is None:
            attempt.waited_for = loop.call_at(attempt.waited_until, self._overdue, attempt)
        return attempt.answer

    def unjudged(self, state: State | None) -> LookupResult:
        """A policy of which DANE's verdict could not be had in time, or nothing.

        Nobody knows of a signed MX RRset then, so that the policy stands (`dane.on_failure`).
        """
        if state is None:
            return NO_RESULT
        return LookupResult(replace(state, dane=None), Source.STORE)

    def recheck_soon(self, domain: Domain) -> None:
        """Let a recheck begin when its turn comes, behind all replies."""
        if domain not in self._under_way:
            self.rechecks.add(domain)

    async def ended(self, domain: Domain) -> None:
        """Return when no attempt is under way for this domain."""
        while (attempt := self._under_way.get(domain)) and attempt.task:
            await asyncio.wait([attempt.task])

    async def close(self) -> None:
        """End the attempts under way; those who wait for them are told that nothing is known."""
        self.rechecks.close()
        tasks = [a.task for a in self._under_way.values() if a.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for domain, attempt in list(self._under_way.items()):  # cancelled before their first step
            self._end(domain, attempt)

    def _overdue(self, attempt: Flight) -> None:
        if not attempt.answer.done():
            attempt.overdue = True
            attempt.answer.set_result(self.unjudged(attempt.kept))

    def _recheck(self, domain: Domain) -> bool:
        """Begin a recheck, if it is due; whether one was begun."""
        attempt = self.begin(domain) if self._is_due(domain) else None
        if attempt:
            attempt.recheck = True
        return attempt is not None

    def _is_due(self, domain: Domain) -> bool:
        known = self._memory.get(domain)
        if known is None or domain in self._under_way:
            return False
        return self.standing(known.state, self._sources.clock()) is not Standing.FRESH

    def _has_room(self) -> bool:
        """Whether one more attempt may begin; when that changes, it is logged."""
        under_way = len(self._under_way)
        if not self._crowded and under_way >= self._limit:
            self._crowded = True
            event(_log, logging.WARNING, "too many attempts, domains go unlooked", limit=under_way)
        elif self._crowded and under_way <= self._limit // 2:
            self._crowded = False
            event(_log, logging.INFO, "room for attempts again", under_way=under_way)
        return under_way < self._limit

    async def _attempt(self, domain: Domain, attempt: Flight) -> None:
        before: State | None = None
        dane_check: DaneCheck | None = None
        try:
            await self._throttle.turn()
            before = await self._before(domain, attempt)
            dane_check = self._hear(domain, before, attempt)
            if dane_check.asks and attempt.kept:  # whoever waits, waits for the verdict alone
                before = replace(attempt.kept, dane=await dane_check.verdict())
                self._settle(domain, attempt, before, Source.NETWORK)
            after = await self._after(domain, before, attempt, dane_check)
            self._settle(domain, attempt, after, Source.NETWORK)
            if dane_check.asks and after.policy and after.dane and not attempt.saved:
                await self._sources.store.note_verdict(domain, after.dane)
        except OwnFaultError as fault:  # whoever raised it has told the log
            self._break_off(domain, attempt, before, fault)
        except Exception as error:  # noqa: BLE001 (the top of a task: those who wait are answered)
            event(_log, logging.ERROR, "attempt broken off", domain, exc_info=error)
            ours = OwnFaultError("a fault of this program; see the log")
            self._break_off(domain, attempt, before, ours)
        finally:
            if dane_check:
                dane_check.cancel()
            self._end(domain, attempt)

    def _break_off(
        self, domain: Domain, attempt: Flight, before: State | None, fault: OwnFaultError
    ) -> None:
        self._counters.attempts[Stage.OWN, fault.code] += 1
        after = lifecycle.after_fault(before, fault, self._sources.clock())
        after = replace(after, dane=before.dane if before else None)
        self._settle(domain, attempt, after, Source.NONE)

    def _hear(self, domain: Domain, before: State | None, attempt: Flight) -> DaneCheck:
        """Begin to ask for DANE's verdict, if one is wanted and due."""
        verdict = before.dane if before and self.dane_lookup else None
        wanted = attempt.forced or is_due(verdict, self._sources.clock())
        dane_lookup = self.dane_lookup if wanted else None
        return DaneCheck(domain, verdict, dane_lookup, self._sources.clock, self._counters)

    def _end(self, domain: Domain, attempt: Flight) -> None:
        del self._under_way[domain]
        if attempt.waited_for:
            attempt.waited_for.cancel()
        if not attempt.answer.done():
            attempt.answer.set_result(NO_RESULT)
        if attempt.recheck:
            self.rechecks.ended()
        self.rechecks.go_on()

    async def _before(self, domain: Domain, attempt: Flight) -> State | None:
        """What was known when the attempt began; those who wait get it, if it can be served."""
        known = self._memory.get(domain)
        in_memory = known.state if known else None
        attempt.kept = lifecycle.live(in_memory, self._sources.clock())
        if attempt.kept:
            return attempt.kept
        # An absence in memory is no reason to overlook a policy that lives on file: reading may
        # have failed when it was found, or the clock been wrong, or another process have fetched.
        if not attempt.read:
            attempt.on_file = await self._sources.store.load(domain)
        attempt.kept = lifecycle.live(attempt.on_file, self._sources.clock())
        if attempt.kept:
            if self.standing(attempt.kept, self._sources.clock()) is not Standing.UNKNOWN:
                self._settle(domain, attempt, attempt.kept, Source.STORE)
            return attempt.kept
        return in_memory or attempt.on_file

    async def _after(
        self, domain: Domain, before: State | None, attempt: Flight, dane_check: DaneCheck
    ) -> State:
        """The state in which the attempt ends; nothing but the verdict if nothing else is due."""
        if before and not attempt.whole and self._is_fresh(before):
            return replace(before, dane=await dane_check.verdict())
        work = Attempt(
            domain,
            before,
            dane_check,
            sources=self._sources,
            throttle=self._throttle,
            counters=self._counters,
            asked_at=lambda: asked.at if (asked := self._usage.of(domain)) else 0.0,
            forced=attempt.forced,
        )
        after = await work.run()
        attempt.saved = work.saved
        return after

    def _is_fresh(self, state: State) -> bool:
        """Whether the policy's part of it is."""
        return standing(state, self._sources.clock()) is Standing.FRESH

    def _settle(self, domain: Domain, attempt: Flight, state: State, source: Source) -> None:
        """Let memory, and those who wait, have this state."""
        attempt.after = state
        if known := self._memory.get(domain):
            known.state = state
        elif attempt.remember:
            self._memory.put(domain, state, self._sources.clock())
        if state.policy is None:
            self._usage.drop(domain)
        if not attempt.answer.done():
            attempt.answer.set_result(LookupResult(state, source))
