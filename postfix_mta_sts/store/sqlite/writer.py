"""Writes that share transactions: those that wait when a commit begins go into it together.

A commit to disk takes milliseconds, however few rows it has. `SqliteStore` decides what is
written; this module queues the writes, bounded in bytes, and executes one batch after the other.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias, TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.store import StoreError

_T = TypeVar("_T")

Work: TypeAlias = Callable[[sqlite3.Connection], int]
"""Executes statements, in a thread; returns how many rows it changed."""

BATCH_BYTES: Final = 4 * 2**20
"""Bytes in one transaction, so that none takes long."""
QUEUE_BYTES: Final = 64 * 2**20
"""Bytes that wait: a disk that hangs for an hour must not fill the memory."""
WRITE_BYTES: Final = 500
"""Bytes of a write beside its policy."""

_log = logging.getLogger(__name__)


class Write(NamedTuple):
    """Work that is done in one transaction, and its size in bytes."""

    work: Work
    size: int
    done: asyncio.Future[int]
    """Rows that the work changed; set after the commit."""


class BatchWriter:
    """Queue of writes, and the task that commits them while there are any.

    `commit` executes writes in one transaction and returns, for each, how many rows it changed. It
    raises `StoreError` if the transaction failed.
    """

    def __init__(self, commit: Callable[[Sequence[Write]], Awaitable[list[int]]]) -> None:
        self.task: asyncio.Task[None] | None = None
        """The running task; None if nothing is queued."""
        self._commit = commit
        self._queue: deque[Write] = deque()
        self._size = 0

    def submit(self, work: Work, size: int = 0) -> asyncio.Future[int]:
        """Queue work for the next transaction; the future is done after its commit.

        Cancelling the future cancels neither this work nor any other. Raises `StoreError` if too
        much waits.
        """
        size += WRITE_BYTES
        if self._size + size > QUEUE_BYTES:
            raise StoreError("too much waits to be written")
        done = asyncio.get_running_loop().create_future()
        self._queue.append(Write(work, size, done))
        self._size += size
        if self.task is None:
            self.task = asyncio.create_task(self._run(), name="store writer")
        return done

    async def _run(self) -> None:
        while self._queue:
            batch = self._next_batch()
            try:
                counts = await self._commit(batch)
            except StoreError as error:
                self._fail(batch, error)
            except Exception as error:  # noqa: BLE001 (the top of a task: all that wait get the error)
                event(_log, logging.ERROR, "write failed by an internal error", exc_info=error)
                self._fail(batch, StoreError(f"internal error: {error}"))
            else:
                _succeed(zip((write.done for write in batch), counts, strict=True))
        self.task = None

    def _next_batch(self) -> list[Write]:
        """Take what goes into the next transaction: one write at least."""
        batch: list[Write] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= BATCH_BYTES):
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._size -= size
        return batch

    def _fail(self, batch: Iterable[Write], error: StoreError) -> None:
        # Writes that were queued meanwhile would fail as well, after as long a wait.
        for write in [*batch, *self._queue]:
            if not write.done.done():
                write.done.set_exception(type(error)(str(error)))
        self._queue.clear()
        self._size = 0


def execute(batch: Sequence[Write], db: sqlite3.Connection) -> list[int]:
    """Execute a batch in one transaction; blocks. Raises `sqlite3.Error`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        counts = [write.work(db) for write in batch]
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
