"""States in a SQLite file: one connection reads, one writes, and many writes share one commit.

Border: SQL and the life of one opened file. How the file is laid out is `schema`'s matter; what
becomes of a failure is `failsafe`'s. Each connection has a thread of its own (`connection`), so
that no writer that waits for a lock delays a read, and none that reads a million rows a look-up.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.dane import Verdict, from_text, to_text
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records
from postfix_mta_sts.store import (
    HISTORY_MOST,
    Asked,
    DamagedStoreError,
    Overview,
    Query,
    Row,
    Seen,
    StoreError,
    held,
)
from postfix_mta_sts.store.connection import Connection
from postfix_mta_sts.store.schema import SCHEMA, as_store_errors, identity, prepare, set_aside

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

BUSY: Final = 1.0
"""Seconds that a write waits for another process's lock."""
_LOADED_AT_ONCE: Final = 16
"""Rows that one read asks for at most, so that the first does not wait long for the last, and who
comes meanwhile is not behind all of them."""
_REMOVED_AT_ONCE: Final = 5000
"""Rows that one call removes at most, so that no save waits long behind it."""

# One row for all: after each row SQLite's thread waits for the interpreter's lock once more.
# quote() writes a number so that it reads back as it was.
_LOAD = """
    SELECT json_group_array(json_array(
        domain, CAST(policy_id AS TEXT), CAST(policy AS TEXT), quote(fetched_at), quote(refetch_at),
        CAST(dane AS TEXT)
    )) FROM policies WHERE domain IN (SELECT value FROM json_each(?))
"""
_SAVE = """
    INSERT INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at, dane)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (domain) DO UPDATE SET
        policy_id = excluded.policy_id,
        policy = excluded.policy,
        fetched_at = excluded.fetched_at,
        refetch_at = excluded.refetch_at,
        expires_at = excluded.expires_at,
        asked_at = max(policies.asked_at, excluded.asked_at),
        dane = excluded.dane
        WHERE excluded.fetched_at >= policies.fetched_at OR policies.fetched_at > ?
"""
_REMEMBER = """
    INSERT INTO history (domain, policy_id, mode, mx, seen_from, seen_to)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    ON CONFLICT DO UPDATE SET
        seen_from = min(seen_from, excluded.seen_from),
        seen_to = max(seen_to, excluded.seen_to)
"""
_FORGET_OLDEST = f"""
    DELETE FROM history WHERE domain = ?1 AND (seen_to, policy_id, mode, mx) <= (
        SELECT seen_to, policy_id, mode, mx FROM history WHERE domain = ?1
        ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1 OFFSET {HISTORY_MOST}
    )
"""  # noqa: S608 (a number of ours)
_NOTE_VERDICT = "UPDATE policies SET dane = ? WHERE domain = ?"
_TOUCH = """
    UPDATE policies SET asked_at = max(asked_at, ?), asked_count = asked_count + ?
    WHERE domain = ?
"""
_DUE = """
    SELECT domain FROM policies
    WHERE refetch_at <= ? AND asked_at >= ? AND expires_at > ?
    ORDER BY refetch_at LIMIT ?
"""
_ROWS = """
    SELECT domain, asked_at, asked_count,
        CAST(policy_id AS TEXT), CAST(policy AS TEXT), quote(fetched_at), quote(refetch_at),
        CAST(dane AS TEXT)
    FROM policies
"""
_ROW = f"{_ROWS} WHERE domain = ?"
_PAGE = f"""
    {_ROWS} INDEXED BY policies_listed
    WHERE domain > ?1 AND expires_at > ?2 AND (?3 IS NULL OR mode = ?3)
        AND (?4 IS NULL OR expires_at < ?4)
    ORDER BY domain LIMIT ?5
"""
_HISTORY = """
    SELECT policy_id, mode, mx, seen_from, seen_to FROM history
    WHERE domain = ? ORDER BY seen_to DESC
"""
# Grouping would sort them first.
_EACH_MODE = ", ".join(f"count(*) FILTER (WHERE mode = '{mode}')" for mode in Mode)
_BY_MODE = f"""
    SELECT {_EACH_MODE} FROM policies INDEXED BY policies_listed WHERE expires_at > ?
"""  # noqa: S608 (the names of ours)
_OLDEST = """
    SELECT fetched_at FROM policies INDEXED BY policies_due
    WHERE asked_at >= ? AND expires_at > ? ORDER BY refetch_at LIMIT 1
"""
_FORGET_HISTORY = "DELETE FROM history WHERE domain = ?"
_FORGET = "DELETE FROM policies WHERE domain = ?"
_REMOVE_EXPIRED_HISTORY = """
    DELETE FROM history WHERE domain IN (
        SELECT domain FROM policies WHERE expires_at < ? LIMIT ?
    )
"""
_REMOVE_EXPIRED = """
    DELETE FROM policies WHERE rowid IN (
        SELECT rowid FROM policies WHERE expires_at < ? LIMIT ?
    )
"""
_REMOVE_UNREADABLE = "DELETE FROM policies WHERE domain = ? AND fetched_at = ?"


