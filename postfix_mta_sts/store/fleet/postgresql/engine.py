"""The shared store in PostgreSQL, directly or behind a pooler such as PgBouncer.

This is the only module that uses asyncpg. `statements` has the SQL, `connections` the
pool. `batches` makes one statement of calls that arrive together, `errors`
says what an error means, `check` what `fleet check` finds.
asyncpg caches no statements and nothing is set in a session, because a pooler may give each
transaction another one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.connections import CONNECTIONS, Connections
from postfix_mta_sts.store.fleet.engine import LIMITS, Claimed, Finding, Kind, Name, Read, size_of
from postfix_mta_sts.store.fleet.errors import FleetError, NotReachedError
from postfix_mta_sts.store.fleet.postgresql.batches import Batches
from postfix_mta_sts.store.fleet.postgresql.check import findings
from postfix_mta_sts.store.fleet.postgresql.errors import (
    check_version,
    fault_of,
    fault_of_connection,
)
from postfix_mta_sts.store.fleet.postgresql.frames import Frames
from postfix_mta_sts.store.fleet.postgresql.schema import DEFAULT_ROLE, VERSION
from postfix_mta_sts.store.fleet.postgresql.statements import statements
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.store.fleet.tls import client_context

OPEN_LIMIT: Final = 5.0
"""Seconds for opening a connection, which goes on when the caller's time is over."""
CALL_LIMIT: Final = 10.0
"""Seconds for one statement, if the caller has no limit of its own."""

Connection = Any  # asyncpg has no types


# Private parts of asyncpg: the class `protocol.Protocol`, of which `connect` makes an instance for
# each connection, and that it may be replaced. pyproject.toml has the upper bound.
class _Checked(asyncpg.protocol.Protocol):  # type: ignore[misc]
    """asyncpg's end of a connection; it ends one whose messages cannot be read (`Frames`)."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._frames: Frames | None = Frames()
        self._wire = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._frames and self._frames.are_valid(data):
            super().data_received(data)
        elif self._frames:
            self._frames = None
            self._wire.abort()


asyncpg.protocol.Protocol = _Checked


class PostgresqlEngine:
    """The engine of PostgreSQL (`engine.Engine`); connects when it is first used."""

    def __init__(self, settings: SharedStoreSettings) -> None:
        """Connect to nothing yet."""
        self._sql = statements(settings.prefix)
        self._location = settings.location
        self._arguments = _arguments(settings)
        self._connections: Connections[Connection] = Connections(
            self._open, CONNECTIONS[EngineName.POSTGRESQL]
        )
        self._batches = Batches(self._sql, self._rows)

    async def read(self, names: Sequence[Name], limit: int | None = None) -> Read:
        """Read records, or their first bytes, all with one statement."""
        if len(names) == 1 and limit is None:
            return await self._batches.read(names[0])
        return await self._batches.read_all(names, limit)

    async def put(self, name: Name, record: bytes, order: int, expires_at: int) -> bool:  # noqa: ARG002 (the table has it from the header)
        """Keep a record until then, unless there is one with the same or a higher order."""
        return await self._batches.put(name, record, expires_at)

    async def remove(self, names: Sequence[Name]) -> int:
        """Remove records; return how many there were."""
        kinds, keys = [name.kind.value for name in names], [name.key for name in names]
        count: int = (await self._rows(self._sql.remove, kinds, keys))[0][0]
        return count

    async def discard(self, name: Name, record: bytes) -> None:
        """Remove a record if it is still this one."""
        await self._rows(self._sql.discard, name.kind.value, name.key, record, size_of(name))

    async def page(self, kind: Kind, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return at most `limit` records of a kind with keys after `after`, in their order."""
        size = LIMITS[kind] + 1
        rows = await self._rows(self._sql.page, kind.value, after, limit, size)
        return [(key, record) for key, record in rows]

    async def claim(self, domain: Domain, token: str) -> Claimed:
        """Take the lease of a domain, if nobody else has it; read its policy."""
        return await self._batches.claim(domain, token)

    async def renew(self, domain: Domain, token: str) -> bool:
        """Hold the lease from now on; False: another has it, or it has ended."""
        return bool(await self._rows(self._sql.renew, domain, token))

    async def release(self, domain: Domain, token: str) -> None:
        """Give the lease back, if it is still held with this token."""
        await self._batches.release(domain, token)

    async def note_uses(self, asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> None:
        """Note when domains were last asked for, and when they are due; in several statements."""
        await self._batches.note_all(asked, due)

    async def due(self, asked_since: int, limit: int) -> Sequence[Domain]:
        """Return domains that are due and were asked for since then; remove what has expired."""
        return [domain for (domain,) in await self._rows(self._sql.due, asked_since, limit)]

    async def check(self) -> Sequence[Finding]:
        """Try everything that a relay needs. Raises `FleetError` if there is no connection."""
        async with self._connection() as connection:
            return await findings(connection, self._sql, _mapped, self._location)

    async def close(self) -> None:
        """Close the connections; call nothing afterwards."""
        self._connections.close()

    async def _rows(self, sql: str, *arguments: object) -> Sequence[Any]:
        async with self._connection() as connection:
            rows: Sequence[Any] = await connection.fetch(sql, *arguments)
            return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Raises `FleetError` for what fails with it in the block."""
        async with self._connections.lent() as connection:
            with _mapped():
                yield connection

    async def _open(self) -> Connection:
        """Connect, and see that the tables are those that this program needs."""
        with _mapped():
            async with asyncio.timeout(OPEN_LIMIT):
                connection = await asyncpg.connect(**self._arguments)
                try:
                    check_version(await connection.fetchval(self._sql.version), VERSION)
                except BaseException:
                    connection.terminate()
                    raise
                return connection


@contextmanager
def _mapped() -> Iterator[None]:
    """Raise what asyncpg raises as `FleetError`, without its chain: that may quote a row."""
    try:
        yield
    except asyncpg.ConnectionDoesNotExistError as error:
        cause = error.__cause__  # the last words of a server that ends connections
        raise _fault(cause if isinstance(cause, asyncpg.PostgresError) else error) from None
    except asyncpg.PostgresError as error:
        raise _fault(error) from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise NotReachedError(f"PostgreSQL: {printable(str(error.args[0]))}") from None
    except (OSError, ValueError) as error:
        raise fault_of_connection(error) from None


def _fault(error: Any) -> FleetError:  # noqa: ANN401 (asyncpg has no types)
    return fault_of(error.sqlstate or "", str(error.args[0]))


def _arguments(settings: SharedStoreSettings) -> Mapping[str, object]:
    """The arguments of `asyncpg.connect`: all that it would take from the environment is given."""
    location = settings.location
    address = location.addresses[0] if location.addresses else None
    return {
        "host": address.host if address else location.path,
        "port": address.port if address else None,
        "user": location.user or DEFAULT_ROLE,
        "password": location.password or "",
        "database": location.database,
        "ssl": client_context(settings.authorities) if location.tls else False,
        "direct_tls": False,
        "target_session_attrs": "any",
        "timeout": OPEN_LIMIT,
        "command_timeout": CALL_LIMIT,
        "statement_cache_size": 0,
        "server_settings": {"application_name": "postfix-mta-sts"},
    }
