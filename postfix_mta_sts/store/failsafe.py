"""A store that does not fail: it wraps a backend that may, and keeps unwritten policies in memory.

Only `load` and `load_all` raise: their caller must know whether there is no row, or whether it
could not be read. No fault of the disk loses a policy that is in memory. The wrapped `Store` is a
backend of any kind; this module assumes only that its methods raise `StoreError`.

`save` first puts a state into the write buffer, which every read consults before the backend. The
state leaves the buffer when the backend has it. While writing is known to fail, `save` does
nothing else: the task `store repair`, which runs only while there is something to repair, writes
the state later.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter, methodcaller
from typing import Final, TypeVar

from postfix_mta_sts import logs
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
from postfix_mta_sts.store.breaker import DEFAULT_TIMING, Breaker, Timing, timeout_error
from postfix_mta_sts.store.memory import merge_history
from postfix_mta_sts.store.write_buffer import BUFFER_LIMIT, WriteBuffer, write_row
from postfix_mta_sts.values import replace

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_TOUCH_BATCH: Final = 5000
"""Last-asked times that are written in one call, so that a save gets its turn in between."""


async def _no_states() -> Iterable[tuple[Domain, State]]:
    return ()


class FailsafeStore:
    """A `Store` of which only `load` and `load_all` raise; call `open` first and `close` last.

    `backend` opens a backend, or raises `StoreError`. `in_memory` returns the states that the
    caller holds; they are written to a backend that was replaced or that opened late.
    """

    def __init__(
        self,
        backend: Callable[[], Awaitable[Store]],
        *,
        in_memory: Callable[[], Awaitable[Iterable[tuple[Domain, State]]]] = _no_states,
        timing: Timing = DEFAULT_TIMING,
        buffer_limit: int = BUFFER_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        """Calls of the backend that failed."""
        self.asked_lost = 0
        """Last-asked times that were never written."""
        self._open_backend = backend
        self._in_memory = in_memory
        self._timing = timing
        # Never paused: "no policy" must not be said of a domain whose row could have been read.
        self._reading = Breaker("reading", timing.read, 0.0)
        # A slow list of all rows must not stop the reading of single policies.
        self._listing = Breaker("listing", timing.list, timing.retry)
        self._writing = Breaker("writing", timing.write, timing.retry)
        self._clock = clock
        self._backend: Store | None = None
        self._damaged: Store | None = None
        self._open_at = -math.inf
        self._replace_at = -math.inf
        self._first_try_done = asyncio.Event()
        self._buffer = WriteBuffer(buffer_limit)
        self._repair_task: asyncio.Task[None] | None = None

    @property
    def unwritten(self) -> int:
        """Policies in memory that the backend does not have, or not yet."""
        return len(self._buffer)

    @property
    def dropped(self) -> int:
        """Policies that were never written, because there were too many."""
        return self._buffer.dropped

    @property
    def readable(self) -> bool:
        """Whether the backend is open and its last read succeeded, lists included."""
        failing = self._reading.failing or self._listing.failing
        return self._backend is not None and not failing

    @property
    def writable(self) -> bool:
        """Whether the backend is open and its last write succeeded."""
        return self._backend is not None and not self._writing.failing

    async def open(self) -> None:
        """Open the backend; if it cannot be opened in time, return and keep trying."""
        self._start_repair()
        try:
            async with asyncio.timeout(self._writing.timeout):
                await self._first_try_done.wait()
        except TimeoutError:
            error = timeout_error("opening", self._writing.timeout)
            self._record_failure(None, self._writing, error)

    async def load(self, domain: Domain) -> State | None:
        """See `Store`; raises `StoreError`."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`; raises `StoreError` if one of the rows must be read and cannot be."""
        stored: Mapping[Domain, State] = {}
        if others := [domain for domain in domains if domain not in self._buffer.rows]:
            stored = await self._call(self._reading, lambda store: store.load_all(others))
        if not self._buffer.rows:
            return stored
        return {**stored, **await self._buffer.load_all(domains)}

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`; a state that cannot be written stays in memory and is written later."""
        row = await self._buffer.add(domain, state, asked_at)
        try:
            if not self._writing.failing:
                await self._call(self._writing, lambda store: write_row(store, row))
                self._buffer.remove_written(row)
        except StoreError:
            pass  # `_call` has recorded it
        finally:  # also if the caller was cancelled while it waited
            if self._buffer.contains(row):
                self._start_repair()

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`; what cannot be written is found again by a later attempt."""
        await self._buffer.note(domain, state)
        with suppress(StoreError):
            await self._call(self._writing, lambda store: store.note(domain, state))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`; times that cannot be written are lost, except of policies in memory."""
        await self._buffer.touch(asked)
        items = list(asked.items())
        for start in range(0, len(items), _TOUCH_BATCH):
            batch = dict(items[start : start + _TOUCH_BATCH])
            try:
                await self._touch_backend(batch)
            except StoreError:
                self.asked_lost += len(batch)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`; domains in memory come first."""
        due = list(await self._buffer.due(now, asked_since, limit))
        buffered = frozenset(self._buffer.rows)
        with suppress(StoreError):
            stored = await self._call(
                self._reading, lambda store: store.due(now, asked_since, limit)
            )
            due += [domain for domain in stored if domain not in buffered]
        return due[:limit]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`; only what is in memory if the backend cannot be read."""
        row = await self._buffer.row(domain)
        with suppress(StoreError):
            stored = await self._call(self._reading, lambda store: store.row(domain))
            if row and stored:  # only the backend counts what was asked before this fetch
                return replace(
                    row,
                    asked_at=max(row.asked_at, stored.asked_at),
                    asked_count=max(row.asked_count, stored.asked_count),
                )
            row = row or stored
        return row

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`; only what is in memory if the backend cannot be read."""
        history = list(await self._buffer.history(domain))[::-1]
        with suppress(StoreError):
            stored = await self._call(self._reading, lambda store: store.history(domain))
            for entry in stored:
                history = merge_history(history, entry)
        return history[::-1]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; only what is in memory if the backend cannot be read."""
        rows: list[Row] = []
        with suppress(StoreError):
            rows = [row async for row in self._backend_rows(query, after, limit)]
        rows += await self._buffer.page(query, after, limit)
        return sorted(rows, key=attrgetter("domain"))[:limit]

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`; counts what is in memory only if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._listing, lambda store: store.overview(now, asked_since))
        return await self._buffer.overview(now, asked_since)

    async def forget(self, domain: Domain) -> bool:
        """See `Store`; a row that the backend cannot remove is read again later."""
        found = await self._buffer.forget(domain)
        with suppress(StoreError):
            found |= await self._call(self._writing, lambda store: store.forget(domain))
        return found

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        removed = await self._buffer.remove_expired(before)
        with suppress(StoreError):
            removed += await self._call(self._writing, lambda store: store.remove_expired(before))
        return removed

    async def close(self) -> None:
        """See `Store`; policies that cannot be written now are lost, and their number is logged."""
        if self._repair_task:
            self._repair_task.cancel()
            await asyncio.wait([self._repair_task])
        for step in (self._flush, self._close_backend):
            try:
                async with asyncio.timeout(self._writing.timeout):
                    await step()
            except TimeoutError:
                error = timeout_error("closing", self._writing.timeout)
                self._writing.failed(error, math.inf)
            except StoreError as error:
                self._writing.failed(error, math.inf)
        if self.unwritten:
            logs.event(_log, logging.WARNING, "policies not written", count=self.unwritten)

    async def _backend_rows(
        self, query: RowFilter, after: Domain | None, limit: int
    ) -> AsyncIterator[Row]:
        """Yield rows of which memory has nothing newer: at least `limit`, if there are as many.

        It may yield more than `limit`: the merge with memory is complete only up to the last row
        that was read.
        """
        found = 0
        while found < limit:
            read_page = methodcaller("page", query, after, limit)
            rows: Sequence[Row] = await self._call(self._listing, read_page)
            if not rows:
                return
            after = rows[-1].domain
            for row in rows:
                if row.domain not in self._buffer.rows:
                    found += 1
                    yield row

    async def _touch_backend(self, asked: Mapping[Domain, LastAsked]) -> None:
        await self._call(self._writing, lambda store: store.touch(asked))

    async def _flush(self) -> None:
        if self._backend:
            await self._write_buffer_to(self._backend)

    async def _close_backend(self) -> None:
        if backend := self._backend or self._damaged:
            await backend.close()

    async def _call(self, breaker: Breaker, operation: Callable[[Store], Awaitable[_T]]) -> _T:
        """Call the backend; raise `StoreError` if it fails, at once while it is known to fail."""
        backend = self._backend
        if backend is None or not breaker.allows(self._clock()):
            raise StoreError("not called: the store is failing")
        # While this call tests a failing backend, all others fail at once.
        breaker.retry_at = self._clock() + breaker.pause
        try:
            async with asyncio.timeout(breaker.timeout):
                result = await operation(backend)
        except TimeoutError as error:
            slow = timeout_error(breaker.operation, breaker.timeout)
            self._record_failure(backend, breaker, slow)
            raise slow from error
        except StoreError as error:
            self._record_failure(backend, breaker, error)
            raise
        # With unwritten policies, only a repair that has written all of them closes the breaker.
        if breaker is not self._writing or not self.unwritten:
            breaker.succeeded()
        return result

    def _record_failure(self, backend: Store | None, breaker: Breaker, error: StoreError) -> None:
        """Record a failed call; a damaged backend is not called again and is replaced."""
        now = self._clock()
        self.failures += 1
        breaker.failed(error, now + breaker.pause)
        if backend is not self._backend:
            return  # the backend has been replaced since the call
        if isinstance(error, DamagedStoreError):
            self._backend, self._damaged = None, backend or self._damaged
            self._open_at = max(now, self._replace_at)
            self._replace_at = self._open_at + self._timing.replace
            self._start_repair()

    def _start_repair(self) -> None:
        if self._repair_task is None or self._repair_task.done():
            self._repair_task = asyncio.create_task(self._run_repair(), name="store repair")

    async def _run_repair(self) -> None:
        """Open the backend if it is not open and write the buffer; retry until both succeed."""
        while self._backend is None or self.unwritten:
            at = self._writing.retry_at if self._backend else self._open_at
            await asyncio.sleep(max(0.0, at - self._clock()))
            backend = self._backend
            try:
                if backend is None:
                    backend = await self._reopen()
                await self._write_buffer_to(backend)
            except StoreError as error:
                self._record_failure(backend, self._writing, error)
            self._first_try_done.set()

    async def _reopen(self) -> Store:
        """Open the backend; buffer all states in memory, because its file may be a new one."""
        self._open_at = self._clock() + self._timing.retry
        if self._damaged:
            await self._damaged.close()
            self._damaged = None
        backend = await self._open_backend()
        self._buffer.add_missing(await self._in_memory())
        self._backend = backend
        self._reading.succeeded()
        self._listing.succeeded()
        return backend

    async def _write_buffer_to(self, backend: Store) -> None:
        written = await self._buffer.write_to(backend)
        self._writing.succeeded(written)
