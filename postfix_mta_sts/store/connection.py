"""One connection to a SQLite file, in a thread of its own, so that no disk blocks the event loop.

Border: what is asked, the caller knows: it hands in functions that are called there, one after
the other. One function, one way there and back: a way costs more than most queries do.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Self, TypeVar

_T = TypeVar("_T")

_PAGES_KIB: Final = 1024
"""Of the file's pages, so much is kept by a connection; the others the kernel keeps."""


class Connection:
    """A connection; made by `open`. Text comes as bytes, for it may not be UTF-8."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: SimpleQueue[tuple[Callable[..., Any], asyncio.Future[Any]] | None]
        self._asked = SimpleQueue()
        self._thread: threading.Thread
        self._over = asyncio.Event()

    @classmethod
    async def open(cls, path: Path, busy: float, pragmas: Sequence[str] = ()) -> Self:
        """A connection that waits `busy` seconds for a lock. Raises `sqlite3.Error`."""
        self = cls()
        begun: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._live,
            args=(path, busy, [f"cache_size = -{_PAGES_KIB}", *pragmas], begun),
            name="store",
            daemon=True,  # a disk that hangs does not hold up the end
        )
        self._thread.start()
        await begun
        return self

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` gives, or raises, in the thread. Cancelled, it is done all the same."""
        done: asyncio.Future[_T] = self._loop.create_future()
        self._asked.put((work, done))
        return await done

    async def close(self) -> None:
        """Close, after what was asked is done; nothing else may be called after."""
        self._asked.put(None)
        await self._over.wait()

    def _live(
        self, path: Path, busy: float, pragmas: Sequence[str], begun: asyncio.Future[None]
    ) -> None:
        try:
            with closing(sqlite3.connect(path, timeout=busy, isolation_level=None)) as db:
                db.text_factory = bytes
                for pragma in pragmas:
                    db.execute(f"PRAGMA {pragma}")
                self._tell(_succeed, begun, None)
                while asked := self._asked.get():
                    self._answer(db, *asked)
        except Exception as error:  # noqa: BLE001 (the top of a thread: who waits is told)
            self._tell(_fail, begun, error)
        self._tell(self._over.set)

    def _answer(
        self,
        db: sqlite3.Connection,
        work: Callable[[sqlite3.Connection], _T],
        done: asyncio.Future[_T],
    ) -> None:
        try:
            result = work(db)
        except Exception as error:  # noqa: BLE001 (it is raised where it was asked)
            self._tell(_fail, done, error)
        else:
            self._tell(_succeed, done, result)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits there
            self._loop.call_soon_threadsafe(function, *arguments)


def _succeed(done: asyncio.Future[_T], result: _T) -> None:
    if not done.done():  # whoever waited may have given up
        done.set_result(result)


def _fail(done: asyncio.Future[_T], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
