"""The operations of the control socket: report what the daemon knows, refresh, forget.

It combines what the resolver has in memory with what the store holds. `serialize` converts the
answers; `routes` offers them over HTTP.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from postfix_mta_sts import __version__
from postfix_mta_sts.admin import answer, serialize
from postfix_mta_sts.admin.daemon_info import DaemonInfo
from postfix_mta_sts.admin.exceptions.views import applied_to_json, counts_to_json
from postfix_mta_sts.admin.fleet.views import fleet_to_json
from postfix_mta_sts.admin.known_domains import known_domains
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.decision import Decision
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.answers import Answering, told, told_without_look_up
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store import Row, Store
from postfix_mta_sts.store.history import joined_histories
from postfix_mta_sts.values import replace

_log = logging.getLogger(__name__)


class Control:
    """The operations of the control socket, each answered in plain data for JSON.

    `snapshot` counts what is not counted yet and returns the numbers. `info` is called for each
    question, because a reload changes its result. `self_check` asks a listener as Postfix does, and
    returns why it does not answer, or the empty text.
    """

    def __init__(
        self,
        resolver: Resolver,
        store: Store,
        clock: Callable[[], float],
        snapshot: Callable[[], Awaitable[Snapshot]],
        info: Callable[[], DaemonInfo],
        self_check: Callable[[], Awaitable[str]],
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._clock = clock
        self._snapshot = snapshot
        self._info = info
        self._self_check = self_check

    async def snapshot(self) -> Snapshot:
        """Return the counters and gauges of the daemon."""
        return await self._snapshot()

    async def status(self) -> JsonObject:
        """Report the daemon's configuration, work and health."""
        info, now = self._info(), self._clock()
        snapshot = await self._snapshot()
        overview = await self._store.overview(now, now - info.idle_after)
        problem = await self._self_check()
        return {
            "answering": {"ok": not problem, "reason": problem or None},
            "last_asked_at": None if info.asked_at is None else round(info.asked_at),
            "failing": len(await self._resolver.states(serialize.fails)),
            "version": __version__,
            "pid": info.pid,
            "started_at": round(info.started_at),
            "configured_at": round(info.configured_at, 3),
            "config": info.config,
            "listening": list(info.listening),
            "policies": serialize.overview_to_json(overview),
            "store_path": info.store,
            "dane": serialize.dane_to_json(info.dane),
            "trial": serialize.trial_to_json(info.answering),
            "sandbox": serialize.sandbox_to_json(info.confinement),
            "exceptions": counts_to_json(
                info.answering.rules.exceptions, info.exceptions_problem, now
            ),
            "fleet": info.fleet and fleet_to_json(snapshot.fleet, info.fleet.name, info.fleet.url),
            "next_renewal_at": None if info.next_tick is None else round(info.next_tick),
            **serialize.snapshot_to_json(snapshot),
        }

    async def fleet(self) -> JsonObject | None:
        """Report whether the shared store answers; None: this relay shares nothing."""
        fleet, numbers = self._info().fleet, (await self._snapshot()).fleet
        return fleet_to_json(numbers, fleet.name, fleet.url) if fleet else None

    async def relays(self) -> JsonObject:
        """Report what the relays of the fleet say of themselves."""
        fleet, now = self._info().fleet, self._clock()
        told = await fleet.relays(now) if fleet else {"relays": [], "refused": 0, "problem": None}
        return {"fleet": await self.fleet(), **told}

    async def policies(self, wanted: PolicyFilter) -> AsyncGenerator[JsonObject]:
        """List the domains that match the filter, ordered by domain.

        If the store cannot be read, the last object is `{"error": …}`.
        """
        async with aclosing(self.policies_on_trial(wanted)) as entries:
            async for entry, _ in entries:
                yield entry

    async def policies_on_trial(
        self, wanted: PolicyFilter
    ) -> AsyncGenerator[tuple[JsonObject, Callable[[], str | None]]]:
        """The same list; each entry with a function that returns its `why` without a trial."""
        if wanted.asked_within is not None:
            await self._snapshot()  # counts the look-ups that memory answered
            await self._resolver.write_usage()
        now, info = self._clock(), self._info()
        untried, tried = info.answering.without_trial, info.answering.on_trial
        async with aclosing(known_domains(self._resolver, self._store, wanted, now)) as known:
            async for domain, row, failing in known:
                entry = serialize.entry_to_json(domain, row, failing, now, info.idle_after)
                if serialize.fits(entry, wanted, now) and self._was_asked(domain, row, wanted, now):
                    result = self._resolver.preview(domain, row.state if row else None)
                    result = answer.likely(result, now)
                    decision = answer.answer(domain, result, info.answering, now)
                    told_now = _answered(domain, decision, result, info.answering, now)
                    why = partial(_why_without_trial, domain, result, untried, tried, now)
                    yield {**entry, **told_now}, why
        if Part.STORE_READING in (await self._snapshot()).failing:
            yield {"error": "the store cannot be read: the list is not complete"}, lambda: None

    async def show(self, domain: Domain) -> JsonObject:
        """Report all that is known of a domain, without asking the network."""
        await self._snapshot()  # look-ups that memory answered are only now counted as asked for
        row = await self._store.row(domain)
        now, answering = self._clock(), self._info().answering
        flight, best = self._resolver.flight(domain), self._best(domain, row, now)
        result = self._resolver.preview(domain, row.state if row else None)
        replies = told(domain.encode(), domain, result, answering, now)
        result = answer.likely(result, now)
        decision = answer.answer(domain, result, answering, now)
        at_the_end = answer.answer(domain, result, answering, now, is_last=True)
        return {
            "domain": domain,
            "known": best is not None,
            **_answered(domain, decision, result, answering, now),
            "reply": answer.text(domain, decision, result.knowledge, answering, now),
            "replies": answer.replies_to_json(replies),
            "attempt": flight
            and {
                "seconds": round(flight.age),
                "waits_for": round(flight.time_left),
                "then": answer.text(domain, at_the_end, result.knowledge, answering, now),
            },
            "in_force": best is not None and serialize.in_force(best, now),
            **(serialize.state_to_json(best) if best else {}),
            **serialize.usage_to_json(row, self._resolver.usage.get(domain)),
            "history": serialize.history_to_json(await self._store.history(domain)),
        }

    async def show_with_fleet(self, domain: Domain) -> JsonObject:
        """The same, with what the shared store has of the domain."""
        fleet = self._info().fleet
        if fleet is None:
            return {**await self.show(domain), "shared": None}
        now, row = self._clock(), await self._store.row(domain)
        shared, (theirs, _) = await asyncio.gather(
            fleet.shared(domain, self._best(domain, row, now), now), fleet.history(domain)
        )
        history = joined_histories(await self._store.history(domain), theirs)
        told = {"shared": shared, "history": serialize.history_to_json(history)}
        return {**await self.show(domain), **told}

    async def answers(self, key: str) -> JsonObject:
        """Report what Postfix is told for a key in each map, without asking the network.

        It is no look-up: it is not counted, and keeps no domain in use.
        """
        answering, encoded = self._info().answering, key.encode()
        answering = replace(answering, maps=(*answering.maps, answering.other))
        domain: Domain | None = None
        replies = told_without_look_up(encoded, answering)
        if isinstance(replies, str):
            domain = replies
            row = await self._store.row(domain)
            result = self._resolver.preview(domain, row.state if row else None)
            replies = told(encoded, domain, result, answering, self._clock())
        *known, other = answer.replies_to_json(replies)
        return {"key": key, "domain": domain, "replies": known, "other": other["reply"]}

    async def refresh(self, domain: Domain, uid: int | None = None) -> JsonObject:
        """Fetch the policy of a domain now; report what is known after that, and the outcome.

        The log says that the user `uid` asked for it.

        The outcome is `fetched`; `no-policy`: the domain publishes none; `failed`; or `busy`: the
        limit of attempts was reached, or a fault of the daemon ended the attempt.
        """
        state = await self._resolver.refresh(domain)
        # The state after the attempt need not be in memory, nor in the store.
        after = {"known": True, **serialize.state_to_json(state)} if state else {}
        outcome = _outcome(state)
        event(_log, logging.INFO, "policy refresh requested", domain, uid=uid, outcome=outcome)
        return {**await self.show(domain), **after, "outcome": outcome}

    async def forget(self, domain: Domain, uid: int | None = None) -> JsonObject:
        """Remove a domain from memory, store and history; report whether anything was known.

        `kept_on_file`: the store cannot be written, so it may return the policy later. The log says
        that the user `uid` asked for it.
        """
        known = await self._resolver.forget(domain)
        kept = Part.STORE_WRITING in (await self._snapshot()).failing
        event(_log, logging.INFO, "policy forgotten", domain, uid=uid, known=known, kept=kept)
        return {"domain": domain, "known": known, "kept_on_file": kept}

    def _was_asked(self, domain: Domain, row: Row | None, wanted: PolicyFilter, now: float) -> bool:
        """Whether a domain was asked for lately, if that matters; rows are filtered already."""
        if wanted.asked_within is None or row:
            return True
        cached = self._resolver.entry(domain)
        return cached is not None and cached.asked_at >= now - wanted.asked_within

    def _best(self, domain: Domain, row: Row | None, now: float) -> State | None:
        """All that is known of a domain, as one state."""
        cached, flight = self._resolver.entry(domain), self._resolver.flight(domain)
        states = [cached.state if cached else None, row.state if row else None]
        states.append(flight.knowledge.state if flight else None)
        return answer.together([state for state in states if state], now)


def _outcome(state: State | None) -> str:
    if state is None:
        return "busy"
    if state.failure is None:
        return "fetched"
    missing = state.policy is None and state.failure.code == NoRecordError.code
    return "no-policy" if missing else "failed"


def _answered(
    domain: Domain, decision: Decision, result: LookupResult, answering: Answering, now: float
) -> JsonObject:
    """What Postfix is told for a domain, why, and the exception that is in force for it."""
    return {
        "answer": answer.word(decision),
        "why": answer.why(domain, decision, result, answering, now),
        "exception": applied_to_json(answering.rules.exceptions, domain, now),
    }


def _why_without_trial(
    domain: Domain, result: LookupResult, untried: Answering, tried: Answering, now: float
) -> str | None:
    """As `answer.why` by the settings `untried`; `tried`: the same, with a trial.

    What DANE decides by reason of a policy (`dane-only`) is the policy's.
    """
    decision = answer.answer(domain, result, untried, now)
    why = answer.why(domain, decision, result, untried, now)
    if why == "dane" and decision is not answer.answer(domain, result, tried, now):
        return Mode.ENFORCE
    return why
