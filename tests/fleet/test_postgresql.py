"""PostgreSQL as a shared store: rights, schema, races, and rows that no relay has written."""

import asyncio
import contextlib
import os
import random
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import LEASE, LIMITS, Engine, Kind, Name
from postfix_mta_sts.store.fleet.errors import DeniedError, NoGrantError, SchemaError
from postfix_mta_sts.store.fleet.mending import mend_of
from postfix_mta_sts.store.fleet.postgresql.schema import VERSION, schema_sql
from postfix_mta_sts.values import replace
from tests.fleet.postgresql_relays import relay
from tests.fleet.postgresql_servers import (
    DATABASE,
    HOST,
    PASSWORD,
    PREFIX,
    ROLE,
    PostgresqlServer,
    Version,
    documented,
    running,
)
from tests.support.engine_suite import DOMAIN, MINUTE, POLICY, made


@pytest.fixture(scope="module", params=Version, ids=lambda version: version.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresqlServer]:
    """Each PostgreSQL in turn."""
    version: Version = request.param
    yield from running(version, tmp_path_factory.mktemp("postgresql") / "server")


@pytest.fixture
async def engine(server: PostgresqlServer) -> AsyncIterator[Engine]:
    """A relay of a store that is empty."""
    await server.empty()
    async with relay(server.settings()) as engine:
        yield engine


async def now_of(engine: Engine) -> int:
    """The time of the store."""
    return (await engine.read([])).now


async def test_the_newest_of_two_hundred_policies(server: PostgresqlServer, engine: Engine) -> None:
    """Of two hundred puts at the same time, of two relays, the one with the highest order stays."""
    now = await now_of(engine)
    orders = list(range(now - 200, now))
    random.Random(1).shuffle(orders)  # noqa: S311 (no secret)
    async with relay(server.settings()) as other:
        puts = [
            (engine, other)[order % 2].put(POLICY, made(order), order, now + MINUTE)
            for order in orders
        ]
        await asyncio.gather(*puts)
    assert dict((await engine.read([POLICY])).records) == {POLICY: made(now - 1)}


async def test_one_of_two_hundred_has_the_lease(server: PostgresqlServer, engine: Engine) -> None:
    """Of two hundred claims at the same time, of two relays, one has the lease."""
    async with relay(server.settings()) as other:
        for number in range(10):  # a busy machine may take longer than a lease lives
            domain = Domain(f"try{number}.example")
            started = await now_of(engine)
            claims = [(engine, other)[n % 2].claim(domain, f"{n:032}") for n in range(200)]
            held = [each.is_held for each in await asyncio.gather(*claims)]
            if await now_of(engine) < started + LEASE:
                assert held.count(True) == 1
                return
    pytest.fail("the machine is too busy")


async def test_a_claim_sees_what_the_last_holder_has_put(
    server: PostgresqlServer, engine: Engine
) -> None:
    """A claim that waits for the release of a lease reads the policy that was put before it."""
    now = await now_of(engine)
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    async with server.administration() as holder, relay(server.settings()) as other:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("DELETE FROM mta_sts.leases")
        claim = asyncio.create_task(other.claim(DOMAIN, "b" * 32))
        async with server.administration() as watcher:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not await watcher.fetchval(waiting):  # noqa: ASYNC110 (of another process)
                await asyncio.sleep(0.01)
        assert await engine.put(POLICY, made(now), now, now + MINUTE)
        await transaction.commit()
        claimed = await claim
    assert (claimed.is_held, claimed.policy) == (True, made(now))


async def test_relays_that_note_the_same_domains(server: PostgresqlServer, engine: Engine) -> None:
    """Relays that note thousands of the same domains at the same time cause no deadlock."""
    now = await now_of(engine)
    domains = [Domain(f"d{number}.example") for number in range(3000)]
    async with relay(server.settings()) as other:
        notes = []
        for number in range(8):
            random.Random(number).shuffle(domains)  # noqa: S311 (no secret)
            asked = dict.fromkeys(domains, now + number)
            notes.append((engine, other)[number % 2].note_uses(asked, dict.fromkeys(domains, now)))
        await asyncio.gather(*notes)
    assert len(await engine.due(now + 7, 5000)) == 3000


