"""A store that may fail → one that never does: what cannot be written is kept in memory.

Border: knows the `Store` behind it only as what raises `StoreError`. Promises that no fault of
the disk stops or delays an answer for long, and that none loses a policy that is in memory.

What is saved goes into `_unwritten` first, which is asked before the backend, and leaves it when
it is on file. While writing is known to fail, that is all that `save` does; the task `store
repair`, which lives only as long as there is something for it to do, writes it later.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter, methodcaller
from typing import Final, TypeVar

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.dane import Verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import (
    DamagedStoreError,
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    Store,
    StoreError,
)
from postfix_mta_sts.store.breaker import USUAL, Breaker, Timing, too_slow
from postfix_mta_sts.store.memory import MemoryStore, remembering
from postfix_mta_sts.values import replace

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

UNWRITTEN_MOST: Final = 10_000
"""Policies kept for a backend that fails; beyond that the oldest go."""
_AT_ONCE: Final = 500
"""Rows that are written together when the backend works again."""
_TOUCHED_AT_ONCE: Final = 5000
"""Last-asked times that are written before a save has its turn."""


def _none() -> Iterable[tuple[Domain, State]]:
    return ()


class FailsafeStore:
    """A `Store` whose methods never raise; `open` first, `close` last.

    `backend` opens one, or raises `StoreError`. `in_memory` gives the states that the caller
    holds: they are written to a backend that was opened anew, or late.
    """

    def __init__(
        self,
        backend: Callable[[], Awaitable[Store]],
        *,
        in_memory: Callable[[], Iterable[tuple[Domain, State]]] = _none,
        timing: Timing = USUAL,
        unwritten_most: int = UNWRITTEN_MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        """Requests that the backend failed to carry out."""
        self.dropped = 0
        """Policies that were never written, for there were too many."""
        self.asked_lost = 0
        """Last-asked times that were never written."""
        self._open = backend
        self._in_memory = in_memory
        self._timing = timing
        self._reading = Breaker("reading", timing.read)
        self._listing = Breaker(
            "listing", timing.list
        )  # slow lists are no reason to read no policy
        self._writing = Breaker("writing", timing.write)
        self._most = unwritten_most
        self._clock = clock
        self._backend: Store | None = None
        self._broken: Store | None = None
        self._open_at = -math.inf
        self._replace_at = -math.inf
        self._tried = asyncio.Event()
        self._unwritten = MemoryStore()
        self._repair: asyncio.Task[None] | None = None

    @property
    def unwritten(self) -> int:
        """Policies that are in memory and not, or not yet, on file."""
        return len(self._unwritten.rows)

    @property
    def readable(self) -> bool:
        """Whether the backend is open, and could be read when it last was, lists included."""
        failing = self._reading.failing or self._listing.failing
        return self._backend is not None and not failing

    @property
    def writable(self) -> bool:
        """Whether the backend is open, and could be written when it last was."""
        return self._backend is not None and not self._writing.failing

    async def open(self) -> None:
        """Open the backend, if it can be; else go on without and open it when it can be."""
        self._repair_soon()
        try:
            async with asyncio.timeout(self._writing.deadline):
                await self._tried.wait()
        except TimeoutError:
            self._note(None, self._writing, too_slow("opening", self._writing))

    async def load(self, domain: Domain) -> State | None:
        """See `Store`. What cannot be read is not there."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`. What cannot be read is not there."""
        on_file: Mapping[Domain, State] = {}
        if others := [domain for domain in domains if domain not in self._unwritten.rows]:
            with suppress(StoreError):
                on_file = await self._ask(self._reading, lambda store: store.load_all(others))
        if not self._unwritten.rows:
            return on_file
        return {**on_file, **await self._unwritten.load_all(domains)}

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`; where it cannot be written, it is kept in memory and written later."""
        await self._unwritten.save(domain, state, asked_at)
        row = self._unwritten.rows[domain]
        if self.unwritten > self._most:
            self._drop_oldest()
        try:
            if not self._writing.failing:
                await self._ask(self._writing, lambda store: _save(store, row))
                self._written(row)
        except StoreError:
            pass  # noted where it was found
        finally:  # also when whoever asked has given up waiting
            if self._is_unwritten(row):
                self._repair_soon()

    async def note_verdict(self, domain: Domain, verdict: Verdict) -> None:
        """See `Store`. One that cannot be written is found again when it is missed."""
        await self._unwritten.note_verdict(domain, verdict)
        with suppress(StoreError):
            await self._ask(self._writing, lambda store: store.note_verdict(domain, verdict))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`; times that cannot be written are lost, but for policies in memory."""
        await self._unwritten.touch(asked)
        items = list(asked.items())
        for start in range(0, len(items), _TOUCHED_AT_ONCE):
            some = dict(items[start : start + _TOUCHED_AT_ONCE])
            try:
                await self._touch(some)
            except StoreError:
                self.asked_lost += len(some)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`; those in memory first."""
        due = list(await self._unwritten.due(now, asked_since, limit))
        known = frozenset(self._unwritten.rows)
        with suppress(StoreError):
            on_file = await self._ask(
                self._reading, lambda store: store.due(now, asked_since, limit)
            )
            due += [domain for domain in on_file if domain not in known]
        return due[:limit]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`. What cannot be read is not there."""
        row = await self._unwritten.row(domain)
        with suppress(StoreError):
            on_file = await self._ask(self._reading, lambda store: store.row(domain))
            if row and on_file:  # what was asked before this policy was fetched is on file only
                return replace(
                    row,
                    asked_at=max(row.asked_at, on_file.asked_at),
                    asked_count=max(row.asked_count, on_file.asked_count),
                )
            row = row or on_file
        return row

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`. What cannot be read is not there."""
        history = list(await self._unwritten.history(domain))[::-1]
        with suppress(StoreError):
            on_file = await self._ask(self._reading, lambda store: store.history(domain))
            for new in on_file:
                history = remembering(history, new)
        return history[::-1]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`. What cannot be read is not there."""
        rows: list[Row] = []
        with suppress(StoreError):
            rows = [row async for row in self._on_file(query, after, limit)]
        rows += await self._unwritten.page(query, after, limit)
        return sorted(rows, key=attrgetter("domain"))[:limit]

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`; of what is in memory and not on file only where there is no file."""
        with suppress(StoreError):
            return await self._ask(self._listing, lambda store: store.overview(now, asked_since))
        return await self._unwritten.overview(now, asked_since)

    async def forget(self, domain: Domain) -> bool:
        """See `Store`. What cannot be removed from the file comes back from there."""
        found = await self._unwritten.forget(domain)
        with suppress(StoreError):
            found |= await self._ask(self._writing, lambda store: store.forget(domain))
        return found

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        removed = await self._unwritten.remove_expired(before)
        with suppress(StoreError):
            removed += await self._ask(self._writing, lambda store: store.remove_expired(before))
        return removed

    async def close(self) -> None:
        """See `Store`; what cannot be written now is lost, and logged."""
        if self._repair:
            self._repair.cancel()
            await asyncio.wait([self._repair])
        for step in (self._write_last, self._let_go):
            try:
                async with asyncio.timeout(self._writing.deadline):
                    await step()
            except TimeoutError:
                self._writing.failed(too_slow("closing", self._writing), math.inf)
            except StoreError as error:
                self._writing.failed(error, math.inf)
        if self.unwritten:
            logs.event(_log, logging.WARNING, "policies not written", count=self.unwritten)

    async def _on_file(
        self, query: RowFilter, after: Domain | None, limit: int
    ) -> AsyncIterator[Row]:
        """Rows of the next page of which memory has nothing newer, at least `limit` if there are.

        More may come: only what is before the last of them can be told from what is missing.
        """
        found = 0
        while found < limit:
            ask = methodcaller("page", query, after, limit)
            rows: Sequence[Row] = await self._ask(self._listing, ask)
            if not rows:
                return
            after = rows[-1].domain
            for row in rows:
                if row.domain not in self._unwritten.rows:
                    found += 1
                    yield row

    async def _touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        await self._ask(self._writing, lambda store: store.touch(asked))

    async def _write_last(self) -> None:
        if self._backend:
            await self._write_all(self._backend)

    async def _let_go(self) -> None:
        if backend := self._backend or self._broken:
            await backend.close()

    async def _ask(self, way: Breaker, ask: Callable[[Store], Awaitable[_T]]) -> _T:
        """The backend's answer; raises `StoreError`, at once while it is known to fail."""
        backend = self._backend
        if backend is None or not self._may_ask(way):
            raise StoreError("not asked")
        # One asks, and the others need not wait.
        way.retry_at = self._clock() + self._timing.retry
        try:
            async with asyncio.timeout(way.deadline):
                answer = await ask(backend)
        except TimeoutError as error:
            slow = too_slow(way.name, way)
            self._note(backend, way, slow)
            raise slow from error
        except StoreError as error:
            self._note(backend, way, error)
            raise
        if way is not self._writing or not self.unwritten:
            way.works()
        return answer

    def _may_ask(self, way: Breaker) -> bool:
        return self._backend is not None and way.may_be_asked(self._clock())

    def _note(self, backend: Store | None, way: Breaker, error: StoreError) -> None:
        """Note what failed; a damaged backend is not asked again, and replaced."""
        now = self._clock()
        self.failures += 1
        way.failed(error, now + self._timing.retry)
        if backend is not self._backend:
            return  # it has been replaced meanwhile
        if isinstance(error, DamagedStoreError):
            self._backend, self._broken = None, backend or self._broken
            self._open_at = max(now, self._replace_at)
            self._replace_at = self._open_at + self._timing.replace
            self._repair_soon()

    def _written(self, row: Row) -> None:
        if self._is_unwritten(row):
            self._unwritten.drop(row.domain)

    def _is_unwritten(self, row: Row) -> bool:
        now = self._unwritten.rows.get(row.domain)
        return now is not None and now.state is row.state  # else there is a newer one

    def _drop_oldest(self) -> None:
        self._unwritten.drop(next(iter(self._unwritten.rows)))
        self.dropped += 1

    def _repair_soon(self) -> None:
        if self._repair is None or self._repair.done():
            self._repair = asyncio.create_task(self._mend(), name="store repair")

    async def _mend(self) -> None:
        """Open what is not open, and write what is unwritten, until both are done."""
        while self._backend is None or self.unwritten:
            at = self._writing.retry_at if self._backend else self._open_at
            await asyncio.sleep(max(0.0, at - self._clock()))
            backend = self._backend
            try:
                if backend is None:
                    backend = await self._reopen()
                await self._write_all(backend)
            except StoreError as error:
                self._note(backend, self._writing, error)
            self._tried.set()

    async def _reopen(self) -> Store:
        """Open the backend, and take over what is in memory: it may have begun anew."""
        self._open_at = self._clock() + self._timing.retry
        if self._broken:
            await self._broken.close()
            self._broken = None
        backend = await self._open()
        self._take_over()
        self._backend = backend
        self._reading.works()
        self._listing.works()
        return backend

    def _take_over(self) -> None:
        held = {d: Row(d, s, s.checked_at) for d, s in self._in_memory() if s.policy}
        self._unwritten.rows = held | self._unwritten.rows  # what is unwritten is newer

    async def _write_all(self, backend: Store) -> None:
        written = 0
        while rows := list(islice(self._unwritten.rows.values(), _AT_ONCE)):
            saves = (_save(backend, row) for row in rows)
            results = await asyncio.gather(*saves, return_exceptions=True)
            for row, error in zip(rows, results, strict=True):
                if error:
                    raise error
                self._written(row)
            written += len(rows)
        self._writing.works(written)


def _save(store: Store, row: Row) -> Awaitable[None]:
    return store.save(row.domain, row.state, row.asked_at)
