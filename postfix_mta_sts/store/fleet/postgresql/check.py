"""What `fleet check` finds in PostgreSQL: it does once what a relay does, and takes it back."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.engine import SECOND, Finding, Kind
from postfix_mta_sts.store.fleet.errors import FleetError
from postfix_mta_sts.store.fleet.mending import mend_of
from postfix_mta_sts.store.fleet.postgresql.schema import VERSION
from postfix_mta_sts.store.fleet.postgresql.statements import Statements

_DOMAIN: Final = "fleet-check.invalid"  # RFC 6761 §6.4: no domain has this name
_MINUTE: Final = 60 * SECOND
_FACTS: Final = """
    SELECT current_setting('server_version'), current_database()::text, current_user::text,
        pg_backend_pid(), (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
        current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
"""


async def findings(
    connection: Any,  # noqa: ANN401 (asyncpg has no types)
    sql: Statements,
    mapped: Callable[[], AbstractContextManager[None]],
    location: StoreLocation,
) -> Sequence[Finding]:
    """Look at the server, and try all statements on an open connection.

    `mapped` raises the errors of asyncpg as `FleetError`.
    """
    facts = await connection.fetchrow(_FACTS)
    version, database, role, backend, tls, commit, standbys, now = facts
    is_direct = backend == connection.get_server_pid()
    way = (tls or "without TLS") if is_direct else "behind a pooler"
    place = f"database {printable(database)}, role {printable(role)}"
    return [
        Finding("server", is_well=True, found=f"PostgreSQL {printable(version)}, {place}, {way}"),
        Finding("schema", is_well=True, found=f"version {VERSION}"),
        await _rights(partial(_try, connection, sql, now), mapped, location),
        Finding("durability", is_well=True, found=_durability(commit, standbys)),
    ]


async def _rights(
    tried: Callable[[], Awaitable[None]],
    mapped: Callable[[], AbstractContextManager[None]],
    location: StoreLocation,
) -> Finding:
    try:
        with mapped():
            await tried()
    except FleetError as error:
        return Finding("rights", is_well=False, found=str(error), mend=mend_of(error, location))
    return Finding("rights", is_well=True, found="reads, writes and removes")


async def _try(connection: Any, sql: Statements, now: int) -> None:  # noqa: ANN401 (asyncpg has no types)
    """Do everything in a transaction that is rolled back."""
    trial = connection.transaction()
    await trial.start()
    try:
        for statement, arguments in _trials(sql, now):
            await connection.fetch(statement, *arguments)
    finally:
        await trial.rollback()


def _trials(sql: Statements, now: int) -> Sequence[tuple[str, tuple[object, ...]]]:
    kind, token, end = Kind.CHECK.value, secrets.token_hex(16), now + _MINUTE
    return (
        (sql.put, ([kind], [_DOMAIN], [""], [str(end)])),
        (sql.put, ([kind], [_DOMAIN], [""], [str(end)])),
        (sql.read, ([kind], [_DOMAIN], ["1"])),
        (sql.page, (kind, "", 1, 1)),
        (sql.remove, ([kind], [_DOMAIN])),
        (sql.claim, ([_DOMAIN], [token], 1)),
        (sql.renew, (_DOMAIN, token)),
        (sql.release, ([_DOMAIN], [token])),
        (sql.note, ([_DOMAIN], [str(now)], [str(now)])),
        (sql.due, (0, 1)),
    )


def _durability(commit: str, standbys: str) -> str:
    if commit == "off":
        return "writes do not wait for the disk (synchronous_commit is off): a crash costs a second"
    if standbys and commit != "local":
        return "each write waits for the disk and for a standby (synchronous_standby_names)"
    return "each write waits for the disk"
