"""States in a SQLite file: one connection reads, one writes, and many writes share one commit.

Border: the life of one opened file. Its SQL is in `statements`, what a row means in `rows`, how the
file is laid out in `schema`; what becomes of a failure is `failsafe`'s matter. Each connection has
a thread of its own (`connection`), so that no writer that waits for a lock delays a read, and none
that reads a million rows a look-up.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.dane import Verdict, to_text
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import (
    DamagedStoreError,
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    StoreError,
    held,
)
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.store.sqlite.connection import SqliteConnection
from postfix_mta_sts.store.sqlite.rows import Raw, domain_of, readable, seen_of, state_of
from postfix_mta_sts.store.sqlite.schema import (
    SCHEMA,
    as_store_errors,
    identity,
    prepare,
    set_aside,
)
from postfix_mta_sts.values import to_json

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

BUSY: Final = 1.0
"""Seconds that a write waits for another process's lock."""
_REMOVED_AT_ONCE: Final = 5000
"""Rows that one call removes at most, so that no save waits long behind it."""


class _Job(NamedTuple):
    statements: Sequence[tuple[str, Sequence[tuple[object, ...]]]]
    """Each with the rows for which it is carried out."""
    done: asyncio.Future[int]
    """How many rows the last of them changed, once that is committed."""