async def test_expired_rows_are_removed_in_batches(
    server: PostgresqlServer, engine: Engine
) -> None:
    """Each call of `due` removes some of the rows that have expired, and none that live."""
    now = await now_of(engine)
    await server.admin(
        "INSERT INTO mta_sts.records (kind, key, record, expires_at)"
        " SELECT 'policy', 'd' || n, '', 1 FROM generate_series(1, 1010) AS n",
        "INSERT INTO mta_sts.leases SELECT 'd' || n, 't', 1 FROM generate_series(1, 10) AS n",
        "INSERT INTO mta_sts.uses SELECT 'd' || n, 1, NULL FROM generate_series(1, 10) AS n",
    )
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    await engine.due(now, 1)
    (left,) = await server.admin("SELECT count(*) FROM mta_sts.records")
    assert left[0] == 11  # a batch is a thousand
    await asyncio.gather(*(engine.due(now, 1) for _ in range(4)))
    (left,) = await server.admin(
        "SELECT (SELECT count(*) FROM mta_sts.records),"
        " (SELECT count(*) FROM mta_sts.leases), (SELECT count(*) FROM mta_sts.uses)"
    )
    assert tuple(left) == (1, 0, 0)


async def test_a_row_of_a_megabyte(server: PostgresqlServer, engine: Engine) -> None:
    """Of a row that somebody has made too long no more is transferred than shows that."""
    await server.admin(
        "INSERT INTO mta_sts.records (kind, key, record, expires_at)"
        " VALUES ('policy', 'example.com', convert_to(repeat('x', 1048576), 'UTF8'),"
        " 9223372036854775807)"
    )
    read = await engine.read([POLICY])
    assert dict(read.records) == {POLICY: b"x" * (LIMITS[Kind.POLICY] + 1)}
    claimed = await engine.claim(DOMAIN, "a" * 32)
    assert claimed.policy == b"x" * (LIMITS[Kind.POLICY] + 1)
    assert await engine.put(POLICY, made(1), 1, read.now + MINUTE)


async def test_a_row_cannot_be_longer_than_the_table_allows(server: PostgresqlServer) -> None:
    """Neither a relay nor anybody else puts a row of nine megabytes."""
    with pytest.raises(asyncpg.CheckViolationError):
        await server.admin(
            "INSERT INTO mta_sts.records (kind, key, record, expires_at)"
            " VALUES ('policy', 'x', convert_to(repeat('x', 9 * 1048576), 'UTF8'), 1)"
        )


async def test_rows_of_strangers_do_not_keep_records_out(
    server: PostgresqlServer, engine: Engine
) -> None:
    """Rows with names, times and bytes that no relay writes harm no other row."""
    now = await now_of(engine)
    await server.admin(
        "INSERT INTO mta_sts.records (kind, key, record, expires_at) VALUES"
        " ('nonsense', '', '', 9223372036854775807), ('check', '', 'x', 9223372036854775807),"
        " ('check', E'\\x01\\u20ac', 'x', 9223372036854775807), ('relay', 'x', 'x', -1),"
        " ('policy', 'example.com',"
        " convert_to('mta-sts 1 - 9999999999999999 -' || chr(10), 'UTF8'), 9e18)",
        "INSERT INTO mta_sts.uses VALUES ('', -5, -9223372036854775808)",
        "INSERT INTO mta_sts.leases VALUES ('example.com', 'x', -9223372036854775808)",
    )
    assert [key for key, _ in await engine.page(Kind.CHECK, "", 10)] == ["\x01\u20ac"]
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    assert not await engine.due(0, 10)


async def test_a_lease_that_would_not_end(server: PostgresqlServer, engine: Engine) -> None:
    """One that ends later than any, as the clock was set back, is free at the next claim."""
    for end in (2**63 - 1, await now_of(engine) + LEASE + MINUTE):
        await server.admin(
            "TRUNCATE mta_sts.leases",
            f"INSERT INTO mta_sts.leases VALUES ('example.com', 'x', {end})",  # noqa: S608
        )
        assert (await engine.claim(DOMAIN, "a" * 32)).is_held