_Raw: TypeAlias = list[Any]
"""A row as it is read: policy id, policy, fetched_at, refetch_at, all of them as text, and DANE's
verdict as text or None."""


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
        self.reads = 0
        """Times that rows were read for look-ups, one or many at once."""
        self._path = path
        self._opened = opened
        self._busy = busy
        self._clock = clock
        self._connections: list[Connection] = []
        self._reading: Connection
        self._writing: Connection
        self._surveying: asyncio.Task[Connection] | None = None
        self._damage: str | None = None
        self._closed = False
        self._waiting: list[_Job] = []
        self._writer: asyncio.Task[None] | None = None
        self._wanted: dict[Domain, list[asyncio.Future[_Raw | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

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

    async def _connect(self, pragma: str) -> Connection:
        connection = await Connection.open(self._path, self._busy, [pragma])
        self._connections.append(connection)
        return connection

    async def _disconnect(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`. A row that stands for no valid policy is removed, as though not there."""
        self._must_be_open()
        row: asyncio.Future[_Raw | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(domain, []).append(row)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_wanted(), name="store reader")
        found = await row
        if found is None:
            return None
        try:
            return _state(found)
        except MtaStsError as error:
            self._remove_unreadable(domain, found, error)
            return None

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        policy, policy_id = held(state)
        fetched_at, expires_at = state.fetched_at, state.fetched_at + policy.max_age
        times = (fetched_at, state.refetch_at, expires_at, asked_at)
        dane = to_text(state.dane) if state.dane else None
        mx = " ".join(str(pattern) for pattern in policy.mx)
        await self._write(
            (_REMEMBER, [(domain, policy_id, policy.mode, mx, fetched_at)]),
            (_FORGET_OLDEST, [(domain,)]),
            (_SAVE, [(domain, policy_id, policy.text, *times, dane, state.checked_at)]),
        )

    async def note_verdict(self, domain: Domain, verdict: Verdict) -> None:
        """See `Store`."""
        await self._write((_NOTE_VERDICT, [(to_text(verdict), domain)]))

    async def touch(self, asked: Mapping[Domain, Asked]) -> None:
        """See `Store`."""
        await self._write((_TOUCH, [(at, times, domain) for domain, (at, times) in asked.items()]))

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        rows = await self._read(_DUE, now, asked_since, now, limit)
        return [_domain(row[0]) for row in rows]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        rows = await self._read(_ROW, domain)
        return next(_readable(rows), None)

    async def history(self, domain: Domain) -> Sequence[Seen]:
        """See `Store`."""
        rows = await self._read(_HISTORY, domain)
        return [_seen(row) for row in rows]

    async def page(self, query: Query, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; a row that stands for no valid policy is passed over."""
        last: str = after or ""
        while raw := list(
            await self._read(_PAGE, last, query.now, query.mode, query.expiring_before, limit)
        ):
            if rows := list(_readable(raw)):
                return rows
            last = _domain(raw[-1][0])
        return []

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        [counts] = await self._read(_BY_MODE, now)
        oldest = await self._read(_OLDEST, asked_since, now)
        by_mode = dict(zip(Mode, counts, strict=True))
        return Overview(by_mode, next((row[0] for row in oldest), None))

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        removed = self._write((_FORGET, [(domain,)]))
        history = self._write((_FORGET_HISTORY, [(domain,)]))
        return await removed + await history > 0

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        some = (before, _REMOVED_AT_ONCE)
        return await self._write((_REMOVE_EXPIRED_HISTORY, [some]), (_REMOVE_EXPIRED, [some]))

    async def close(self) -> None:
        """See `Store`; if the file was found damaged, it is set aside now."""
        self._closed = True
        if under_way := [task for task in (self._writer, self._reader, self._surveying) if task]:
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

    async def _read_wanted(self) -> None:
        """Read for all who ask at the same time at once: what costs is the way to the thread."""
        while self._wanted:
            self.reads += 1
            wanted = {d: self._wanted.pop(d) for d in list(self._wanted)[:_LOADED_AT_ONCE]}
            try:
                with self._noting_damage():
                    found = await self._reading.run(partial(_load, json.dumps(list(wanted))))
            except StoreError as error:
                _fail(chain.from_iterable(wanted.values()), error)
            else:
                for domain, asking in wanted.items():
                    _succeed((future, found.get(domain)) for future in asking)
        self._reader = None

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
                counts = await self._commit(jobs)
            except StoreError as error:
                # Those that came meanwhile would fail as well, and only after as long a wait.
                jobs, self._waiting = jobs + self._waiting, []
                _fail((job.done for job in jobs), error)
            else:
                _succeed(zip((job.done for job in jobs), counts, strict=True))
        self._writer = None

    async def _commit(self, jobs: Sequence[_Job]) -> list[int]:
        with self._noting_damage():
            counts = await self._writing.run(partial(self._transact, jobs))
            self.commits += 1
            return counts

    def _transact(self, jobs: Sequence[_Job], db: sqlite3.Connection) -> list[int]:
        """In the connection's thread."""
        # SQLite would go on writing to a file that no name leads to any more.
        if identity(self._path) != self._opened:
            raise DamagedStoreError(f"{self._path}: no longer the file that was opened")
        db.execute("BEGIN IMMEDIATE")
        try:
            counts = [[db.executemany(*s).rowcount for s in job.statements][-1] for job in jobs]
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the one that is on its way says more
                db.rollback()
            raise
        return counts

    def _remove_unreadable(self, domain: Domain, row: _Raw, error: MtaStsError) -> None:
        reason = str(error)
        logs.event(_log, logging.WARNING, "stored policy is not readable", domain, reason=reason)
        # Not waited for; fetched_at, so that a policy that is saved meanwhile stays.
        removal = self._write((_REMOVE_UNREADABLE, [(domain, float(row[2]))]))
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


def _load(domains: str, db: sqlite3.Connection) -> dict[str, _Raw]:
    """The rows of a JSON array of domains; in the connection's thread."""
    [(rows,)] = db.execute(_LOAD, (domains,)).fetchall()
    return {domain: row for domain, *row in json.loads(rows.decode("utf-8", "surrogateescape"))}


def _state(row: _Raw) -> State:
    """The state that a row stands for; raises `MtaStsError` if it stands for none."""
    policy_id, policy, *times, dane = row
    id_ = parse_records([b"v=STSv1;id=" + policy_id.encode("utf-8", "surrogateescape")])
    try:
        fetched_at, refetch_at = map(float, times)
    except ValueError as error:
        raise InvalidPolicyError(0, "a column of another type") from error
    text = policy.encode("utf-8", "surrogateescape")
    verdict = from_text(dane) if dane else None  # what is not readable is asked for anew
    return restored(parse_policy(text), id_, fetched_at, refetch_at, verdict)


def _domain(raw: bytes) -> Domain:
    # Only a `Domain` was ever written; what has become of it on a bad disk is in no table.
    return Domain(raw.decode("ascii", "backslashreplace"))


def _readable(rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
    for domain, asked_at, asked_count, *raw in rows:
        with suppress(MtaStsError):  # `load` removes it
            state = _state([text and text.decode("utf-8", "surrogateescape") for text in raw])
            yield Row(_domain(domain), state, asked_at, asked_count)


def _seen(row: Sequence[Any]) -> Seen:
    policy_id, mode, mx = (text.decode("ascii", "backslashreplace") for text in row[:3])
    return Seen(PolicyId(policy_id), Mode(mode), tuple(mx.split()), *row[3:])


def _succeed(results: Iterable[tuple[asyncio.Future[_T], _T]]) -> None:
    for future, result in results:
        if not future.done():  # whoever waited may have given up
            future.set_result(result)


def _fail(futures: Iterable[asyncio.Future[_T]], error: StoreError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(str(error)))