class SqliteStore:
    """A `Store` in a file; made by `open`. Raises `StoreError`, as `Store` says.

    After a `DamagedStoreError` there is only `close`, which sets the file aside.
    """

    def __init__(
        self,
        path: Path,
        opened: tuple[int, int] | None,
        busy: float,
        clock: Callable[[], float],
    ) -> None:
        self.commits = 0
        """Transactions written since the store was opened."""
        self._path = path
        self._opened = opened
        self._busy = busy
        self._clock = clock
        self._connections: list[SqliteConnection] = []
        self._reading: SqliteConnection
        self._writing: SqliteConnection
        self._surveying: asyncio.Task[SqliteConnection] | None = None
        self._damage: str | None = None
        self._closed = False
        self._waiting: list[_Job] = []
        self._writer: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        schema: Sequence[Sequence[str]] = SCHEMA,
        busy: float = BUSY,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """The store at `path`, made if there is none; a file that cannot be one is set aside.

        `busy`: seconds that a write waits for a lock. `clock` names what is set aside. Raises
        `StoreError`.
        """
        with as_store_errors(path):
            path = await asyncio.to_thread(path.resolve)  # as SQLite does, to name its own files
            opened = await asyncio.to_thread(prepare, path, schema, busy, clock)
            store = cls(path, opened, busy, clock)
            try:
                store._reading = await store._connect("query_only = ON")
                store._writing = await store._connect("synchronous = FULL")
            except BaseException:
                await store._disconnect()
                raise
            return store

    async def _connect(self, pragma: str) -> SqliteConnection:
        connection = await SqliteConnection.open(self._path, self._busy, [pragma])
        self._connections.append(connection)
        return connection

    async def _disconnect(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`. A row that stands for no valid policy is removed, as though not there."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`; the same of many."""
        self._must_be_open()
        with self._noting_damage():
            rows = await self._reading.run(partial(_load, to_json(domains)))
        states: dict[Domain, State] = {}
        for domain, row in rows.items():
            try:
                states[domain] = state_of(row)
            except MtaStsError as error:
                self._remove_unreadable(domain, row, error)
        return states

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        policy, policy_id = held(state)
        fetched_at, expires_at = state.fetched_at, state.fetched_at + policy.max_age
        times = (fetched_at, state.refetch_at, expires_at, asked_at)
        dane = to_text(state.dane) if state.dane else None
        mx = " ".join(policy.mx)
        await self._write(
            (statements.REMEMBER, [(domain, policy_id, policy.mode, mx, fetched_at)]),
            (statements.FORGET_OLDEST, [(domain,)]),
            (statements.SAVE, [(domain, policy_id, policy.text, *times, dane, state.checked_at)]),
        )

    async def note_verdict(self, domain: Domain, verdict: Verdict) -> None:
        """See `Store`."""
        await self._write((statements.NOTE_VERDICT, [(to_text(verdict), domain)]))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`."""
        # json.dumps would hold up the event loop for 6 ms where 5,000 domains were asked for.
        await self._write((statements.TOUCH, [(to_json(asked),)]))

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        rows = await self._read(statements.DUE, now, asked_since, now, limit)
        return [domain_of(row[0]) for row in rows]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        rows = await self._read(statements.ROW, domain)
        return next(readable(rows), None)

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`."""
        rows = await self._read(statements.HISTORY, domain)
        return [seen_of(row) for row in rows]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; a row that stands for no valid policy is passed over."""
        last: str = after or ""
        while raw := list(
            await self._read(
                statements.PAGE, last, query.now, query.mode, query.expiring_before, limit
            )
        ):
            if rows := list(readable(raw)):
                return rows
            last = domain_of(raw[-1][0])
        return []

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        [counters] = await self._read(statements.BY_MODE, now)
        oldest = await self._read(statements.OLDEST, asked_since, now)
        by_mode = dict(zip(Mode, counters, strict=True))
        return Overview(by_mode, next((row[0] for row in oldest), None))

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        removed = self._write((statements.FORGET, [(domain,)]))
        history = self._write((statements.FORGET_HISTORY, [(domain,)]))
        return await removed + await history > 0

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        some = (before, _REMOVED_AT_ONCE)
        return await self._write(
            (statements.REMOVE_EXPIRED_HISTORY, [some]), (statements.REMOVE_EXPIRED, [some])
        )

    async def close(self) -> None:
        """See `Store`; if the file was found damaged, it is set aside now."""
        self._closed = True
        if under_way := [task for task in (self._writer, self._surveying) if task]:
            await asyncio.wait(under_way)
        await self._disconnect()
        if self._damage:
            now = self._clock()
            await asyncio.to_thread(set_aside, self._path, self._opened, self._damage, now)

    async def _read(self, sql: str, *parameters: object) -> list[Any]:
        """The rows of a query that may take its time: those who look up do not wait behind it."""
        self._must_be_open()
        with self._noting_damage():
            if self._surveying is None or (self._surveying.done() and self._surveying.exception()):
                connecting = self._connect("query_only = ON")
                self._surveying = asyncio.create_task(connecting, name="store survey")
            connection = await asyncio.shield(self._surveying)
            return await connection.run(lambda db: db.execute(sql, parameters).fetchall())

    def _write(self, *statements: tuple[str, Sequence[tuple[object, ...]]]) -> asyncio.Future[int]:
        """Put a write into the next transaction; its future is done after the commit."""
        self._must_be_open()
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(statements, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_waiting(), name="store writer")
        return done

    async def _write_waiting(self) -> None:
        while self._waiting:
            jobs, self._waiting = self._waiting, []
            try:
                counters = await self._commit(jobs)
            except StoreError as error:
                # Those that came meanwhile would fail as well, and only after as long a wait.
                jobs, self._waiting = jobs + self._waiting, []
                _fail((job.done for job in jobs), error)
            else:
                _succeed(zip((job.done for job in jobs), counters, strict=True))
        self._writer = None

    async def _commit(self, jobs: Sequence[_Job]) -> list[int]:
        with self._noting_damage():
            counters = await self._writing.run(partial(self._transact, jobs))
            self.commits += 1
            return counters

    def _transact(self, jobs: Sequence[_Job], db: sqlite3.Connection) -> list[int]:
        """In the connection's thread."""
        # SQLite would go on writing to a file that no name leads to any more.
        if identity(self._path) != self._opened:
            raise DamagedStoreError(f"{self._path}: no longer the file that was opened")
        db.execute("BEGIN IMMEDIATE")
        try:
            counters = [[db.executemany(*s).rowcount for s in job.statements][-1] for job in jobs]
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the one that is on its way says more
                db.rollback()
            raise
        return counters

    def _remove_unreadable(self, domain: Domain, row: Raw, error: MtaStsError) -> None:
        reason = str(error)
        logs.event(_log, logging.WARNING, "stored policy is not readable", domain, reason=reason)
        # Not waited for; fetched_at, so that a policy that is saved meanwhile stays.
        removal = self._write((statements.REMOVE_UNREADABLE, [(domain, float(row[2]))]))
        removal.add_done_callback(asyncio.Future.exception)

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._path}: closed")

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            with as_store_errors(self._path):
                yield
        except DamagedStoreError as error:
            self._damage = str(error)
            raise


def _load(domains: str, db: sqlite3.Connection) -> dict[Domain, Raw]:
    """The rows of a JSON array of domains; in the connection's thread."""
    [(rows,)] = db.execute(statements.LOAD, (domains,)).fetchall()
    return {domain: row for domain, *row in json.loads(rows.decode("utf-8", "surrogateescape"))}


def _succeed(results: Iterable[tuple[asyncio.Future[_T], _T]]) -> None:
    for future, result in results:
        if not future.done():  # whoever waited may have given up
            future.set_result(result)


def _fail(futures: Iterable[asyncio.Future[_T]], error: StoreError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(str(error)))
