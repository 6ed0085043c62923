"""One connection to a SQLite file, in a thread of its own, so that no disk blocks the event loop.

Border: the one place that knows aiosqlite. What is asked, the caller knows: it hands in functions
that are called there, one after the other. One function, one way there and back: a way costs more
than most queries do.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import aiosqlite

_T = TypeVar("_T")

_PAGES_KIB: Final = 1024
"""Of the file's pages, so much is kept by a connection; the others the kernel keeps."""


class SqliteConnection:
    """A connection; made by `open`. Text comes as bytes, for it may not be UTF-8."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path, busy: float, pragmas: Sequence[str] = ()) -> Self:
        """A connection that waits `busy` seconds for a lock. Raises `sqlite3.Error`."""
        made = await aiosqlite.connect(path, timeout=busy, isolation_level=None)
        try:
            made.text_factory = bytes
            for pragma in (f"cache_size = -{_PAGES_KIB}", *pragmas):
                await made.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            await made.close()
            raise
        return cls(made)

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` gives, or raises, in the thread. Cancelled, it is done all the same.

        Raises `ValueError` after `close`.
        """
        # aiosqlite's own methods go this way, each for one call of sqlite3: a transaction of ten
        # calls would cross to the thread ten times.
        crossing: Callable[..., Awaitable[_T]] = self._connection._execute  # noqa: SLF001 (it has no public name)
        return await crossing(work, self._connection._conn)  # noqa: SLF001 (the same)

    async def close(self) -> None:
        """Close, after what was asked is done; nothing else may be called after."""
        await self._connection.close()