async def test_a_role_cannot_choose_the_order_of_a_row(server: PostgresqlServer) -> None:
    """The order of a row is the one in its header, whatever somebody writes."""
    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await server.admin(
            "INSERT INTO mta_sts.records (kind, key, record, expires_at, order_number)"
            " VALUES ('policy', 'x', '', 1, 5)"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mta_sts.mine (a int)",
        "CREATE INDEX ON mta_sts.records (record)",
        "DROP TABLE mta_sts.leases",
        "TRUNCATE mta_sts.records",
        "ALTER TABLE mta_sts.records DROP COLUMN record",
        "UPDATE mta_sts.version SET version = 2",
        "DELETE FROM mta_sts.version",
        "SELECT * FROM secrets.passwords",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
async def test_the_role_of_a_relay_may_do_nothing_else(
    server: PostgresqlServer, statement: str
) -> None:
    """The documented rights are the least: a relay changes no table and reads no other one."""
    await server.admin(
        "CREATE SCHEMA IF NOT EXISTS secrets",
        "CREATE TABLE IF NOT EXISTS secrets.passwords (password text)",
    )
    connection = await asyncpg.connect(**login(server))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(statement)
    finally:
        connection.terminate()


def login(server: PostgresqlServer) -> dict[str, object]:
    """How the role of a relay connects."""
    authorities = server.authority.certificate.decode()
    return {
        "host": HOST,
        "port": server.port,
        "user": ROLE,
        "password": PASSWORD,
        "database": DATABASE,
        "ssl": ssl.create_default_context(cadata=authorities),
    }


async def test_the_schema_is_made_once(server: PostgresqlServer, engine: Engine) -> None:
    """The text may run again, five times at once, and keeps all rows."""
    now = await now_of(engine)
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    text = schema_sql(PREFIX, ROLE)
    await asyncio.gather(*(asyncio.to_thread(server.psql, text) for _ in range(5)))
    assert dict((await engine.read([POLICY])).records) == {POLICY: made(1)}
    (row,) = await server.admin("SELECT count(*), max(version) FROM mta_sts.version")
    assert tuple(row) == (VERSION, VERSION)


@pytest.mark.parametrize(
    ("prefix", "role"),
    [
        ("user", "user"),
        ("9", "Relay of {$1}"),
        ("a" * 40, '"; DROP SCHEMA mta_sts CASCADE; --'),
        ("_", "it's"),
        ("order", "äöü"),
    ],
)
async def test_a_schema_of_any_name(server: PostgresqlServer, prefix: str, role: str) -> None:
    """Each prefix that the configuration allows is a schema, and each name a role."""
    quoted = role.replace('"', '""')
    await server.admin(f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD '{PASSWORD}' IN ROLE others")
    server.psql(schema_sql(prefix, role))
    settings = replace(server.settings(user=role), prefix=prefix)
    async with relay(settings) as engine:
        assert all(each.is_well for each in await engine.check())
        assert await engine.put(POLICY, made(1), 1, await now_of(engine) + MINUTE)


async def test_a_database_without_the_schema(server: PostgresqlServer) -> None:
    """The error says what to run; once that is done, the same relay works."""
    settings = replace(server.settings(), prefix="later")
    async with relay(settings) as engine:
        with pytest.raises(SchemaError, match=r"fleet schema --role USER \| psql"):
            await engine.read([])
        server.psql(schema_sql("later", ROLE))
        assert not (await engine.read([])).records
        await server.admin("DROP SCHEMA later CASCADE")
        with pytest.raises(SchemaError, match="fleet schema"):
            await engine.put(POLICY, made(1), 1, 2)
        server.psql(schema_sql("later", ROLE))
        assert not (await engine.read([POLICY])).records


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("INSERT INTO other.version VALUES (99)", "have version 99, this relay knows 1; upgrade"),
        ("DELETE FROM other.version", "have version none, this relay needs 1"),
        ("DROP TABLE other.version", "fleet schema"),
    ],
)
async def test_tables_of_another_version(
    server: PostgresqlServer, change: str, reason: str
) -> None:
    """A relay does not use tables that it does not know, and says what to do."""
    await server.admin("DROP SCHEMA IF EXISTS other CASCADE")
    server.psql(schema_sql("other", ROLE))
    await server.admin(change)
    async with relay(replace(server.settings(), prefix="other")) as engine:
        with pytest.raises(SchemaError, match=reason):
            await engine.read([])
        if "99" in change:
            with pytest.raises(subprocess.CalledProcessError):
                server.psql(schema_sql("other", ROLE))
        else:
            server.psql(schema_sql("other", ROLE))
            assert not (await engine.read([POLICY])).records


