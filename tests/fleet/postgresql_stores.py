"""PostgreSQL as the shared store of a fleet, alone or behind PgBouncer: rows and faults."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from postfix_mta_sts.store.fleet.engine import Kind, Name
from tests.fleet.postgresql_servers import (
    DATABASE,
    HOST,
    PASSWORD,
    ROLE,
    PgBouncer,
    PostgresqlServer,
    Version,
    pgbouncer,
    postgresql_server,
)
from tests.fleet.stores import LATENCY, PREFIX, Rows, SharedStore, full, keys, secret, small_disk
from tests.fleet.wire import Wire, wire
from tests.support.ports import free_port

FAULTS: Final = (
    "hangs",
    "killed",
    "refuses",
    "wrong password",
    "read-only",
    "emptied",
    "out of memory",
    "disk full",
    "too many connections",
    "late",
    "restarts",
)
POOLED_FAULTS: Final = (*FAULTS, "PgBouncer hangs", "PgBouncer killed", "PgBouncer restarts")
HOUR: Final = 3600 * 1_000_000

DISK: Final = "160m"
LINES: Final = ("max_connections = 250",)
"""Fifty relays of the bench have 4 connections each."""
_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mta_sts'"
)
_EMPTY: Final = "TRUNCATE mta_sts.records, mta_sts.uses, mta_sts.leases"


class PostgresqlStore(SharedStore):
    """One PostgreSQL, which relays reach over a wire."""

    def __init__(
        self,
        name: str,
        server: PostgresqlServer,
        pool: PgBouncer | None,
        way: Wire,
        folder: Path,
    ) -> None:
        self.name = name
        self._server = server
        key_file, self.keyring = keys(folder)
        mode = "disable" if pool else "verify-full"
        authority = {} if pool else {"ca_file": str(server.authority.write(folder))}
        url = f"postgresql://{ROLE}@{HOST}:{{}}/{DATABASE}?sslmode={mode}"
        self.section = {
            "url": url.format(pool.port if pool else server.port),
            "password_file": str(secret(folder / "password", PASSWORD)),
            "key_file": str(key_file),
            "prefix": PREFIX,
            **authority,
        }
        self.over_tls = {} if pool else self.section
        self.over_wire = {**self.section, "url": url.format(way.port)}
        self.late = way.late
        ways = (
            lambda: _paused(server.server.pid),
            lambda: _killed(server),
            way.closed,
            self._locked,
            self._read_only,
            self._emptied,
            self._out_of_memory,
            self._full,
            self._crowded,
            lambda: way.late(LATENCY),
            lambda: _restarted(server),
        )
        self.faults = dict(zip(FAULTS, ways, strict=True))
        if pool:
            names = POOLED_FAULTS[len(FAULTS) :]
            more = (
                lambda: _paused(pool.server.pid),
                lambda: _killed(pool),
                lambda: _restarted(pool),
            )
            self.faults |= dict(zip(names, more, strict=True))

    async def now(self) -> int:
        """Its time."""
        (row,) = await self._admin("SELECT extract(epoch FROM clock_timestamp()) * 1000000")
        return int(row[0])

    async def calls(self) -> int:
        """Transactions."""
        text = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'mail'"
        (row,) = await self._admin(text)
        return int(row[0])

    async def size(self) -> int:
        """Bytes of tables and indexes."""
        text = """
            SELECT sum(pg_total_relation_size(oid)) FROM pg_class
                WHERE relkind = 'r' AND relnamespace = 'mta_sts'::regnamespace"""
        (row,) = await self._admin(text)
        return int(row[0])

    def pid(self) -> int:
        """Its process."""
        return self._server.server.pid

    async def rows(self) -> Rows:
        """All records."""
        found = await self._admin("SELECT kind, key, record FROM mta_sts.records")
        return {Name(Kind(kind), key): record for kind, key, record in found}

    async def write(self, rows: Rows) -> None:
        """Put records there, for an hour."""
        ends = await self.now() + HOUR
        text = """
            INSERT INTO mta_sts.records (kind, key, record, expires_at) VALUES ($1, $2, $3, $4)
                ON CONFLICT (kind, key) DO UPDATE SET record = $3, expires_at = $4"""
        for name, record in rows.items():
            await self._admin(text, str(name.kind), name.key, record, ends)

    async def asked_at(self, domain: str) -> int:
        """A column, if there is a row."""
        return await self._use("asked_at", domain)

    async def due_at(self, domain: str) -> int:
        """The same."""
        return await self._use("due_at", domain)

    async def _use(self, column: str, domain: str) -> int:
        text = f"SELECT {column} FROM mta_sts.uses WHERE domain = $1"  # noqa: S608
        return sum(row[0] or 0 for row in await self._admin(text, domain))

    async def put_uses(self, domain: str, asked_at: int, due_at: int) -> None:
        """Both columns."""
        text = """
            INSERT INTO mta_sts.uses (domain, asked_at, due_at) VALUES ($1, $2, $3)
                ON CONFLICT (domain) DO UPDATE SET asked_at = $2, due_at = $3"""
        await self._admin(text, domain, asked_at, due_at)

    async def clear(self) -> None:
        """Remove everything."""
        await self._admin(_EMPTY)

    async def _admin(self, sql: str, *values: object) -> Sequence[Any]:
        return await _admin(self._server, sql, *values)

    def _run(self, *statements: str) -> None:
        """Run statements while the test waits."""
        self._server.psql("".join(f"{each};\n" for each in statements))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._run(f"ALTER ROLE {ROLE} PASSWORD 'another'", _SESSIONS)
        try:
            yield
        finally:
            self._run(f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'", _SESSIONS)

    @contextlib.contextmanager
    def _read_only(self) -> Iterator[None]:
        setting = f"ALTER DATABASE {DATABASE} {{}} default_transaction_read_only{{}}"
        self._run(setting.format("SET", " = on"), _SESSIONS)
        try:
            yield
        finally:
            self._run(
                "SET default_transaction_read_only = off", setting.format("RESET", ""), _SESSIONS
            )

    @contextlib.contextmanager
    def _emptied(self) -> Iterator[None]:
        self._run(_EMPTY)
        yield

    @contextlib.contextmanager
    def _out_of_memory(self) -> Iterator[None]:
        """The kernel kills a process of the server, which then starts all of them again."""
        os.kill(_children(self._server.server.pid)[-1], signal.SIGKILL)
        yield

    @contextlib.contextmanager
    def _full(self) -> Iterator[None]:
        with full(self._server.folder):
            yield
        self._server.restart()  # it has ended, if it could not write its log of changes

    @contextlib.contextmanager
    def _crowded(self) -> Iterator[None]:
        limit = f"ALTER ROLE {ROLE} CONNECTION LIMIT"
        self._run(f"{limit} 0", _SESSIONS)
        try:
            yield
        finally:
            self._run(f"{limit} -1")


async def _admin(server: PostgresqlServer, sql: str, *values: object) -> Sequence[Any]:
    connection = await asyncpg.connect(
        host=HOST, port=server.port, user="postgres", database=DATABASE, ssl=False
    )
    try:
        rows: Sequence[Any] = await connection.fetch(sql, *values)
        return rows
    finally:
        await connection.close()


def _children(pid: int) -> list[int]:
    """The processes of a server, in the order of their start."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def _paused(pid: int) -> Iterator[None]:
    """Stop a process, then those that it has started."""
    os.kill(pid, signal.SIGSTOP)
    pids = [pid, *_children(pid)]
    for each in pids[1:]:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


@contextlib.contextmanager
def _killed(server: PostgresqlServer | PgBouncer) -> Iterator[None]:
    server.server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def _restarted(server: PostgresqlServer | PgBouncer) -> Iterator[None]:
    server.restart()
    yield


@contextlib.contextmanager
def postgresql_store(
    name: str, version: Version, folder: Path, *, is_pooled: bool = False, disk: str = DISK
) -> Iterator[PostgresqlStore]:
    """Run a store on a small disk of its own, and the wire to it, or to a PgBouncer before it."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_disk(folder / "disk", disk))
        server = stack.enter_context(postgresql_server(version, folder / "disk/server", LINES))
        pool = stack.enter_context(pgbouncer(folder / "pool", server)) if is_pooled else None
        way = stack.enter_context(wire(free_port(), pool.port if pool else server.port))
        yield PostgresqlStore(name, server, pool, way, folder)
