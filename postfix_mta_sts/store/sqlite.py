"""States in a SQLite file: one connection reads, one writes, and many writes share one commit.

Border: SQL and the life of one opened file. How the file is laid out is `schema`'s matter; what
becomes of a failure is `failsafe`'s. Each connection has a thread of its own, so that nothing
here blocks the event loop, and no writer that waits for a lock delays a read.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import aiosqlite

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import parse_records
from postfix_mta_sts.store import DamagedStoreError, StoreError, held
from postfix_mta_sts.store.schema import SCHEMA, as_store_errors, identity, prepare, set_aside

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

BUSY: Final = 1.0
"""Seconds that a write waits for another process's lock."""
_LOADED_AT_ONCE: Final = 100
"""Rows that one read asks for at most, so that the first does not wait long for the last."""
_REMOVED_AT_ONCE: Final = 5000
"""Rows that one call removes at most, so that no save waits long behind it."""

_LOAD = """
    SELECT domain, policy_id, policy, fetched_at, refetch_at FROM policies
    WHERE domain IN (SELECT value FROM json_each(?))
"""
_SAVE = """
    INSERT INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (domain) DO UPDATE SET
        policy_id = excluded.policy_id,
        policy = excluded.policy,
        fetched_at = excluded.fetched_at,
        refetch_at = excluded.refetch_at,
        expires_at = excluded.expires_at,
        asked_at = max(policies.asked_at, excluded.asked_at)
        WHERE excluded.fetched_at >= policies.fetched_at OR policies.fetched_at > ?
"""
_TOUCH = "UPDATE policies SET asked_at = ?1 WHERE domain = ?2 AND asked_at < ?1"
_DUE = """
    SELECT domain FROM policies
    WHERE refetch_at <= ? AND asked_at >= ? AND expires_at > ?
    ORDER BY refetch_at LIMIT ?
"""
_REMOVE_EXPIRED = """
    DELETE FROM policies WHERE rowid IN (
        SELECT rowid FROM policies WHERE expires_at < ? LIMIT ?
    )
"""
_REMOVE_UNREADABLE = "DELETE FROM policies WHERE domain = ? AND fetched_at = ?"


class _Job(NamedTuple):
    sql: str
    rows: Sequence[tuple[object, ...]]
    done: asyncio.Future[int]
    """How many rows were changed, once that is committed."""


