"""The operations of the control socket: report what the daemon knows, refresh, forget.

It combines what the resolver has in memory with what the store holds, and never holds the list of
stored policies as a whole. `serialize` converts the answers; `routes` offers them over HTTP.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from heapq import merge
from operator import itemgetter
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.admin import answer, serialize
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.postfix.answers import OTHER, Answering, told, told_without_look_up
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Part, Snapshot
from postfix_mta_sts.store import Row, RowFilter, Store
from postfix_mta_sts.values import replace

PAGE: Final = 50
"""Rows read from the store at once. A look-up may have to wait while their policies are parsed."""
_DOMAIN: Final = itemgetter(0)

_DEFAULTS: Final = Answering()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """Facts about the daemon that `status` reports; times are epoch seconds."""

    started_at: float
    config: str | None
    """The configuration file; None: the built-in defaults."""
    listening: Sequence[str]
    store: str
    """The path of the store."""
    idle_after: float
    """`refresh.idle_after`, in seconds."""
    dane: DaneStatus
    answering: Answering = _DEFAULTS
    asked_at: float | None = None
    """When Postfix last asked for a domain; None: never."""
    next_tick: float | None = None
    """When the refresher next looks for policies that are due; None before its first run."""
    pid: int = field(default_factory=os.getpid)


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
            "config": info.config,
            "listening": list(info.listening),
            "policies": serialize.overview_to_json(overview),
            "store_path": info.store,
            "dane": serialize.dane_to_json(info.dane),
            "next_renewal_at": None if info.next_tick is None else round(info.next_tick),
            **serialize.snapshot_to_json(snapshot),
        }

    async def policies(self, wanted: PolicyFilter) -> AsyncGenerator[JsonObject]:
        """List the domains that match the filter, ordered by domain.

        If the store cannot be read, the last object is `{"error": …}`.
        """
        if wanted.asked_within is not None:
            await self._snapshot()  # counts the look-ups that memory answered
            await self._resolver.write_usage()
        now, info = self._clock(), self._info()
        async with aclosing(self._known(wanted, now)) as known:
            async for domain, row, failing in known:
                entry = serialize.entry_to_json(domain, row, failing, now, info.idle_after)
                if serialize.fits(entry, wanted, now) and self._was_asked(domain, row, wanted, now):
                    result = self._resolver.preview(domain, row.state if row else None)
                    result = answer.likely(result, now)
                    decision = answer.answer(domain, result, info.answering, now)
                    why = answer.why(decision, result.knowledge, info.answering, now)
                    yield {**entry, "answer": answer.word(decision), "why": why}
        if Part.STORE_READING in (await self._snapshot()).failing:
            yield {"error": "the store cannot be read: the list is not complete"}

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
            "answer": answer.word(decision),
            "why": answer.why(decision, result.knowledge, answering, now),
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

    async def answers(self, key: str) -> JsonObject:
        """Report what Postfix is told for a key in each map, without asking the network.

        It is no look-up: it is not counted, and keeps no domain in use.
        """
        answering, encoded = self._info().answering, key.encode()
        answering = replace(answering, maps=(*answering.maps, OTHER))
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

    async def _known(
        self, wanted: PolicyFilter, now: float
    ) -> AsyncGenerator[tuple[Domain, Row | None, State | None]]:
        """Merge the stored rows with the failing states in memory, both ordered by domain."""
        failing = await self._failing()
        other = next(failing, None)
        async with aclosing(self._rows(wanted, now)) as rows:
            async for row in rows:
                while other and other[0] < row.domain:
                    yield other[0], None, other[1]
                    other = next(failing, None)
                same = other if other and other[0] == row.domain else None
                yield row.domain, row, same[1] if same else None
                if same:
                    other = next(failing, None)
        while other:
            yield other[0], None, other[1]
            other = next(failing, None)

    async def _failing(self) -> Iterator[tuple[Domain, State]]:
        """The failing states in memory by domain: other tasks run while they are sorted."""
        states = await self._resolver.states(serialize.fails)
        parts = []
        for start in range(0, len(states), SLICE):
            parts.append(sorted(states[start : start + SLICE], key=_DOMAIN))
            await asyncio.sleep(0)
        return merge(*parts, key=_DOMAIN)

    async def _rows(self, wanted: PolicyFilter, now: float) -> AsyncGenerator[Row]:
        before = None if wanted.expiring_in is None else now + wanted.expiring_in
        since = None if wanted.asked_within is None else now - wanted.asked_within
        query = RowFilter(now, wanted.mode, before, since)
        last: Domain | None = None
        while rows := await self._store.page(query, last, PAGE):
            last = rows[-1].domain
            for row in rows:
                yield row


def _outcome(state: State | None) -> str:
    if state is None:
        return "busy"
    if state.failure is None:
        return "fetched"
    missing = state.policy is None and state.failure.code == NoRecordError.code
    return "no-policy" if missing else "failed"
