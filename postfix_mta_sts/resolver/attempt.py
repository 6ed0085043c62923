"""One attempt for a domain: query TXT, fetch the policy if needed, save it, log the change.

Theory of operation
-------------------
An attempt runs in its own task (a `Flight`) and answers three questions.

*What is asked in parallel?* First the attempt needs the state from before: from the cache, else
from the store. Then the DANE look-up starts, if the verdict is due. Without a live policy the TXT
query runs beside it; with one, look-ups wait for the verdict alone, and the TXT query follows it. A
GET follows the TXT query if `lifecycle.after_discovery` wants one. The state in which the attempt
ends has both parts, so the policy waits for the verdict at the end.

*What may be answered when?*
1. A stored policy whose verdict is live, or for which DANE is off: at once, before any query.
2. A live policy whose verdict is being looked up: as soon as the verdict is there. The TXT query
   and the GET continue after the reply.
3. Everything else: at the end of the attempt.
4. When the lookup timeout ends first: the live policy without a verdict, if there is one (case 2),
   else nothing. The MX RRset is then not known to be signed, so the policy may be enforced.

*What is written when?* A fetched policy is saved together with its verdict, before the answer, so
that it survives a crash. Without a GET, a new verdict is added to the row. Absences are never
stored. Each published state goes to the cache if the domain is there already or a look-up wants it;
a renewal in the background takes no room in the cache. Changes are logged at the end.

`lifecycle` makes all decisions; this module carries them out. A fault of this program ends the
attempt with `lifecycle.after_fault`: a live policy stays, and look-ups that wait get an answer.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.changes import changes
from postfix_mta_sts.mtasts.dane import is_due
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DiscoveryError, FetchError, MtaStsError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Discovered, Fetch, Standing, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.resolver.cache import StateCache
from postfix_mta_sts.resolver.dane import DaneCheck, DaneLookup, log_change
from postfix_mta_sts.resolver.single_flight import NO_RESULT, Flight, LookupResult
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.stats import SUCCESS, Counters, Source, Stage
from postfix_mta_sts.store import Store, StoreError, differs_on_file
from postfix_mta_sts.values import replace

T = TypeVar("T")
E = TypeVar("E", bound=MtaStsError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What an attempt asks, and what tests replace: network, store, clock, random numbers."""

    discover: Callable[[Domain], Awaitable[Discovered]]
    """Raises `DiscoveryError`."""
    fetch: Callable[[Domain], Awaitable[Policy]]
    """Raises `FetchError`, or `OwnFaultError`."""
    store: Store
    clock: Callable[[], float]
    """Wall-clock seconds since the epoch."""
    random: Callable[[], float]
    """Numbers in [0, 1)."""


@dataclass(slots=True)
class AttemptContext:
    """What all attempts of a resolver share."""

    sources: Sources
    cache: StateCache
    usage: Usage
    counters: Counters
    dane_lookup: DaneLookup | None = None
    """None: DANE is off."""

    def standing(self, state: State | None) -> Standing:
        """Whether a state can be served now, with or without a recheck."""
        now = self.sources.clock()
        return lifecycle.standing(state, now, dane=self.dane_lookup is not None)


