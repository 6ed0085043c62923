"""One attempt for a domain: find the policy and the DANE verdict, save them, log the changes.

Theory of operation
-------------------
An attempt runs in its own task (a `Flight`) and asks two questions side by side, neither of which
waits for the other.

*The policy* (`_find_policy`): the TXT record, if it is due; then a GET, if
`lifecycle.after_discovery` wants one; then `lifecycle.after_fetch`.
*The verdict* (`_keep_verdict`): a DANE look-up, if DANE is on and the verdict is due; another one
if it is due again while the policy question still waits.

Before both comes the state from the cache, else the row of the store. A read that takes longer than
`read_patience` goes on beside the questions. An absence waits for it, because the store may hold a
policy, which an absence does not end; so does a question that failed, since the row may answer it.
And a read that failed is tried once more.

*What is kept when?* Each answer changes what is `Known` at once: in the cache, and for the look-ups
that wait. A policy is saved before a look-up is answered by it, so that it survives a crash; should
the lookup timeout end during the save, the look-up gets the policy all the same. What changes
beside the policy (verdict, failure, back-off) is noted in its row. Absences are never stored. A
renewal in the background takes no room in the cache, unless it failed.

*What is answered when?* Each look-up decides that for its own key and map, with
`mtasts.decision.decide`: with each answer, and when the lookup timeout ends.

`lifecycle`, `dane` and `decision` make all decisions; this module carries them out. A fault of this
program ends one question and leaves no trace in the state: the next look-up asks again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.changes import changes
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.decision import PolicyStep, last_step
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    MtaStsError,
    OwnFaultError,
)
from postfix_mta_sts.mtasts.lifecycle import Discovered, Fetch, Standing, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.verdict import is_due
from postfix_mta_sts.resolver.dane import DaneLookup, log_change, new_verdict
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.single_flight import Flight
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.stats import SUCCESS, Source, Stage
from postfix_mta_sts.store import StoreError, differs_on_file

SHORTEST_PAUSE: Final = 1.0
"""Seconds between two DANE look-ups of one attempt, at least."""

_log = logging.getLogger(__name__)


class Attempt:
    """One attempt for `domain`; call `run` once. Look-ups wait for `flight`."""

    def __init__(self, shared: AttemptContext, domain: Domain, flight: Flight) -> None:
        self._shared = shared
        self._sources = shared.sources
        self._domain = domain
        self._flight = flight
        self._order = flight.order
        self._known = Known(domain, shared.cache, flight, shared.usable)
        self._reading: asyncio.Future[State | None] | None = None
        self._policy_has_ended = False
        self._is_between_verdicts = False

    async def run(self) -> None:
        """Bring the state of the domain up to date; never raises an `Exception`."""
        verdicts: asyncio.Task[None] | None = None
        try:
            await self._ask(self._load)
            if lookup := self._shared.dane_lookup:
                self._known.is_asking_dane = self._is_dane_due()
                question = self._ask(partial(self._keep_verdict, lookup), self._known.forget_dane)
                verdicts = asyncio.create_task(question, name=f"verdict {self._domain}")
            self._answer(Source.STORE)
            await self._ask(self._find_policy, self._known.forget_policy)
            self._policy_has_ended = True
            if verdicts and not self._is_between_verdicts:
                await verdicts
        finally:
            if verdicts:
                verdicts.cancel()
            if self._reading:
                self._reading.cancel()

    async def _ask(
        self,
        question: Callable[[], Awaitable[None]],
        forget: Callable[[], None] | None = None,
    ) -> None:
        """Carry out one question; a fault of this program ends only this one, with `forget`."""
        try:
            await question()
        except OwnFaultError as fault:  # logged where it happened
            self._shared.counters.attempts[Stage.OWN, fault.code] += 1
        except Exception as error:  # noqa: BLE001 (the top of a task: waiting look-ups get an answer)
            self._shared.counters.attempts[Stage.OWN, OwnFaultError.code] += 1
            event(
                _log,
                logging.ERROR,
                "attempt failed by an internal error",
                self._domain,
                exc_info=error,
            )
        else:
            return
        if forget:
            await self._wait_for_row()  # it may hold what the question did not find
            forget()
            self._answer(self._flight.source)

    def _answer(self, source: Source) -> None:
        """Keep what is known, and answer the look-ups for which it is enough."""
        self._known.keep(source, self._sources.clock())
        self._flight.answer()

    # The row of the store

    async def _load(self) -> None:
        """Find what was known before this attempt."""
        now = self._sources.clock()
        self._known.take_cached(now)
        if self._known.row_is_known:
            return
        if self._order.row_was_read:
            self._take_row(self._order.row)
        else:
            self._known.keep(Source.MEMORY, now)
            # An absence in the cache does not rule out a live policy in the store: a read may have
            # failed when the absence was found, the clock may have been wrong, or another process
            # may have fetched.
            await self._start_reading()

    async def _start_reading(self) -> None:
        """Read the row; return without it after `read_patience`, and take it when it comes."""
        self._reading = self._order.reading
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._sources.store.load(self._domain))
            await asyncio.wait([self._reading], timeout=self._sources.read_patience)
        if self._reading.done():
            self._finish_reading(self._reading)
        else:
            self._reading.add_done_callback(self._finish_late_reading)

    def _finish_reading(self, reading: asyncio.Future[State | None]) -> None:
        with suppress(StoreError):  # logged by the store
            self._take_row(reading.result())

    def _finish_late_reading(self, reading: asyncio.Future[State | None]) -> None:
        if not reading.cancelled():
            self._finish_reading(reading)
            self._answer(Source.STORE)

    def _take_row(self, row: State | None) -> None:
        self._known.take_row(self._shared.usable(row), self._sources.clock())

    async def _wait_for_row(self) -> None:
        """Wait for the read that is under way; if it failed, read once more."""
        if self._reading and not self._reading.done():
            await asyncio.wait([self._reading])
        elif not self._known.row_is_known:
            with suppress(StoreError):
                self._take_row(await self._sources.store.load(self._domain))

    # The verdict

    def _is_dane_due(self) -> bool:
        return self._order.force_fetch or is_due(self._known.verdict, self._sources.clock())

    async def _keep_verdict(self, lookup: DaneLookup) -> None:
        """Look DANE up when the verdict is due, as long as the policy question takes.

        A verdict may be valid for a minute only. Should it expire while a Policy Host is slow, the
        next look-up would take an older policy for all that is known.
        """
        while True:
            if self._known.is_asking_dane:
                await self._find_verdict(lookup)
            if self._policy_has_ended:
                return
            verdict, now = self._known.verdict, self._sources.clock()
            self._is_between_verdicts = True
            await asyncio.sleep(max(SHORTEST_PAUSE, verdict.recheck_at - now) if verdict else 0)
            self._is_between_verdicts, self._known.is_asking_dane = False, True

    async def _find_verdict(self, lookup: DaneLookup) -> None:
        outcome = await self._ask_dane(lookup)
        if not outcome.is_complete:
            self._note_progress(outcome)
            await self._wait_for_row()  # it may hold a verdict, which a failure does not end
        now, before = self._sources.clock(), self._shared.usable(self._known.state)
        last = before.dane if before else None
        verdict = new_verdict(self._domain, last, outcome, now, self._shared.counters)
        self._known.take_verdict(verdict, now)
        self._answer(Source.NETWORK)
        await self._note()

    async def _ask_dane(self, lookup: DaneLookup) -> DaneOutcome:
        """The outcome; asked once more if the name servers have changed meanwhile."""
        while True:
            asked_of = self._shared.asked_of
            try:
                outcome = await lookup(self._domain, self._note_progress)
            except OwnFaultError:
                self._note_progress(None)  # `dane.on_failure` is for what the DNS did
                raise
            if asked_of == self._shared.asked_of:
                return outcome
            self._known.so_far = None

    def _note_progress(self, so_far: DaneOutcome | None) -> None:
        self._known.so_far = so_far
        self._answer(self._flight.source)  # for a key to which these hosts do not matter

    # The policy

    async def _find_policy(self) -> None:
        """Query the TXT record, if it is due, and fetch the policy, if it must be fetched."""
        state = self._known.state
        if state and not self._order.needs_txt and self._is_fresh(state):
            self._known.step = last_step(state)
            self._answer(self._flight.source)
            return
        step = await self._after_discovery(await self._discover())
        if isinstance(step, Fetch):
            await self._fetch(step)
        else:
            await self._settle(step)

    def _is_fresh(self, state: State) -> bool:
        """Whether the TXT record is not due yet."""
        return lifecycle.standing(state, self._sources.clock()) is Standing.FRESH

    async def _discover(self) -> Discovered | DiscoveryError:
        """Query the TXT record; raises `OwnFaultError`, which says nothing about the domain."""
        outcome: Discovered | DiscoveryError
        try:
            outcome = await self._sources.discover(self._domain)
        except OwnFaultError:
            raise
        except DiscoveryError as error:
            code, reason = error.code, str(error)
            event(_log, logging.DEBUG, "no policy id", self._domain, error=code, reason=reason)
            outcome = error.with_traceback(None)  # else a cycle: it refers to this frame
        self._count(Stage.DNS, outcome)
        return outcome

    async def _after_discovery(self, outcome: Discovered | DiscoveryError) -> Fetch | State:
        """The next step. Before an absence, the store must have been read."""
        step = self._decide_step(outcome)
        if isinstance(step, State) and step.policy is None and not self._known.row_is_known:
            await self._wait_for_row()
            return self._decide_step(outcome)
        if isinstance(step, Fetch) and await self._take_newer_row():
            return self._decide_step(outcome)
        return step

    def _decide_step(self, outcome: Discovered | DiscoveryError) -> Fetch | State:
        state, now = self._known.state, self._sources.clock()
        return lifecycle.after_discovery(state, outcome, now, forced=self._order.force_fetch)

    async def _take_newer_row(self) -> bool:
        """Use the row if another process has fetched the policy since; return whether it has."""
        before = self._known.state
        if before is None or before.policy is None:
            return False
        with suppress(StoreError):
            row = self._shared.usable(await self._sources.store.load(self._domain))
            if row and row.fetched_at > before.fetched_at:
                self._known.replace_state(row, self._sources.clock())
                return True
        return False

    async def _fetch(self, step: Fetch) -> None:
        """Fetch the policy, and settle what follows."""
        self._pend(PolicyStep.ADDRESSES_PENDING)
        outcome: Policy | FetchError | DnsFailureError
        try:
            outcome = await self._sources.fetch(self._domain, self._note_addresses)
        except (FetchError, DnsFailureError) as error:
            outcome = error.with_traceback(None)  # the same
            await self._wait_for_row()
        self._count(Stage.HTTPS, outcome)
        state, now, random = self._known.state, self._sources.clock(), self._sources.random()
        after = lifecycle.after_fetch(state, step, outcome, now, random)
        await self._settle(after, is_fetched=isinstance(outcome, Policy))

    def _note_addresses(self) -> None:
        self._pend(PolicyStep.GET_PENDING)

    def _pend(self, step: PolicyStep) -> None:
        """Note what the policy question waits for."""
        self._known.step = step
        self._known.keep(self._flight.source, self._sources.clock())

    async def _settle(self, after: State, *, is_fetched: bool = False) -> None:
        """Keep what the policy question ended with, log what changed, and answer by it."""
        now, before = self._sources.clock(), self._known.state
        after = self._known.settle(after, now)
        for change in changes(before, after, now):  # before the attempt waits, and may be given up
            log_change(_log, self._domain, change)
        if is_fetched:
            self._known.keep(Source.NETWORK, now)
            await self._save(after)
        self._answer(Source.NETWORK)
        if after.policy is None:
            self._shared.usage.drop(self._domain)
        elif not is_fetched and differs_on_file(before, after):
            await self._note()

    async def _save(self, state: State) -> None:
        """Save a policy. The look-up that wants it counts as the last one, until usage is written.

        The usage may have been written a moment ago, when the domain had no row to take it.
        """
        usage = self._shared.usage.get(self._domain)
        asked_at = max(usage.at if usage else 0.0, self._flight.asked_at)
        usable = self._shared.usable(state) or state
        await self._sources.store.save(self._domain, usable, asked_at)

    async def _note(self) -> None:
        """Note in the row what has changed beside the policy."""
        if (state := self._shared.usable(self._known.state)) and state.policy:
            await self._sources.store.note(self._domain, state)

    def _count(self, stage: Stage, outcome: object) -> None:
        code = outcome.code if isinstance(outcome, MtaStsError) else SUCCESS
        self._shared.counters.attempts[stage, code] += 1
