"""What is known of each domain, and one attempt to know more at a time, whoever asks.

Border: who waits for what; what is known stands in a `memory`, the way to the network is an
`errand`, and nothing is decided here.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.attempt import NOTHING, Attempt, LookedUp
from postfix_mta_sts.batches import Batches
from postfix_mta_sts.counts import Counts, Source, Stage
from postfix_mta_sts.errand import Errand, Sources
from postfix_mta_sts.hearing import Hearing, Judge
from postfix_mta_sts.logs import event
from postfix_mta_sts.memory import Known, Memory
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import is_due
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Standing, State, standing
from postfix_mta_sts.pace import Pace
from postfix_mta_sts.rechecks import Rechecks
from postfix_mta_sts.store import Asked
from postfix_mta_sts.values import replace

ATTEMPTS_LIMIT: Final = 10_000
"""Attempts under way at once; a look-up that would need one more is answered as unknown."""

TURNS: Final = 8
"""Attempts that go on in one round of the event loop, so that known domains come in between."""

_log = logging.getLogger(__name__)


class Resolver:
    """Domain → state: from memory, from the store, or from the network, in that order.

    `lookup_timeout`: seconds that a look-up waits for an attempt, counted from its beginning;
    the attempt goes on behind. `entries`: how many states are kept in memory. `attempts`: how
    many may be under way at once. `counts`: where what is done is counted.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        lookup_timeout: float,
        entries: int,
        attempts: int = ATTEMPTS_LIMIT,
        counts: Counts | None = None,
    ) -> None:
        self._sources = sources
        self._counts = counts or Counts()
        self._lookup_timeout = lookup_timeout
        self._limit = attempts
        self._crowded = False
        self._pace = Pace(TURNS)
        self._memory = Memory(entries, self._evicted)
        self._attempts: dict[Domain, Attempt] = {}
        self._asked: dict[Domain, Asked] = {}
        self._asked_once = Asked(0.0, 1)
        self._rechecks = Rechecks(self._recheck)
        self._batches: Batches[Domain, LookedUp] = Batches(self._read)
        self._judge: Judge | None = None

    def do_dane(self, judge: Judge | None) -> None:
        """Serve nothing without DANE's verdict from now on; None: ask for none any more."""
        self._judge = judge
        self._memory.drop_verdicts()

    def change(self, *, lookup_timeout: float, entries: int) -> None:
        """Go on with these; what is in memory beyond `entries` goes with the next that comes."""
        self._lookup_timeout = lookup_timeout
        self._memory.entries = entries

    @property
    def entries(self) -> int:
        """How many states are in memory."""
        return len(self._memory)

    @property
    def under_way(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts)

    def recall(self, domain: Domain) -> Known | None:
        """What memory can serve, if anything; a recheck that is due begins behind it."""
        known = self._memory.get(domain)
        now = self._sources.clock()
        worth = self._standing(known.state if known else None, now)
        if known is None or worth is Standing.UNKNOWN:
            return None
        self._memory.use(known, now)
        if known.state and known.state.policy:
            self.note_asked(domain, 1, now)
        if worth is Standing.DUE:
            self._recheck_soon(domain)
        return known

    async def look_up(self, domain: Domain) -> State | None:
        """The state to answer by; None where there is none in time, or no room to ask."""
        known = self.recall(domain)
        return known.state if known else (await self.find(domain)).state

    def find(self, domain: Domain) -> asyncio.Future[LookedUp]:
        """The same of a domain that memory cannot serve, and where it came from.

        May be cancelled at any time: the attempt belongs to nobody and goes on.
        """
        self.note_asked(domain, 1)
        if attempt := self._attempts.get(domain):
            return asyncio.shield(self._awaited(attempt))
        return self._batches.ask(domain)

    async def renew(self, domain: Domain) -> None:
        """Go through an attempt and wait for its end, however long it takes."""
        attempt = self._begin(domain)
        if attempt and attempt.task:
            attempt.whole = True
            await asyncio.wait([attempt.task])

    def renew_verdicts(self, asked_since: float) -> None:
        """Have the verdicts that are due of DANE domains in use found again, behind all replies."""
        for domain in self._memory.verdicts_due(asked_since, self._sources.clock()):
            self._recheck_soon(domain)

    async def refresh(self, domain: Domain) -> State | None:
        """Fetch the policy now, whatever its id and age; the state after it.

        None where there is no room for one more attempt, or this one was broken off.
        """
        await self._ended(domain)
        attempt = self._begin(domain)
        if attempt is None or attempt.task is None:
            return None
        attempt.forced = attempt.whole = True  # it has not gone a step yet
        await asyncio.wait([attempt.task])
        return attempt.after

    async def forget(self, domain: Domain) -> bool:
        """Know nothing of a domain any more, nor of its past; whether anything was known."""
        await self._ended(domain)
        known = self.unlearn(domain)
        self._asked.pop(domain, None)
        return await self._sources.store.forget(domain) or known

    def unlearn(self, domain: Domain) -> bool:
        """Have a domain no more in memory: another process knows more; whether it was there."""
        self._rechecks.discard(domain)
        return self._memory.drop(domain)

    def known(self, domain: Domain) -> Known | None:
        """Where the domain's state stands in memory, whatever it is worth."""
        return self._memory.get(domain)

    def policies(self) -> list[tuple[Domain, State]]:
        """The states in memory that hold a policy."""
        return [(domain, state) for domain, state in self._memory.states() if state.policy]

    def failing(self) -> list[tuple[Domain, State]]:
        """The states in memory whose last attempt failed, those of policies and of absences."""
        return [(domain, state) for domain, state in self._memory.states() if state.failure]

    def note_asked(self, domain: Domain, times: int, at: float | None = None) -> None:
        """Note that a domain was asked for so often, last at this time, or now."""
        before = self._asked.get(domain)
        at = self._sources.clock() if at is None else at
        asked = Asked(at, times + (before.times if before else 0))
        if asked.times == 1:  # one note for all of a second: there may be 100,000
            if not 0 <= at - self._asked_once.at < 1:
                self._asked_once = asked
            asked = self._asked_once
        self._asked[domain] = asked

    def asked(self, domain: Domain) -> Asked | None:
        """When and how often a domain was asked for, since this was last taken."""
        return self._asked.get(domain)

    def take_asked(self) -> dict[Domain, Asked]:
        """The same of all domains."""
        asked, self._asked = self._asked, {}
        return asked

    async def close(self) -> None:
        """End the attempts under way; those who wait for them are told that nothing is known."""
        self._rechecks.close()
        tasks = [a.task for a in self._attempts.values() if a.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _ended(self, domain: Domain) -> None:
        """Return when no attempt is under way for this domain."""
        while (attempt := self._attempts.get(domain)) and attempt.task:
            await asyncio.wait([attempt.task])

    async def _read(
        self, domains: Sequence[Domain]
    ) -> dict[Domain, LookedUp | asyncio.Future[LookedUp]]:
        """What the file can serve; of the other domains, what an attempt will find."""
        on_file = await self._sources.store.load_all(domains)
        return {domain: self._after_reading(domain, on_file.get(domain)) for domain in domains}

    def _after_reading(
        self, domain: Domain, on_file: State | None
    ) -> LookedUp | asyncio.Future[LookedUp]:
        if state := self._taken(domain, on_file):
            return LookedUp(state, Source.STORE)
        attempt = self._begin(domain)
        if attempt is None:
            return self._unjudged(lifecycle.live(on_file, self._sources.clock()))
        attempt.read, attempt.on_file = True, on_file
        return self._awaited(attempt)

    def _awaited(self, attempt: Attempt) -> asyncio.Future[LookedUp]:
        """What an attempt finds, or what there is when nobody waits for it any longer."""
        attempt.remember = True
        loop = asyncio.get_running_loop()
        if attempt.overdue:
            attempt.answer = loop.create_future()
            attempt.answer.set_result(self._unjudged(attempt.kept))
        elif attempt.waited_for is None:
            attempt.waited_for = loop.call_at(attempt.waited_until, self._overdue, attempt)
        return attempt.answer

    def _overdue(self, attempt: Attempt) -> None:
        if not attempt.answer.done():
            attempt.overdue = True
            attempt.answer.set_result(self._unjudged(attempt.kept))

    def _taken(self, domain: Domain, on_file: State | None) -> State | None:
        """What can be served now that the file was read; a policy from there is remembered."""
        now = self._sources.clock()
        known = self._memory.get(domain)  # whoever asked at the same time may have been faster
        if known and self._standing(known.state, now) is not Standing.UNKNOWN:
            return known.state
        policy = lifecycle.live(on_file, now)
        if policy is None or self._standing(policy, now) is Standing.UNKNOWN:
            return None
        self._memory.put(domain, policy, now)
        self._recheck_soon(domain)
        return policy

    def _standing(self, state: State | None, now: float) -> Standing:
        return standing(state, now, dane=self._judge is not None)

    def _unjudged(self, state: State | None) -> LookedUp:
        """A policy of which DANE's verdict could not be had in time, or nothing.

        Nobody knows of a signed MX RRset then, so that the policy stands (`dane.on_failure`).
        """
        if state is None:
            return NOTHING
        return LookedUp(replace(state, dane=None), Source.STORE)

    def _recheck_soon(self, domain: Domain) -> None:
        if domain not in self._attempts:
            self._rechecks.add(domain)

    def _recheck(self, domain: Domain) -> bool:
        """Begin a recheck, if it is due; whether one was begun."""
        attempt = self._begin(domain) if self._is_due(domain) else None
        if attempt:
            attempt.recheck = True
        return attempt is not None

    def _is_due(self, domain: Domain) -> bool:
        known = self._memory.get(domain)
        if known is None or domain in self._attempts:
            return False
        return self._standing(known.state, self._sources.clock()) is not Standing.FRESH

    def _begin(self, domain: Domain) -> Attempt | None:
        """The attempt under way for this domain, or a new one; None where there are too many."""
        if attempt := self._attempts.get(domain):
            return attempt
        if not self._has_room():
            return None
        loop = asyncio.get_running_loop()
        waited_until = loop.time() + self._lookup_timeout
        attempt = Attempt(loop.create_future(), waited_until)
        self._attempts[domain] = attempt
        attempt.task = loop.create_task(self._attempt(domain, attempt), name=f"attempt {domain}")
        return attempt

    def _has_room(self) -> bool:
        """Whether one more attempt may begin; when that changes, it is logged."""
        under_way = len(self._attempts)
        if not self._crowded and under_way >= self._limit:
            self._crowded = True
            event(_log, logging.WARNING, "too many attempts, domains go unlooked", limit=under_way)
        elif self._crowded and under_way <= self._limit // 2:
            self._crowded = False
            event(_log, logging.INFO, "room for attempts again", under_way=under_way)
        return under_way < self._limit

    async def _attempt(self, domain: Domain, attempt: Attempt) -> None:
        before: State | None = None
        hearing: Hearing | None = None
        try:
            await self._pace.turn()
            before = await self._before(domain, attempt)
            hearing = self._hear(domain, before, attempt)
            if hearing.asks and attempt.kept:  # whoever waits, waits for the verdict alone
                before = replace(attempt.kept, dane=await hearing.verdict())
                self._settle(domain, attempt, before, Source.NETWORK)
            after = await self._after(domain, before, attempt, hearing)
            self._settle(domain, attempt, after, Source.NETWORK)
            if hearing.asks and after.policy and after.dane and not attempt.saved:
                await self._sources.store.note_verdict(domain, after.dane)
        except OwnFaultError as fault:  # whoever raised it has told the log
            self._break_off(domain, attempt, before, fault)
        except Exception as error:  # noqa: BLE001 (the top of a task: those who wait are answered)
            event(_log, logging.ERROR, "attempt broken off", domain, exc_info=error)
            ours = OwnFaultError("a fault of this program; see the log")
            self._break_off(domain, attempt, before, ours)
        finally:
            if hearing:
                hearing.cancel()
            self._end(domain, attempt)

    def _break_off(
        self, domain: Domain, attempt: Attempt, before: State | None, fault: OwnFaultError
    ) -> None:
        self._counts.attempts[Stage.OWN, fault.code] += 1
        after = lifecycle.after_fault(before, fault, self._sources.clock())
        after = replace(after, dane=before.dane if before else None)
        self._settle(domain, attempt, after, Source.NONE)

    def _hear(self, domain: Domain, before: State | None, attempt: Attempt) -> Hearing:
        """Begin to ask for DANE's verdict, if one is wanted and due."""
        verdict = before.dane if before and self._judge else None
        wanted = attempt.forced or is_due(verdict, self._sources.clock())
        judge = self._judge if wanted else None
        return Hearing(domain, verdict, judge, self._sources.clock, self._counts)

    def _end(self, domain: Domain, attempt: Attempt) -> None:
        del self._attempts[domain]
        if attempt.waited_for:
            attempt.waited_for.cancel()
        if not attempt.answer.done():
            attempt.answer.set_result(NOTHING)
        if attempt.recheck:
            self._rechecks.ended()
        self._rechecks.go_on()

    async def _before(self, domain: Domain, attempt: Attempt) -> State | None:
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
            if self._standing(attempt.kept, self._sources.clock()) is not Standing.UNKNOWN:
                self._settle(domain, attempt, attempt.kept, Source.STORE)
            return attempt.kept
        return in_memory or attempt.on_file

    async def _after(
        self, domain: Domain, before: State | None, attempt: Attempt, hearing: Hearing
    ) -> State:
        """The state in which the attempt ends; nothing but the verdict if nothing else is due."""
        if before and not attempt.whole and self._is_fresh(before):
            return replace(before, dane=await hearing.verdict())
        errand = Errand(
            domain,
            before,
            hearing,
            sources=self._sources,
            pace=self._pace,
            counts=self._counts,
            asked_at=lambda: asked.at if (asked := self._asked.get(domain)) else 0.0,
            forced=attempt.forced,
        )
        after = await errand.run()
        attempt.saved = errand.saved
        return after

    def _is_fresh(self, state: State) -> bool:
        """Whether the policy's part of it is."""
        return standing(state, self._sources.clock()) is Standing.FRESH

    def _evicted(self, domain: Domain) -> None:
        self._rechecks.discard(domain)
        self._counts.evicted += 1

    def _settle(self, domain: Domain, attempt: Attempt, state: State, source: Source) -> None:
        """Let memory, and those who wait, have this state."""
        attempt.after = state
        if known := self._memory.get(domain):
            known.state = state
        elif attempt.remember:
            self._memory.put(domain, state, self._sources.clock())
        if state.policy is None:
            self._asked.pop(domain, None)
        if not attempt.answer.done():
            attempt.answer.set_result(LookedUp(state, source))
