"""One opened SQLite file: its connections, its queue of writes, and what happens if it is damaged.

One connection serves look-ups, one lists, one writes, each in a thread of its own (`connection`):
a writer that waits for a lock delays no read, and a read of a million rows delays no look-up.
`SqliteStore` decides what these threads do.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store import DamagedStoreError, StoreError
from postfix_mta_sts.store.sqlite import size
from postfix_mta_sts.store.sqlite.connection import SqliteConnection
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.schema import (
    check_readable,
    file_identity,
    prepare,
    prepare_heir,
    read_only_uri,
    set_aside,
    translate_errors,
)
from postfix_mta_sts.store.sqlite.thread import call_in_thread
from postfix_mta_sts.store.sqlite.writer import BatchWriter, Work, Write, execute

_T = TypeVar("_T")

LOCK_TIMEOUT: Final = 1.0
"""Seconds that a write waits for the lock of another process."""
NO_LIMIT: Final = 2**62
"""Bytes: more than any disk has."""

_log = logging.getLogger(__name__)


class SqliteFile:
    """An open file; made by `open`. Its methods raise `StoreError`.

    After a `DamagedStoreError` only `close` may be called; it sets the file aside.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[Sequence[str]],
        lock_timeout: float,
        clock: Callable[[], float],
        size_limit: Callable[[], int],
    ) -> None:
        self.path = path
        self.commits = 0
        """Transactions written since the file was opened."""
        self.writer = BatchWriter(self._commit)
        self.reading: SqliteConnection
        self.writing: SqliteConnection
        self.unwritable = ""
        """Why the file is opened for reading only; then there is no `writing`."""
        self.has_records = True
        """Whether there are tables of `records`: not in an old file on a read-only file system."""
        self._schema = schema
        self._opened: tuple[int, int] | None = None
        self._source: Path | str = path
        self._lock_timeout = lock_timeout
        self._clock = clock
        self._size_limit = size_limit
        self._connections: list[SqliteConnection] = []
        self._is_open = asyncio.Event()
        self._connecting_lists: asyncio.Task[SqliteConnection] | None = None
        self._damage: str | None = None
        self._aside: Path | None = None
        self._closed = False
        self._removed = 0
        self._lines = RateLimit()

    @property
    def size_limit(self) -> int:
        """Bytes that the rows may take at present."""
        return self._size_limit()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        schema: Sequence[Sequence[str]] = SCHEMA,
        lock_timeout: float = LOCK_TIMEOUT,
        clock: Callable[[], float] = time.time,
        size_limit: Callable[[], int] = lambda: NO_LIMIT,
    ) -> Self:
        """Open or create the file at `path`; set aside one that is not a valid store.

        `lock_timeout`: seconds that a write waits for a lock. `clock` gives the wall-clock time,
        `size_limit` the bytes that the rows may take. Raises `StoreError`.

        A file on a read-only file system is opened for reading: policies in it count until they
        expire. Each write then tries whether the file can be written again.
        """
        with translate_errors(path):
            # SQLite, too, resolves links before it names the files that it keeps beside this one.
            path = await call_in_thread(path.resolve)
            file = cls(path, schema, lock_timeout, clock, size_limit)
            try:
                await file._open()
            except BaseException:
                await file._disconnect()
                raise
            return file

    async def _open(self) -> None:
        self._is_open.clear()
        try:
            await self._disconnect()
            self._connecting_lists = None
            await self._open_for_writing()
        except (StoreError, sqlite3.Error) as error:
            if not await self._open_for_reading():
                raise
            self.unwritable = str(error)
        finally:
            self._is_open.set()

    async def _open_again(self) -> None:
        """Open for writing what was opened for reading; reads wait, and those under way end.

        Without a connection that reads: if the log was there, all connections of this process share
        its index (-shm), which SQLite has opened for reading only.
        """
        if await call_in_thread(partial(read_only_uri, self.path)):
            raise StoreError(self.unwritable)
        try:
            await self._open()
        except (StoreError, sqlite3.Error):  # for example, another process holds the lock
            self._source = self.path
            self.reading = await self._connect("query_only = ON")
            raise
        if self.unwritable:
            raise StoreError(self.unwritable)

    async def _open_for_writing(self) -> None:
        """Open, migrate and connect; set the file aside if it is no valid store."""
        work = partial(prepare, self.path, self._schema, self._lock_timeout, self._clock)
        self._opened = await call_in_thread(work)
        self._source = self.path
        limit = f"journal_size_limit = {size.LOG_BYTES}"
        self.writing = await self._connect("synchronous = FULL", limit)
        self.reading = await self._connect("query_only = ON")
        self.unwritable = ""
        self.has_records = True

    async def _open_for_reading(self) -> bool:
        """Open a file on a read-only file system, if it is one that we can read."""
        if uri := await call_in_thread(partial(read_only_uri, self.path)):
            self._source = uri
            with suppress(StoreError, sqlite3.Error):  # why it cannot be written says more
                self.reading = await self._connect("query_only = ON")
                check = partial(check_readable, self.path, self._schema)
                self.has_records = await self.reading.run(check)
                return True
        return False

    async def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return the result of a short read."""
        self._check_open()
        await self._is_open.wait()
        with self._note_damage():
            return await self.reading.run(work, optional=True)

    async def read_slowly(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return the result of a read that may take long; no look-up waits behind it."""
        self._check_open()
        await self._is_open.wait()
        with self._note_damage():
            connection = await self._list_connection()
            return await connection.run(work, optional=True)

    def write(self, work: Work, bytes_held: int = 0) -> asyncio.Future[int]:
        """Queue a write for the next transaction; the future is done after the commit.

        `bytes_held`: what the write holds in memory until then.
        """
        self._check_open()
        return self.writer.submit(work, bytes_held)

    def write_behind(self, work: Work) -> None:
        """Queue a write for which nobody waits; if it fails, a later call repeats it."""
        with suppress(StoreError):
            self.write(work).add_done_callback(asyncio.Future.exception)

    def refuse_calls(self) -> None:
        """Accept no more calls; those that were accepted are carried out by `close`."""
        self._closed = True

    async def close(self) -> None:
        """Write what is queued, and close; set the file aside if it is damaged."""
        self.refuse_calls()
        if running := [task for task in (self.writer.task, self._connecting_lists) if task]:
            await asyncio.wait(running)
        await self._disconnect()
        if self._damage:
            await call_in_thread(partial(self._replace, self._damage))

    def _replace(self, damage: str) -> None:
        """Set the file aside; the one that is made in its place takes its rows over."""
        if aside := set_aside(self.path, self._opened, damage, self._clock()):
            self._aside = aside
        if self._aside:  # also if the heir could not be made the last time
            prepare_heir(self.path, self._aside, self._lock_timeout)

    async def _connect(self, *pragmas: str) -> SqliteConnection:
        connection = await SqliteConnection.open(self._source, self._lock_timeout, pragmas)
        self._connections.append(connection)
        return connection

    async def _disconnect(self) -> None:
        while self._connections:
            await self._connections.pop().close()

    async def _list_connection(self) -> SqliteConnection:
        """Return the connection for lists, opened on first use."""
        task = self._connecting_lists
        if task is None or (task.done() and task.exception()):
            connecting = self._connect("query_only = ON")
            task = asyncio.create_task(connecting, name="store list connection")
            self._connecting_lists = task
        return await asyncio.shield(task)

    async def _commit(self, batch: Sequence[Write]) -> list[int]:
        with self._note_damage():
            if self.unwritable:
                await self._open_again()
            counts, is_too_large = await self.writing.run(partial(self._execute, batch))
        self.commits += 1
        if is_too_large and not self._closed:
            with suppress(StoreError):
                step = partial(size.step, self._size_limit())
                self.write(step).add_done_callback(self._step_ended)
        return counts

    def _execute(self, batch: Sequence[Write], db: sqlite3.Connection) -> tuple[list[int], bool]:
        """Run in the thread of the connection."""
        # Without this check SQLite would keep writing to a file that has been renamed or removed.
        if file_identity(self.path) != self._opened:
            raise DamagedStoreError(f"{self.path}: replaced or removed since it was opened")
        return execute(batch, db), size.needs_step(db, self._size_limit())

    def _step_ended(self, step: asyncio.Future[int]) -> None:
        if step.exception():
            return
        self._removed += step.result()
        if self._removed and self._lines.take(time.monotonic()):
            count, self._removed = self._removed, 0
            limit = self._size_limit()
            event(
                _log,
                logging.WARNING,
                "store is full, oldest policies removed",
                count=count,
                limit=limit,
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path}: closed")

    @contextmanager
    def _note_damage(self) -> Iterator[None]:
        try:
            with translate_errors(self.path):
                yield
        except DamagedStoreError as error:
            if self.unwritable:  # it cannot be replaced
                raise StoreError(str(error)) from error
            self._damage = str(error)
            raise
