"""What a daemon knows as a whole, said by whichever of its processes is asked.

Border: asks each `Witness` and the store, which is everybody's, and puts together what they say; a
sibling that does not answer is left out. No list is ever held in memory as a whole.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from postfix_mta_sts import __version__
from postfix_mta_sts.admin import serialize
from postfix_mta_sts.admin.client import ControlError
from postfix_mta_sts.admin.processes import Own
from postfix_mta_sts.admin.types import JsonObject, PolicyFilter, Witness
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Part, Snapshot
from postfix_mta_sts.store import RowFilter, Store

PAGE: Final = 50
"""Rows that are read at once: what parsing their policies takes, a look-up may have to wait."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """What a daemon can say of itself without asking anybody; times are epoch seconds."""

    started_at: float
    config: str | None
    """The file that was read; None: the defaults."""
    listening: Sequence[str]
    store: str
    idle_after: float
    """Seconds, as in the settings."""
    dane: DaneStatus
    """Of the process that is asked; others may have found another answer for a while."""
    next_tick: float | None = None
    """When the refresher looks next for what is due; None where another process does."""
    workers: int = 1
    pid: int = field(default_factory=os.getpid)


class Control:
    """All questions, for all processes of this daemon.

    `about` is asked anew each time, for a reload changes it. `own`: this process, whose index is
    `index`; `siblings`: the others by theirs.
    """

    def __init__(
        self,
        resolver: Resolver,
        store: Store,
        clock: Callable[[], float],
        snapshot: Callable[[], Awaitable[Snapshot]],
        about: Callable[[], DaemonInfo],
        *,
        index: int = 0,
        siblings: Mapping[int, Witness] | None = None,
    ) -> None:
        self.own: Final = Own(resolver, snapshot)
        self._resolver = resolver
        self._store = store
        self._clock = clock
        self._about = about
        self._index = index
        self._siblings = siblings or {}

    async def snapshot(self) -> Mapping[int, Snapshot]:
        """The numbers of each process that answers, by its index."""
        own = {self._index: await self.own.snapshot()}
        return own | await self._of_siblings(lambda sibling: sibling.snapshot())

    async def status(self) -> JsonObject:
        """How the daemon fares."""
        about, now = self._about(), self._clock()
        snapshot = await self.snapshot()
        overview = await self._store.overview(now, now - about.idle_after)
        return {
            "version": __version__,
            "pid": about.pid,
            "started_at": round(about.started_at),
            "config": about.config,
            "listening": list(about.listening),
            "processes": {"wanted": about.workers, "answering": _pids(snapshot)},
            "policies": serialize.of_overview(overview),
            "store_path": about.store,
            "dane": {
                "on": about.dane.on,
                "reason": about.dane.reason,
                "advice": about.dane.advice,
            },
            "next_renewal_at": None if about.next_tick is None else round(about.next_tick),
            **serialize.of_figures(sum(snapshot.values(), Snapshot(pids=frozenset()))),
        }

    async def policies(self, wanted: PolicyFilter) -> AsyncGenerator[JsonObject]:
        """What is known of each domain that is wanted, in their order.

        Where the store cannot be read, the last is `{"error": …}`.
        """
        now, idle_after = self._clock(), self._about().idle_after
        streams = [self._on_file(wanted, now), self.own.failing()]
        streams += [_to_the_end(sibling.failing()) for sibling in self._siblings.values()]
        async with AsyncExitStack() as stack:
            for stream in streams:
                await stack.enter_async_context(aclosing(stream))
            async for entries in by_domain(streams):
                entry = serialize.merged(entries, now, idle_after)
                if serialize.fits(entry, wanted, now):
                    yield entry
        if (await self.own.snapshot()).failing[Part.STORE_READING]:
            yield {"error": "the store cannot be read: the list is not complete"}

    async def show(self, domain: Domain) -> JsonObject:
        """All that is known of a domain."""
        row = await self._store.row(domain)
        known = [await self.own.known(domain)]
        known += (await self._of_siblings(lambda sibling: sibling.known(domain))).values()
        states = [each["state"] for each in known] + [row and serialize.of_state(row.state)]
        return {
            **self._shown(domain, [state for state in states if state]),
            **serialize.asked_of(row, known),
            "history": serialize.of_history(await self._store.history(domain)),
        }

    async def refresh(self, domain: Domain) -> JsonObject:
        """Fetch a domain's policy now; what is known of it after that, and the outcome.

        Outcome: `fetched`; `no-policy`: the domain has none; `failed`; `busy`: there was no room
        for one more attempt.
        """
        state = await self._resolver.refresh(domain)
        await self._of_siblings(lambda sibling: sibling.unlearn(domain))
        return {**await self.show(domain), **_after(state), "outcome": _outcome(state)}

    async def forget(self, domain: Domain) -> JsonObject:
        """Forget a domain: memory, store and history; whether anything was known, or is still.

        What a store that cannot be written has on file is known again when it is read.
        """
        known = [await self.own.forget(domain)]
        known += (await self._of_siblings(lambda sibling: sibling.forget(domain))).values()
        kept = bool((await self.own.snapshot()).failing[Part.STORE_WRITING])
        return {"domain": domain, "known": any(known), "kept_on_file": kept}

    def _shown(self, domain: Domain, known: Sequence[JsonObject]) -> dict[str, Any]:
        now = self._clock()
        best = serialize.best(known, now)
        in_force = best is not None and best["policy"] is not None and now < best["expires_at"]
        return {"domain": domain, "known": best is not None, "in_force": in_force, **(best or {})}

    async def _on_file(self, wanted: PolicyFilter, now: float) -> AsyncGenerator[JsonObject]:
        before = None if wanted.expiring_in is None else now + wanted.expiring_in
        query = RowFilter(now, wanted.mode, before)
        last: Domain | None = None
        while rows := await self._store.page(query, last, PAGE):
            last = rows[-1].domain
            for row in rows:
                yield serialize.of_row(row)

    async def _of_siblings(self, ask: Callable[[Witness], Awaitable[_T]]) -> dict[int, _T]:
        """What the siblings say that answer, all asked at once."""
        asked = (ask(sibling) for sibling in self._siblings.values())
        said = await asyncio.gather(*asked, return_exceptions=True)
        heard: dict[int, _T] = {}
        for index, answer in zip(self._siblings, said, strict=True):
            if isinstance(answer, ControlError):
                _note_silence(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                heard[index] = answer
        return heard


async def by_domain(
    streams: Sequence[AsyncIterator[JsonObject]],
) -> AsyncGenerator[list[JsonObject]]:
    """What several streams have of the same domain, each stream in the order of domains."""
    ahead = [(entry, stream) for stream in streams if (entry := await anext(stream, None))]
    while ahead:
        first = min(entry["domain"] for entry, _ in ahead)
        taken = [(entry, stream) for entry, stream in ahead if entry["domain"] == first]
        yield [entry for entry, _ in taken]
        ahead = [each for each in ahead if each[0]["domain"] != first]
        for _, stream in taken:
            if entry := await anext(stream, None):
                ahead.append((entry, stream))


async def _to_the_end(stream: AsyncIterator[JsonObject]) -> AsyncGenerator[JsonObject]:
    """What a sibling says, until it falls silent."""
    try:
        async for entry in stream:
            yield entry
    except ControlError as error:
        _note_silence(error)


def _note_silence(error: ControlError) -> None:
    # Who asks sees by the processes that answer; a log would have a line for each scrape.
    event(_log, logging.DEBUG, "another process does not answer", reason=str(error))


def _pids(snapshot: Mapping[int, Snapshot]) -> list[int]:
    return sorted(pid for each in snapshot.values() for pid in each.pids)


def _after(state: State | None) -> JsonObject:
    """What an attempt ended with, which need not stand in any memory."""
    return {"known": True, **serialize.of_state(state)} if state else {}


def _outcome(state: State | None) -> str:
    if state is None:
        return "busy"
    if state.failure is None:
        return "fetched"
    missing = state.policy is None and state.failure.code == NoRecordError.code
    return "no-policy" if missing else "failed"
