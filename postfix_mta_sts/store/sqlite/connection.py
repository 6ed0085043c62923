"""One connection to a SQLite file, in a thread of its own, so that no disk blocks the event loop.

This is the only module that uses aiosqlite. The caller passes functions, which the thread calls
one after the other. One function makes one round trip to the thread: a round trip costs more than
most queries.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Final, Generic, Self, TypeVar, cast

import aiosqlite

_T = TypeVar("_T")

_CACHE_KIB: Final = 1024
"""Page cache of one connection; the kernel caches the other pages of the file."""
THREAD_END: Final = 0.1
"""Seconds for the thread to end if its connection could not be opened, or opening it was cancelled.
On a disk that hangs it goes on."""
WAITING_LIMIT: Final = 12_000
"""Calls that wait for the thread: one for each attempt, and some more. On a disk that hangs, more
would only fill the memory."""


class SqliteConnection:
    """A connection; made by `open`. Text is returned as bytes, because it may not be UTF-8."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._waiting: set[object] = set()

    @classmethod
    async def open(cls, path: Path | str, lock_timeout: float, pragmas: Sequence[str] = ()) -> Self:
        """Connect; queries wait `lock_timeout` seconds for a lock. Raises `sqlite3.Error`.

        `path` may be a URI.
        """
        opening = aiosqlite.connect(
            path, timeout=lock_timeout, isolation_level=None, uri=isinstance(path, str)
        )
        thread = _end_with_process(opening)
        try:
            connection = await opening
        except BaseException:
            await _wait_for_end(thread)
            raise
        try:
            connection.text_factory = bytes
            for pragma in (f"cache_size = -{_CACHE_KIB}", *pragmas):
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def run(self, work: Callable[[sqlite3.Connection], _T], *, optional: bool = False) -> _T:
        """Call `work` in the thread; return its result or raise its error.

        A cancelled call is executed all the same, unless it is `optional` and has not started.
        Raises `ValueError` after `close`, and `sqlite3.OperationalError` if too many calls wait.
        """
        if len(self._waiting) >= WAITING_LIMIT:
            raise sqlite3.OperationalError("too many calls wait for the disk")
        call = _Call(work, self._waiting)
        # aiosqlite's own methods are built on this one, each for one call of sqlite3: a
        # transaction of ten calls would make ten round trips to the thread.
        execute: Callable[..., Awaitable[_T]] = self._connection._execute  # noqa: SLF001 (it has no public name)
        try:
            return await execute(call, self._connection._conn)  # noqa: SLF001 (the same)
        except asyncio.CancelledError:
            if optional:
                call.work = None
            raise

    async def close(self) -> None:
        """Close after the calls before it are done; call nothing afterwards.

        If it is cancelled, the thread closes when the disk lets it.
        """
        closing = asyncio.create_task(self._connection.close(), name="store close")
        try:
            await asyncio.wait([closing])
        finally:
            # aiosqlite waits for the thread once more after it was cancelled.
            while not closing.done():
                closing.cancel()
                await asyncio.sleep(0)
        await closing


def _end_with_process(connection: aiosqlite.Connection) -> Thread:
    """Make the thread, before it starts, one that the end of the process does not wait for.

    On a disk that hangs a call never returns, and SIGTERM would never end the daemon. Before 0.22
    the connection itself is the thread.
    """
    thread: Any = getattr(connection, "_thread", connection)
    thread.daemon = True
    return cast("Thread", thread)


async def _wait_for_end(thread: Thread) -> None:
    """Wait while the thread reports its end: it would fail if the event loop were closed then."""
    end = asyncio.get_running_loop().time() + THREAD_END
    while thread.is_alive() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 (no event)
        await asyncio.sleep(0.001)


class _Call(Generic[_T]):
    """A call that waits for the thread."""

    __slots__ = ("_waiting", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], _T], waiting: set[object]) -> None:
        self.work: Callable[[sqlite3.Connection], _T] | None = work
        """None: nobody waits for the result any more."""
        self._waiting = waiting
        waiting.add(self)

    def __call__(self, db: sqlite3.Connection) -> _T | None:
        """Run in the thread."""
        self._waiting.discard(self)
        return self.work(db) if self.work else None
