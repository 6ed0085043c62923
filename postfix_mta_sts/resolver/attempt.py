"""One attempt for a domain: find the policy and the DANE verdict, save them, log the changes.

Theory of operation
-------------------
An attempt runs in its own task (a `Flight`) and asks two questions side by side, neither of which
waits for the other.

*The policy* (`_find_policy`): the TXT record, if it is due; then a GET, if
`lifecycle.after_discovery` wants one; then `lifecycle.after_fetch`.
*The fleet*, if there is one (`adoption`): before a GET, or before an absence, the policy of another
relay, and the lease, so that one relay fetches for all. What it says too late for its budget comes
in place of nothing: beside a GET, or when the network has failed. As long as the row was not read,
it is not known what that would take away: then only in place of nothing, and not on file.
*The verdict* (`verdict_question`): a DANE look-up, if DANE is on and the verdict is due; another
one if it is due again while the policy question still waits.

Before both comes the state from the cache, else the row of the store. A read that takes longer than
`read_patience` goes on beside the questions. An absence waits for it, because the store may hold a
policy, which an absence does not end; so does a question that failed, since the row may answer it.
A read that failed is made once more.

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
from contextlib import closing
from functools import partial

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.changes import changes
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
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.weakening import weakenings
from postfix_mta_sts.resolver.adoption import Adoption
from postfix_mta_sts.resolver.dane import log_change
from postfix_mta_sts.resolver.fleet_question import FleetQuestion
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.single_flight import Flight
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.resolver.stored_row import StoredRow
from postfix_mta_sts.resolver.verdict_question import VerdictQuestion
from postfix_mta_sts.stats.labels import SUCCESS, Source, Stage
from postfix_mta_sts.store import differs_on_file

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
        self._row = StoredRow(shared, domain, self._known)
        self._fleet = shared.ask_fleet(domain)
        self._adoption = (
            Adoption(shared, domain, self._known, self._row, self._fleet)
            if self._fleet and not self._order.force_fetch
            else None
        )

    async def run(self) -> None:
        """Bring the state of the domain up to date; never raises an `Exception`."""
        verdict: VerdictQuestion | None = None
        verdicts: asyncio.Task[None] | None = None
        try:
            await self._ask(self._load)
            if lookup := self._shared.dane_lookup:
                verdict = VerdictQuestion(
                    self._shared,
                    self._domain,
                    self._known,
                    self._row,
                    lookup,
                    forced=self._order.force_fetch,
                )
                question = self._ask(verdict.ask, self._known.forget_dane)
                verdicts = asyncio.create_task(question, name=f"verdict {self._domain}")
            self._answer(Source.STORE)
            find = partial(self._share, self._fleet) if self._fleet else self._find_policy
            await self._ask(find, self._known.forget_policy)
            if verdict and verdicts:
                verdict.policy_has_ended = True
                if not verdict.is_between_look_ups:
                    await verdicts
            if self._row.is_unread:  # all is answered; it may show that something is weaker
                await self._row.wait()
        finally:
            if verdicts:
                verdicts.cancel()
            self._row.close()

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
            await self._row.wait()  # it may hold what the question did not find
            forget()
            self._answer(self._flight.source)

    def _answer(self, source: Source) -> None:
        self._known.answer(source, self._sources.clock())

    async def _load(self) -> None:
        """Find what was known before this attempt."""
        now = self._sources.clock()
        self._known.take_cached(now)
        if self._known.row_is_known:
            return
        if not self._order.row_was_read:
            self._known.keep(Source.MEMORY, now)
        # An absence in the cache does not rule out a live policy in the store: a read may have
        # failed when the absence was found, the clock may have been wrong, or another process
        # may have fetched.
        await self._row.load(self._order, partial(self._answer, Source.STORE))

    async def _share(self, fleet: FleetQuestion) -> None:
        """Find the policy, in the fleet too; however that ends, the lease is given back."""
        with closing(fleet):
            await self._find_policy()

    async def _find_policy(self) -> None:
        """Query the TXT record, if it is due, and fetch the policy, if it must be fetched."""
        state = self._known.state
        if state and not self._order.needs_txt and self._is_fresh(state):
            self._known.step = last_step(state)
            self._answer(self._flight.source)
            return
        if self._adoption:
            self._adoption.start()
        outcome = await self._discover()
        step = await self._after_discovery(outcome)
        if self._adoption:
            decide = partial(self._decide_step, outcome)
            step = await self._adoption.before_fetch(step, _named(outcome), decide)
        if _has_failed(outcome, step) and await self._look_after_failure(_named(outcome)):
            step = self._decide_step(outcome)
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
            await self._row.wait()
            return self._decide_step(outcome)
        if isinstance(step, Fetch) and await self._row.take_newer():
            return self._decide_step(outcome)
        return step

    def _decide_step(self, outcome: Discovered | DiscoveryError) -> Fetch | State:
        state, now = self._known.state, self._sources.clock()
        return lifecycle.after_discovery(state, outcome, now, forced=self._order.force_fetch)

    async def _fetch(self, step: Fetch) -> None:
        """Fetch the policy, and settle what follows."""
        self._pend(PolicyStep.ADDRESSES_PENDING)
        outcome: Policy | FetchError | DnsFailureError
        try:
            outcome = await self._fetched(step)
        except (FetchError, DnsFailureError) as error:
            outcome = error.with_traceback(None)  # the same
            await self._row.wait()
        self._count(Stage.HTTPS, outcome)
        after = self._after_fetch(step, outcome)
        if after.policy is None and await self._look_after_failure(step.policy_id):
            after = self._after_fetch(step, outcome)
        await self._settle(after, is_fetched=isinstance(outcome, Policy))

    def _after_fetch(self, step: Fetch, outcome: Policy | FetchError | DnsFailureError) -> State:
        state, now, random = self._known.state, self._sources.clock(), self._sources.random()
        return lifecycle.after_fetch(state, step, outcome, now, random)

    async def _fetched(self, step: Fetch) -> Policy:
        """Fetch the policy; beside that, take what the fleet says too late for its budget."""
        fetch = self._sources.fetch(self._domain, self._note_addresses)
        if not (self._adoption and self._adoption.may_look_beside):
            return await fetch
        fetching = asyncio.ensure_future(fetch)
        try:
            await self._adoption.look_beside(fetching, step.policy_id)
            return await fetching
        finally:
            fetching.cancel()
            await asyncio.wait([fetching])
            if not fetching.cancelled():
                fetching.exception()  # so that asyncio does not log it as lost

    async def _look_after_failure(self, named: PolicyId | None) -> bool:
        return self._adoption is not None and await self._adoption.look_after_failure(named)

    def _note_addresses(self) -> None:
        self._pend(PolicyStep.GET_PENDING)

    def _pend(self, step: PolicyStep) -> None:
        """Note what the policy question waits for."""
        self._known.step = step
        self._known.keep(self._flight.source, self._sources.clock())

    async def _settle(self, after: State, *, is_fetched: bool = False) -> None:
        """Keep what the policy question ended with, log what changed, and answer by it."""
        now, before, last = self._sources.clock(), self._known.state, self._row.last_policy
        after = self._known.settle(after, now)
        for change in changes(before, after, now):  # before the attempt waits, and may be given up
            log_change(_log, self._domain, change)
        self._shared.report(weakenings(self._domain, last, after, now))
        if is_fetched:
            self._row.is_replaced_by(after)
            self._known.found_in = Source.NETWORK
            self._known.keep(Source.NETWORK, now)
            await self._row.save(after)
        self._answer(self._known.found_in)
        if is_fetched and self._fleet:
            self._fleet.offer(after, self._row.asked_at)
        if after.policy is None:
            self._shared.usage.drop(self._domain)
        elif not is_fetched and differs_on_file(before, after):
            await self._row.note()

    def _count(self, stage: Stage, outcome: object) -> None:
        code = outcome.code if isinstance(outcome, MtaStsError) else SUCCESS
        self._shared.counters.attempts[stage, code] += 1


def _named(outcome: Discovered | DiscoveryError) -> PolicyId | None:
    """The id in the TXT record; None: there is none, or the DNS did not say."""
    return outcome.policy_id if isinstance(outcome, Discovered) else None


def _has_failed(outcome: Discovered | DiscoveryError, step: Fetch | State) -> bool:
    """Whether nothing is known, because the DNS failed, or a GET has lately."""
    is_over = isinstance(step, State) and step.policy is None
    return is_over and isinstance(outcome, Discovered | DnsFailureError)
