"""The `Store` in a SQLite file: the life of one opened file.

One connection serves look-ups, one lists, one writes, each in a thread of its own (`connection`):
a writer that waits for a lock delays no read, and a read of a million rows delays no look-up.
The SQL is in `statements`, the conversion of rows in `rows`, the layout of the file in `schema`,
the queue of writes in `writer`; `failsafe` handles failures.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.dane import to_text
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
    policy_and_id,
)
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.store.sqlite.connection import SqliteConnection
from postfix_mta_sts.store.sqlite.rows import (
    Columns,
    domain_of,
    failures_to_text,
    history_entry_of,
    state_of,
    valid_rows,
)
from postfix_mta_sts.store.sqlite.schema import (
    SCHEMA,
    file_identity,
    prepare,
    set_aside,
    translate_errors,
)
from postfix_mta_sts.store.sqlite.writer import BatchWriter, Statement, Write, execute
from postfix_mta_sts.values import to_json

_log = logging.getLogger(__name__)

LOCK_TIMEOUT: Final = 1.0
"""Seconds that a write waits for the lock of another process."""
_REMOVE_LIMIT: Final = 5000
"""Maximum number of rows that one call removes, so that no save waits long behind it."""


class SqliteStore:
    """A `Store` in a file; made by `open`. Its methods raise `StoreError`.

    After a `DamagedStoreError` only `close` may be called; it sets the file aside.
    """

    def __init__(
        self,
        path: Path,
        opened: tuple[int, int] | None,
        lock_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self.commits = 0
        """Transactions written since the store was opened."""
        self._path = path
        self._opened = opened
        self._lock_timeout = lock_timeout
        self._clock = clock
        self._connections: list[SqliteConnection] = []
        self._read_connection: SqliteConnection
        self._write_connection: SqliteConnection
        self._connecting_lists: asyncio.Task[SqliteConnection] | None = None
        self._damage: str | None = None
        self._closed = False
        self._writer = BatchWriter(self._commit)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        schema: Sequence[Sequence[str]] = SCHEMA,
        lock_timeout: float = LOCK_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open or create the store at `path`; set aside a file that is not a valid store.

        `lock_timeout`: seconds that a write waits for a lock. `clock` gives the time in the name
        of a file that is set aside. Raises `StoreError`.
        """
        with translate_errors(path):
            # SQLite, too, resolves links before it names the files that it keeps beside this one.
            path = await asyncio.to_thread(path.resolve)
            opened = await asyncio.to_thread(prepare, path, schema, lock_timeout, clock)
            store = cls(path, opened, lock_timeout, clock)
            try:
                store._read_connection = await store._connect("query_only = ON")
                store._write_connection = await store._connect("synchronous = FULL")
            except BaseException:
                await store._disconnect()
                raise
            return store

    async def _connect(self, pragma: str) -> SqliteConnection:
        connection = await SqliteConnection.open(self._path, self._lock_timeout, [pragma])
        self._connections.append(connection)
        return connection

    async def _disconnect(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`; a row without a valid policy is removed, and None returned."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`; rows without a valid policy are removed."""
        self._check_open()
        with self._note_damage():
            rows = await self._read_connection.run(partial(_load, to_json(domains)))
        states: dict[Domain, State] = {}
        for domain, row in rows.items():
            try:
                states[domain] = state_of(row)
            except MtaStsError as error:
                self._remove_unreadable(domain, row, error)
        return states

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        policy, policy_id = policy_and_id(state)
        fetched_at, expires_at = state.fetched_at, state.fetched_at + policy.max_age
        times = (fetched_at, state.refetch_at, expires_at, asked_at)
        rest = _dane_text(state), failures_to_text(state)
        mx = " ".join(policy.mx)
        await self._write(
            (statements.ADD_TO_HISTORY, [(domain, policy_id, policy.mode, mx, fetched_at)]),
            (statements.TRIM_HISTORY, [(domain,)]),
            (statements.SAVE, [(domain, policy_id, policy.text, *times, *rest, state.checked_at)]),
        )

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`."""
        if state.policy:
            noted = state.refetch_at, _dane_text(state), failures_to_text(state)
            await self._write((statements.NOTE, [(*noted, domain, state.fetched_at)]))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`."""
        # With 5,000 domains json.dumps would block the event loop for 6 ms.
        await self._write((statements.TOUCH, [(to_json(asked),)]))

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        rows = await self._read(statements.DUE, now, asked_since, now, limit)
        return [domain_of(row[0]) for row in rows]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        rows = await self._read(statements.ROW, domain)
        return next(valid_rows(rows), None)

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`."""
        rows = await self._read(statements.HISTORY, domain)
        return [history_entry_of(row) for row in rows]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; a row without a valid policy is skipped."""
        last: str = after or ""
        while raw := list(
            await self._read(
                statements.PAGE, last, query.now, query.mode, query.expiring_before, limit
            )
        ):
            if rows := list(valid_rows(raw)):
                return rows
            last = domain_of(raw[-1][0])
        return []

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        [counts] = await self._read(statements.BY_MODE, now)
        oldest = await self._read(statements.OLDEST, asked_since, now)
        by_mode = dict(zip(Mode, counts, strict=True))
        return Overview(by_mode, next((row[0] for row in oldest), None))

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        removed = self._write((statements.FORGET, [(domain,)]))
        history = self._write((statements.FORGET_HISTORY, [(domain,)]))
        return await removed + await history > 0

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        expired = (before, _REMOVE_LIMIT)
        return await self._write(
            (statements.REMOVE_EXPIRED_HISTORY, [expired]), (statements.REMOVE_EXPIRED, [expired])
        )

    async def close(self) -> None:
        """See `Store`; set the file aside if it is damaged."""
        self._closed = True
        if running := [task for task in (self._writer.task, self._connecting_lists) if task]:
            await asyncio.wait(running)
        await self._disconnect()
        if self._damage:
            now = self._clock()
            await asyncio.to_thread(set_aside, self._path, self._opened, self._damage, now)

    async def _read(self, sql: str, *parameters: object) -> list[Any]:
        """Return the rows of a query that may take long; no look-up waits behind it."""
        self._check_open()
        with self._note_damage():
            connection = await self._list_connection()
            return await connection.run(lambda db: db.execute(sql, parameters).fetchall())

    async def _list_connection(self) -> SqliteConnection:
        """Return the connection for lists, opened on first use."""
        task = self._connecting_lists
        if task is None or (task.done() and task.exception()):
            connecting = self._connect("query_only = ON")
            task = asyncio.create_task(connecting, name="store list connection")
            self._connecting_lists = task
        return await asyncio.shield(task)

    def _write(self, *statements: Statement) -> asyncio.Future[int]:
        """Queue a write for the next transaction; the future is done after the commit."""
        self._check_open()
        return self._writer.submit(*statements)

    async def _commit(self, batch: Sequence[Write]) -> list[int]:
        with self._note_damage():
            counts = await self._write_connection.run(partial(self._execute, batch))
            self.commits += 1
            return counts

    def _execute(self, batch: Sequence[Write], db: sqlite3.Connection) -> list[int]:
        """Run in the thread of the connection."""
        # Without this check SQLite would keep writing to a file that has been renamed or removed.
        if file_identity(self._path) != self._opened:
            raise DamagedStoreError(f"{self._path}: replaced or removed since it was opened")
        return execute(batch, db)

    def _remove_unreadable(self, domain: Domain, columns: Columns, error: MtaStsError) -> None:
        reason = str(error)
        logs.event(_log, logging.WARNING, "stored policy is not readable", domain, reason=reason)
        # Not awaited. It compares fetched_at, so that a policy that is saved meanwhile stays.
        removal = self._write((statements.REMOVE_UNREADABLE, [(domain, float(columns[2]))]))
        removal.add_done_callback(asyncio.Future.exception)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._path}: closed")

    @contextmanager
    def _note_damage(self) -> Iterator[None]:
        try:
            with translate_errors(self._path):
                yield
        except DamagedStoreError as error:
            self._damage = str(error)
            raise


def _dane_text(state: State) -> str | None:
    return to_text(state.dane) if state.dane else None


def _load(domains: str, db: sqlite3.Connection) -> dict[Domain, Columns]:
    """Load the rows of the domains in a JSON array; runs in the thread of the connection."""
    [(rows,)] = db.execute(statements.LOAD, (domains,)).fetchall()
    return {domain: row for domain, *row in json.loads(rows.decode("utf-8", "surrogateescape"))}