class SqliteStore:
    """A `Store` in a file; made by `open`. Raises `StoreError`, as `Store` says.

    After a `DamagedStoreError` there is only `close`, which sets the file aside.
    """

    def __init__(
        self,
        path: Path,
        opened: tuple[int, int] | None,
        connections: AsyncExitStack,
        clock: Callable[[], float],
    ) -> None:
        self.commits = 0
        """Transactions written since the store was opened."""
        self.reads = 0
        """Times that rows were read, one or many at once."""
        self._path = path
        self._opened = opened
        self._connections = connections
        self._clock = clock
        self._damage: str | None = None
        self._closed = False
        self._waiting: list[_Job] = []
        self._writer: asyncio.Task[None] | None = None
        self._wanted: dict[Domain, list[asyncio.Future[Sequence[Any] | None]]] = {}
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
            async with AsyncExitStack() as stack:
                store = cls(path, opened, stack, clock)
                await store._connect(busy)
                store._connections = stack.pop_all()
                return store

    async def _connect(self, busy: float) -> None:
        connect, enter = aiosqlite.connect, self._connections.enter_async_context
        self._reading = await enter(connect(self._path, timeout=busy, isolation_level=None))
        self._writing = await enter(connect(self._path, timeout=busy, isolation_level=None))
        self._reading.text_factory = bytes  # text that is not UTF-8 is for `_state` to refuse
        await self._reading.execute("PRAGMA query_only = ON")
        await self._writing.execute("PRAGMA synchronous = FULL")

    async def load(self, domain: Domain) -> State | None:
        """See `Store`. A row that stands for no valid policy is removed, as though not there."""
        self._must_be_open()
        row = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(domain, []).append(row)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_wanted(), name="store reader")
        found = await row
        try:
            return _state(found) if found else None
        except MtaStsError as error:
            self._remove_unreadable(domain, found, error)
            return None

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        policy, policy_id = held(state)
        fetched_at, expires_at = state.fetched_at, state.fetched_at + policy.max_age
        times = (fetched_at, state.refetch_at, expires_at, asked_at)
        await self._write(_SAVE, [(domain, policy_id, policy.text, *times, state.checked_at)])

    async def touch(self, asked: Mapping[Domain, float]) -> None:
        """See `Store`."""
        await self._write(_TOUCH, [(asked_at, domain) for domain, asked_at in asked.items()])

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        rows = await self._read(_DUE, now, asked_since, now, limit)
        # Only a `Domain` was ever written; what has become of it on a bad disk is in no table.
        return [Domain(row[0].decode("ascii", "backslashreplace")) for row in rows]

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        return await self._write(_REMOVE_EXPIRED, [(before, _REMOVED_AT_ONCE)])

    async def close(self) -> None:
        """See `Store`; if the file was found damaged, it is set aside now."""
        self._closed = True
        if under_way := [task for task in (self._writer, self._reader) if task]:
            await asyncio.wait(under_way)
        try:
            with as_store_errors(self._path):
                await self._connections.aclose()
        finally:
            if self._damage:
                now = self._clock()
                await asyncio.to_thread(set_aside, self._path, self._opened, self._damage, now)

    async def _read(self, sql: str, *parameters: object) -> Iterable[Any]:
        self._must_be_open()
        with self._noting_damage():
            return await self._reading.execute_fetchall(sql, parameters)

    async def _read_wanted(self) -> None:
        """Read for all who ask at the same time at once: what costs is the way to the thread."""
        while self._wanted:
            self.reads += 1
            wanted = {d: self._wanted.pop(d) for d in list(self._wanted)[:_LOADED_AT_ONCE]}
            try:
                rows = await self._read(_LOAD, json.dumps(list(wanted)))
            except StoreError as error:
                _fail(chain.from_iterable(wanted.values()), error)
            else:
                found = {row[0].decode("ascii", "replace"): row[1:] for row in rows}
                for domain, asking in wanted.items():
                    _succeed((future, found.get(domain)) for future in asking)
        self._reader = None

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> asyncio.Future[int]:
        """Put a write into the next transaction; its future is done after the commit."""
        self._must_be_open()
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(sql, rows, done))
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
            # SQLite would go on writing to a file that no name leads to any more.
            if await asyncio.to_thread(identity, self._path) != self._opened:
                raise DamagedStoreError(f"{self._path}: no longer the file that was opened")
            try:
                return await self._transact(jobs)
            except BaseException:
                with suppress(aiosqlite.Error):  # the one that is on its way says more
                    await self._writing.rollback()
                raise

    async def _transact(self, jobs: Sequence[_Job]) -> list[int]:
        await self._writing.execute("BEGIN IMMEDIATE")
        cursors = [await self._writing.executemany(job.sql, job.rows) for job in jobs]
        await self._writing.commit()
        self.commits += 1
        return [cursor.rowcount for cursor in cursors]

    def _remove_unreadable(self, domain: Domain, row: Sequence[Any], error: MtaStsError) -> None:
        reason = str(error)
        logs.event(_log, logging.WARNING, "stored policy is not readable", domain, reason=reason)
        # Not waited for; fetched_at, so that a policy that is saved meanwhile stays.
        removal = self._write(_REMOVE_UNREADABLE, [(domain, row[2])])
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


def _state(row: Sequence[Any]) -> State:
    """The state that a row stands for; raises `MtaStsError` if it stands for none."""
    match row:
        case (bytes(policy_id), bytes(policy), float(fetched_at), float(refetch_at)):
            id_ = parse_records([b"v=STSv1;id=" + policy_id])
            return restored(parse_policy(policy), id_, fetched_at, refetch_at)
    raise InvalidPolicyError(0, "a column of another type")


def _succeed(results: Iterable[tuple[asyncio.Future[_T], _T]]) -> None:
    for future, result in results:
        if not future.done():  # whoever waited may have given up
            future.set_result(result)


def _fail(futures: Iterable[asyncio.Future[_T]], error: StoreError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(str(error)))
