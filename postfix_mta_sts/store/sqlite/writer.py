"""Writes that share transactions: all that wait when a commit begins go into it together.

A commit to disk takes milliseconds, however few rows it has. `SqliteStore` decides what is
written; this module queues the writes and executes one batch after the other.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias, TypeVar

from postfix_mta_sts.store import StoreError

_T = TypeVar("_T")

Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]
"""SQL, and the parameter tuples for each of which it is executed."""


class Write(NamedTuple):
    """Statements that are executed in one transaction."""

    statements: Sequence[Statement]
    done: asyncio.Future[int]
    """Rows that the last statement changed; set after the commit."""


class BatchWriter:
    """Queue of writes, and the task that commits them while there are any.

    `commit` executes writes in one transaction and returns, for each, how many rows its last
    statement changed. It raises `StoreError` if the transaction failed.
    """

    def __init__(self, commit: Callable[[Sequence[Write]], Awaitable[list[int]]]) -> None:
        self.task: asyncio.Task[None] | None = None
        """The running task; None if nothing is queued."""
        self._commit = commit
        self._queue: list[Write] = []

    def submit(self, *statements: Statement) -> asyncio.Future[int]:
        """Queue statements for the next transaction; the future is done after its commit.

        Cancelling the future cancels neither these statements nor others.
        """
        done = asyncio.get_running_loop().create_future()
        self._queue.append(Write(statements, done))
        if self.task is None:
            self.task = asyncio.create_task(self._run(), name="store writer")
        return done

    async def _run(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                counts = await self._commit(batch)
            except StoreError as error:
                # Writes that were queued meanwhile would fail as well, after as long a wait.
                batch, self._queue = batch + self._queue, []
                _fail((write.done for write in batch), error)
            else:
                _succeed(zip((write.done for write in batch), counts, strict=True))
        self.task = None


def execute(batch: Sequence[Write], db: sqlite3.Connection) -> list[int]:
    """Execute a batch in one transaction; blocks. Raises `sqlite3.Error`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        counts = [[db.executemany(*s).rowcount for s in write.statements][-1] for write in batch]
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error says more
            db.rollback()
        raise
    return counts


def _succeed(results: Iterable[tuple[asyncio.Future[_T], _T]]) -> None:
    for future, result in results:
        if not future.done():  # its caller may have been cancelled
            future.set_result(result)


def _fail(futures: Iterable[asyncio.Future[_T]], error: StoreError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(str(error)))