@pytest.mark.parametrize("table", ["records", "leases", "uses"])
@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
async def test_the_check_misses_each_right(
    server: PostgresqlServer, engine: Engine, right: str, table: str
) -> None:
    """Without one of the documented rights the check says so, and leaves no row behind."""
    async with _without(server, f"{right} ON mta_sts.{table}"):
        (bad,) = (each for each in await engine.check() if not each.is_well)
    assert bad.what == "rights"
    assert f"permission denied for table {table}" in bad.found
    assert f"fleet schema --role {ROLE} | psql" in bad.mend
    for each in ("records", "leases", "uses"):
        assert not await server.admin(f"SELECT FROM mta_sts.{each}")


async def test_the_check_misses_the_version(server: PostgresqlServer) -> None:
    """A role that may not read the version of the tables is told so, and what to run."""
    async with _without(server, "SELECT ON mta_sts.version"), relay(server.settings()) as engine:
        with pytest.raises(NoGrantError, match="permission denied for table version") as caught:
            await engine.check()
    mend = mend_of(caught.value, server.settings().location)
    assert f"fleet schema --role {ROLE} | psql" in mend


@contextlib.asynccontextmanager
async def _without(server: PostgresqlServer, right: str) -> AsyncIterator[None]:
    """The role of relays lacks a right while the context is open."""
    await server.admin(f"REVOKE {right} FROM {ROLE}")
    try:
        yield
    finally:
        await server.admin(f"GRANT {right} TO {ROLE}")


async def test_no_rights_at_all(server: PostgresqlServer) -> None:
    """A role without grants is told that it may not."""
    server.psql(schema_sql("denied", None))
    async with relay(replace(server.settings(), prefix="denied")) as engine:
        with pytest.raises(DeniedError, match="permission denied for schema denied"):
            await engine.read([])


async def test_the_check(engine: Engine) -> None:
    """What the check finds of a server that is well: its version, the role, the rights."""
    findings = {each.what: each for each in await engine.check()}
    assert list(findings) == ["server", "schema", "rights", "durability"]
    assert all(each.is_well and not each.mend for each in findings.values())
    assert findings["server"].found.startswith("PostgreSQL 1")
    assert findings["server"].found.endswith("database mail, role mta_sts, TLSv1.3")
    assert "synchronous_commit is off" in findings["durability"].found


async def test_tables_are_found_whatever_the_search_path(
    server: PostgresqlServer, engine: Engine
) -> None:
    """Tables and functions of others with our names are not taken for ours."""
    await server.admin(
        "CREATE SCHEMA IF NOT EXISTS evil",
        "CREATE TABLE IF NOT EXISTS evil.records (kind text)",
        f"GRANT USAGE ON SCHEMA evil TO {ROLE}",
        f"ALTER ROLE {ROLE} SET search_path = evil",
    )
    try:
        async with relay(server.settings()) as other:
            now = await now_of(other)
            assert await other.put(POLICY, made(1), 1, now + MINUTE)
            assert (await other.claim(DOMAIN, "a" * 32)).policy == made(1)
    finally:
        await server.admin(f"ALTER ROLE {ROLE} RESET search_path")
    assert dict((await engine.read([POLICY])).records) == {POLICY: made(1)}


async def test_names_are_not_sql(engine: Engine) -> None:
    """No key is taken for SQL, or for a pattern."""
    now = await now_of(engine)
    name = Name(Kind.CHECK, "'; DELETE FROM mta_sts.records; --%")
    assert await engine.put(name, made(1), 1, now + MINUTE)
    assert await engine.page(Kind.CHECK, "", 5) == [(name.key, made(1))]
    assert await engine.remove([Name(Kind.CHECK, "%")]) == 0
    assert await engine.remove([name]) == 1


async def test_the_owner_of_the_tables_need_not_be_the_superuser(server: PostgresqlServer) -> None:
    """A role that may create a schema makes the tables with the documented command, and again."""
    await server.admin(
        f"CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}' IN ROLE others",
        f"GRANT CREATE ON DATABASE {DATABASE} TO owner",
    )
    program = [sys.executable, "-m", "postfix_mta_sts"]
    words = documented("", "| psql").partition(" |")[0].split()[1:]
    printed = await asyncio.to_thread(
        subprocess.run,
        [*program, *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "POSTFIX_MTA_STS__FLEET__PREFIX": "owned"},
    )
    for _ in range(2):
        server.psql(printed.stdout, user="owner")
    async with relay(replace(server.settings(), prefix="owned")) as engine:
        assert all(each.is_well for each in await engine.check())
