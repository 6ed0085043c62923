"""One connection to a SQLite file, in a thread of its own, so that no disk blocks the event loop.

This is the only module that uses aiosqlite. The caller passes functions, which the thread calls
one after the other. One function makes one round trip to the thread: a round trip costs more than
most queries.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import aiosqlite

_T = TypeVar("_T")

_CACHE_KIB: Final = 1024
"""Page cache of one connection; the kernel caches the other pages of the file."""


class SqliteConnection:
    """A connection; made by `open`. Text is returned as bytes, because it may not be UTF-8."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path, lock_timeout: float, pragmas: Sequence[str] = ()) -> Self:
        """Connect; queries wait `lock_timeout` seconds for a lock. Raises `sqlite3.Error`."""
        connection = await aiosqlite.connect(path, timeout=lock_timeout, isolation_level=None)
        try:
            connection.text_factory = bytes
            for pragma in (f"cache_size = -{_CACHE_KIB}", *pragmas):
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call `work` in the thread; return its result or raise its error.

        A cancelled call is executed all the same. Raises `ValueError` after `close`.
        """
        # aiosqlite's own methods are built on this one, each for one call of sqlite3: a
        # transaction of ten calls would make ten round trips to the thread.
        execute: Callable[..., Awaitable[_T]] = self._connection._execute  # noqa: SLF001 (it has no public name)
        return await execute(work, self._connection._conn)  # noqa: SLF001 (the same)

    async def close(self) -> None:
        """Close after the calls before it are done; call nothing afterwards."""
        await self._connection.close()
