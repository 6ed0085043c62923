"""A backend that may fail: opened until it opens, called within a timeout, replaced if damaged.

This module assumes only that the methods of a backend raise `StoreError`. The task `store repair`
runs while there is something to repair: it opens the backend, and writes what is in the write
buffer.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import Backend, DamagedStoreError, StoreError
from postfix_mta_sts.store.health import DEFAULT_TIMING, Health, Timing, timeout_error
from postfix_mta_sts.store.records import RefusedError
from postfix_mta_sts.store.write_buffer import BUFFER_LIMIT, WriteBuffer

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


async def _no_states() -> Iterable[tuple[Domain, State]]:
    return ()


class GuardedBackend:
    """The backend of a `FailsafeStore`, and what is not written to it yet.

    `backend` opens a backend, or raises `StoreError`. `in_memory` returns the states that the
    caller holds; they are written to a backend that was replaced or that opened late.
    """

    def __init__(
        self,
        backend: Callable[[], Awaitable[Backend]],
        *,
        in_memory: Callable[[], Awaitable[Iterable[tuple[Domain, State]]]] = _no_states,
        timing: Timing = DEFAULT_TIMING,
        buffer_limit: int = BUFFER_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        """Calls of the backend that failed."""
        self._open_backend = backend
        self._in_memory = in_memory
        self._timing = timing
        # Never paused: "no policy" must not be said of a domain whose row could have been read.
        self._reading = Health("reading", timing.read, 0.0)
        # A slow list of all rows must not stop the reading of single policies.
        self._listing = Health("listing", timing.list, timing.retry)
        self._writing = Health("writing", timing.write, timing.retry)
        self._clock = clock
        self._backend: Backend | None = None
        self._damaged: Backend | None = None
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

    @property
    def reading_problem(self) -> str:
        """Why it is not readable, for a person; empty if it is."""
        if self._backend is None:
            return self._writing.problem or "it is not open yet"
        return self._reading.problem or self._listing.problem

    @property
    def writing_problem(self) -> str:
        """Why it is not writable, for a person; empty if it is."""
        return self.reading_problem if self._backend is None else self._writing.problem

    async def open(self) -> None:
        """Open the backend; if it cannot be opened in time, return and keep trying."""
        self._start_repair()
        try:
            async with asyncio.timeout(self._writing.timeout):
                await self._first_try_done.wait()
        except TimeoutError:
            error = timeout_error("opening", self._writing.timeout)
            self._record_failure(None, self._writing, error)

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
            event(_log, logging.WARNING, "policies not written", count=self.unwritten)

    async def _flush(self) -> None:
        if self._backend:
            await self._write_buffer_to(self._backend)

    async def _close_backend(self) -> None:
        if backend := self._backend or self._damaged:
            await backend.close()

    async def _wait_for_opening(self) -> None:
        """Wait until the backend was opened for the first time, no longer than for a read.

        A disk that is slow at the start is no reason to say "no policy" of a domain that has a row.
        """
        if self._backend is None and not self._first_try_done.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.read):
                    await self._first_try_done.wait()

    async def _call(self, health: Health, operation: Callable[[Backend], Awaitable[_T]]) -> _T:
        """Call the backend; raise `StoreError` if it fails, at once while it is known to fail."""
        if self._backend is None or not health.allows(self._clock()):
            raise StoreError("not called: the store is failing")
        return await self._try(health, operation)

    async def _try(self, health: Health, operation: Callable[[Backend], Awaitable[_T]]) -> _T:
        """Call the backend, also while it is known to fail: a person waits, and wants the reason.

        Raises `StoreError`.
        """
        backend = self._backend
        if backend is None:
            raise StoreError(self.reading_problem)
        # While this call tests a failing backend, all others fail at once.
        health.retry_at = self._clock() + health.pause
        try:
            async with asyncio.timeout(health.timeout):
                result = await operation(backend)
        except TimeoutError as error:
            slow = timeout_error(health.operation, health.timeout)
            self._record_failure(backend, health, slow)
            raise slow from error
        except RefusedError:
            raise
        except StoreError as error:
            self._record_failure(backend, health, error)
            raise
        except Exception as error:  # a fault of ours in the backend stops no answer either
            event(_log, logging.ERROR, "store failed by an internal error", exc_info=error)
            fault = StoreError(f"internal error: {error}")
            self._record_failure(backend, health, fault)
            raise fault from error
        # With unwritten policies, only a repair that has written all of them makes it well.
        if health is not self._writing or not self.unwritten:
            health.succeeded()
        return result

    def _record_failure(self, backend: Backend | None, health: Health, error: StoreError) -> None:
        """Record a failed call; a damaged backend is not called again and is replaced."""
        now = self._clock()
        self.failures += 1
        health.failed(error, now + health.pause)
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

    async def _reopen(self) -> Backend:
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

    async def _write_buffer_to(self, backend: Backend) -> None:
        if backend.unwritable and not self.unwritten:  # a write would try again
            raise StoreError(backend.unwritable)
        written = await self._buffer.write_to(backend)
        self._writing.succeeded(written)