class Attempt:
    """One attempt for `domain`; call `run` once. Look-ups wait for `flight`."""

    def __init__(self, shared: AttemptContext, domain: Domain, flight: Flight) -> None:
        self._shared = shared
        self._sources = shared.sources
        self._domain = domain
        self._flight = flight
        self._order = flight.order
        self._before: State | None = None
        self._saved = False

    async def run(self) -> None:
        """Bring the state of the domain up to date; never raises an `Exception`."""
        check: DaneCheck | None = None
        try:
            live = await self._load()
            check = self._start_dane_check()
            if check.is_pending and live:
                self._before = replace(live, dane=await check.verdict())
                self._publish(self._before, Source.NETWORK)
            after = await self._update(check)
            self._publish(after, Source.NETWORK)
            noted = check.is_pending or differs_on_file(self._before, after)
            if noted and after.policy and not self._saved:
                await self._sources.store.note(self._domain, after)
        except OwnFaultError as fault:  # logged where it happened
            self._give_up(fault)
        except Exception as error:  # noqa: BLE001 (the top of a task: waiting look-ups get an answer)
            event(
                _log,
                logging.ERROR,
                "attempt failed by an internal error",
                self._domain,
                exc_info=error,
            )
            self._give_up(OwnFaultError("internal error; see the log"))
        finally:
            if check:
                check.cancel()

    async def _load(self) -> State | None:
        """Set the state before this attempt; return it if it holds a live policy."""
        entry = self._shared.cache.get(self._domain)
        cached = entry.state if entry else None
        live = lifecycle.live(cached, self._sources.clock())
        if live is None:
            stored = await self._stored()
            live = lifecycle.live(stored, self._sources.clock())
            self._before = live or cached or stored
            if live and self._shared.standing(live) is not Standing.UNKNOWN:
                self._publish(live, Source.STORE)
        else:
            self._before = live
        self._flight.offer(without_verdict(live))
        return live

    async def _stored(self) -> State | None:
        """The state in the store.

        An absence in the cache does not rule out a live policy there: a read may have failed when
        the absence was found, the clock may have been wrong, or another process may have fetched.
        """
        if self._order.row_was_read:
            return self._order.row
        return await self._read_row()

    async def _read_row(self) -> State | None:
        """The row in the store; None also if it cannot be read."""
        try:
            return await self._sources.store.load(self._domain)
        except StoreError:
            return None

    def _start_dane_check(self) -> DaneCheck:
        """Make the DANE check; its look-up starts at once, if DANE is on and the verdict is due."""
        lookup, before = self._shared.dane_lookup, self._before
        verdict = before.dane if before and lookup else None
        due = self._order.force_fetch or is_due(verdict, self._sources.clock())
        clock, counters = self._sources.clock, self._shared.counters
        return DaneCheck(self._domain, verdict, lookup if due else None, clock, counters)

    async def _update(self, check: DaneCheck) -> State:
        """The state at the end: TXT query, GET, and the verdict, for which this waits last.

        If the TXT record is not due, only the verdict is new.
        """
        if self._before and not self._order.needs_txt and self._is_fresh(self._before):
            return replace(self._before, dane=await check.verdict())
        step = await self._discover()
        after = step if isinstance(step, State) else await self._fetch(step)
        after = replace(after, dane=await check.verdict())
        if not isinstance(step, State) and after.policy:
            await self._save(after)
        for change in changes(self._before, after, self._sources.clock()):
            log_change(_log, self._domain, change)
        return after

    def _is_fresh(self, state: State) -> bool:
        """Whether the TXT record is not due yet."""
        return lifecycle.standing(state, self._sources.clock()) is Standing.FRESH

    async def _discover(self) -> Fetch | State:
        """Query the TXT record; the next step, or the state without one."""
        outcome = await _outcome(self._sources.discover(self._domain), DiscoveryError)
        if isinstance(outcome, OwnFaultError):
            raise outcome  # says nothing about the domain
        self._count(Stage.DNS, outcome)
        if isinstance(outcome, DiscoveryError):
            code, reason = outcome.code, str(outcome)
            event(_log, logging.DEBUG, "no policy id", self._domain, error=code, reason=reason)
        forced = self._order.force_fetch
        decide = partial(lifecycle.after_discovery, outcome=outcome, forced=forced)
        step = decide(self._before, now=self._sources.clock())
        if isinstance(step, Fetch) and (newer := await self._newer_row()):
            self._before = newer
            step = decide(newer, now=self._sources.clock())
        return step

    async def _newer_row(self) -> State | None:
        """The stored state, if another process has fetched since `_before` was fetched."""
        before = self._before
        if before is None or before.policy is None:
            return None
        stored = await self._read_row()
        return stored if stored and stored.fetched_at > before.fetched_at else None

    async def _fetch(self, step: Fetch) -> State:
        """Fetch the policy; the state after it."""
        outcome = await _outcome(self._sources.fetch(self._domain), FetchError)
        self._count(Stage.HTTPS, outcome)
        now, random = self._sources.clock(), self._sources.random()
        return lifecycle.after_fetch(self._before, step, outcome, now, random)

    async def _save(self, state: State) -> None:
        usage = self._shared.usage.get(self._domain)
        await self._sources.store.save(self._domain, state, usage.at if usage else 0.0)
        self._saved = True

    def _publish(self, state: State, source: Source) -> None:
        """Give the state to the cache and to the look-ups that wait."""
        if entry := self._shared.cache.get(self._domain):
            self._shared.cache.update(entry, state)
        elif self._flight.wanted:
            self._shared.cache.put(self._domain, state, self._sources.clock())
        if state.policy is None:
            self._shared.usage.drop(self._domain)
        self._flight.publish(state, source)

    def _give_up(self, fault: OwnFaultError) -> None:
        """End the attempt after a fault of this program; a live policy stays."""
        self._shared.counters.attempts[Stage.OWN, fault.code] += 1
        before = self._before
        after = lifecycle.after_fault(before, fault, self._sources.clock())
        self._publish(replace(after, dane=before.dane if before else None), Source.NONE)

    def _count(self, stage: Stage, outcome: object) -> None:
        code = outcome.code if isinstance(outcome, MtaStsError) else SUCCESS
        self._shared.counters.attempts[stage, code] += 1


def without_verdict(state: State | None) -> LookupResult:
    """The answer when the verdict did not come in time: the policy alone, or nothing.

    The MX RRset is then not known to be signed, so the policy stands (`dane.on_failure`).
    """
    return LookupResult(replace(state, dane=None), Source.STORE) if state else NO_RESULT


async def _outcome(source: Awaitable[T], error: type[E]) -> T | E:
    """The result, or the error as a value."""
    try:
        return await source
    except error as failure:
        return failure
