"""What a relay sees of a PostgreSQL that fails, and that it works again afterwards.

A relay gives each call a time limit; here it is a quarter of a second, as by default, where the
server hangs. `test_faults` shows what look-ups notice.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.store.fleet.engine import Engine, Kind, Name
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
)
from postfix_mta_sts.values import replace
from tests.fleet.postgresql_relays import relay
from tests.fleet.postgresql_servers import (
    DATABASE,
    HOST,
    PASSWORD,
    PgBouncer,
    PostgresqlServer,
    Version,
    pgbouncer,
    running,
)
from tests.support.engine_suite import DOMAIN, MINUTE, POLICY, made
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

BUDGET = 0.25


@pytest.fixture(scope="module", params=Version, ids=lambda version: version.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresqlServer]:
    """Each PostgreSQL in turn."""
    version: Version = request.param
    yield from running(version, tmp_path_factory.mktemp("postgresql") / "server")


@pytest.fixture
async def engine(server: PostgresqlServer) -> AsyncIterator[Engine]:
    """A relay that is connected."""
    async with relay(server.settings()) as engine:
        await engine.read([])
        yield engine


async def works(engine: Engine) -> None:
    """Wait until the relay writes and reads again."""
    for _ in range(600):
        with contextlib.suppress(FleetError, TimeoutError):
            async with asyncio.timeout(5):
                now = (await engine.read([])).now
                assert await engine.put(POLICY, made(now), now, now + MINUTE)
                assert dict((await engine.read([POLICY])).records) == {POLICY: made(now)}
                return
        await asyncio.sleep(0.05)
    pytest.fail("the relay does not work again")


async def fault(engine: Engine) -> FleetError:
    """Write, and return the error."""
    with pytest.raises(FleetError) as caught:
        await engine.put(POLICY, made(2**52), 2**52, 2**52)
    assert PASSWORD not in str(caught.value)
    assert str(caught.value).isprintable()
    return caught.value


def each_process(server: PostgresqlServer) -> list[int]:
    """The server's own process and those that it has started."""
    pid = server.server.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextlib.contextmanager
def hanging(server: PostgresqlServer) -> Iterator[None]:
    """Let all processes of the server hang."""
    stopped = each_process(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_hangs(server: PostgresqlServer, engine: Engine) -> None:
    """While the server hangs each call ends with its time limit, and none is late afterwards."""
    with hanging(server):
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(BUDGET):
                    await engine.read([POLICY])
        calls = [asyncio.wait_for(engine.read([POLICY]), BUDGET) for _ in range(50)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in outcomes} == {TimeoutError}
    await works(engine)


async def test_a_hanging_server_keeps_no_relay_from_its_end(server: PostgresqlServer) -> None:
    """A relay closes its connections while the server hangs and calls wait."""
    async with relay(server.settings()) as engine:
        await engine.read([])
        with hanging(server):
            calls = [asyncio.create_task(engine.read([])) for _ in range(8)]
            await asyncio.sleep(0.05)
            await engine.close()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in outcomes} == {NotReachedError}


async def test_killed_and_restarted(server: PostgresqlServer, engine: Engine) -> None:
    """A server that a power failure ends is not reachable; leases are gone, policies are not."""
    now = (await engine.read([])).now
    await engine.remove([POLICY])
    assert await engine.put(POLICY, made(now), now, now + MINUTE)
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    await server.admin("CHECKPOINT")
    server.server.kill()
    try:
        while await reads(engine):
            pass  # a process of the server may outlive it for a moment
        assert isinstance(await fault(engine), NotReachedError)
    finally:
        server.start()
    await works(engine)
    assert not await engine.renew(DOMAIN, "a" * 32)
    assert dict((await engine.read([POLICY])).records)


async def test_stopped_by_its_administrator(server: PostgresqlServer, engine: Engine) -> None:
    """A server that is shut down is not reachable, and its last words are kept."""
    server.server.stop(signal.SIGINT)
    assert isinstance(await fault(engine), NotReachedError)
    assert "not reachable" in str(await fault(engine))
    server.start()
    await works(engine)


async def test_a_session_is_ended(server: PostgresqlServer, engine: Engine) -> None:
    """Connections that the administrator ends cost a call at most."""
    await asyncio.gather(*(engine.read([]) for _ in range(8)))
    await server.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mta_sts'"
    )
    await works(engine)


async def test_a_process_is_killed(server: PostgresqlServer, engine: Engine) -> None:
    """The out-of-memory killer makes the server start again; the relay finds it."""
    os.kill(each_process(server)[-1], signal.SIGKILL)
    await works(engine)


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"password": "wrong"}, DeniedError, "password authentication failed for user"),
        ({"password": None}, DeniedError, "empty password|password authentication failed"),
        ({"password": "ä\u20ac{}'\\"}, DeniedError, "password authentication failed"),
        ({"user": "nobody"}, DeniedError, "no pg_hba.conf entry"),
        ({"database": "other"}, DeniedError, "no pg_hba.conf entry"),
        ({"tls": False}, DeniedError, "no pg_hba.conf entry .* no encryption"),
        ({"addresses": (TcpAddress(HOST, 1),)}, NotReachedError, "not reachable: .*refused|1"),
        ({"addresses": (), "path": "/none/.s.PGSQL.5432"}, NotReachedError, "No such file"),
    ],
)
async def test_a_wrong_configuration(
    server: PostgresqlServer, changes: dict[str, object], kind: type[FleetError], reason: str
) -> None:
    """The error says what the server, or the system, says of it."""
    async with relay(server.settings(**changes)) as engine:
        error = await fault(engine)
        assert isinstance(error, kind)
        with pytest.raises(kind, match=reason):
            raise error


async def test_a_certificate_of_another_authority(server: PostgresqlServer) -> None:
    """A server with a certificate that is not trusted gets no password."""
    stranger = Authority().certificate.decode()
    async with relay(replace(server.settings(), authorities=stranger)) as engine:
        error = await fault(engine)
    assert isinstance(error, DeniedError)
    assert "unable to get local issuer certificate" in str(error)


async def test_through_a_unix_socket(server: PostgresqlServer) -> None:
    """A relay on the same machine uses the socket in the server's folder."""
    path = str(server.folder / f".s.PGSQL.{server.port}")
    async with relay(server.settings(addresses=(), path=path, tls=False)) as engine:
        await works(engine)


async def test_read_only(server: PostgresqlServer, engine: Engine) -> None:
    """A server that only reads cannot serve; with its mending the same relay works."""
    setting = f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on"
    await server.admin(setting)
    async with relay(server.settings()) as other:
        error = await fault(other)
        assert isinstance(error, CannotServeError)
        assert "read-only" in str(error)
        (finding,) = (each for each in await other.check() if not each.is_well)
        assert (finding.what, "read-only" in finding.found) == ("rights", True)
        reset = f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only"
        async with server.administration() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(reset)
        await works(other)


async def test_a_standby_that_is_promoted(server: PostgresqlServer, engine: Engine) -> None:
    """A standby cannot serve, and is used once it has become the primary."""
    server.server.stop(signal.SIGINT)
    (server.folder / "data/standby.signal").touch()
    server.start()
    assert isinstance(await fault(engine), NotReachedError | CannotServeError)
    error = await fault(engine)
    assert isinstance(error, CannotServeError)
    assert "read-only" in str(error)
    with pytest.raises(CannotServeError):
        await engine.claim(DOMAIN, "a" * 32)
    await server.admin("SELECT pg_promote()")
    await works(engine)


async def test_starting_up(server: PostgresqlServer, engine: Engine) -> None:
    """A server that starts, and admits nobody yet, cannot serve."""
    server.server.stop(signal.SIGINT)
    standby = server.folder / "data/standby.signal"
    standby.touch()
    server.start("hot_standby = off", is_ready=lambda: True)
    try:
        error = await fault(engine)
        while isinstance(error, NotReachedError):
            await asyncio.sleep(0.05)
            error = await fault(engine)
    finally:
        server.server.kill()
        standby.unlink()
        server.start()
    assert isinstance(error, CannotServeError)
    assert "starting up" in str(error)
    await works(engine)


async def test_too_many_connections(server: PostgresqlServer) -> None:
    """A role that may not connect again cannot be served, and waits for its own connection."""
    await server.admin("ALTER ROLE mta_sts CONNECTION LIMIT 1")
    try:
        async with relay(server.settings()) as one, relay(server.settings()) as other:
            # With one connection all calls are done, one after the other.
            await asyncio.gather(*(one.read([]) for _ in range(20)))
            error = await fault(other)
            assert isinstance(error, CannotServeError)
            assert "too many connections" in str(error)
    finally:
        await server.admin("ALTER ROLE mta_sts CONNECTION LIMIT -1")


async def test_a_table_is_locked(server: PostgresqlServer, engine: Engine) -> None:
    """While somebody locks a table calls end with their time limit; the server gives them up."""
    async with server.administration() as connection, connection.transaction():
        await connection.execute("LOCK TABLE mta_sts.records IN ACCESS EXCLUSIVE MODE")
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(BUDGET):
                    await engine.read([POLICY])
        async with asyncio.timeout(60):
            error = await fault(engine)
        assert "statement_timeout" in str(error)
    await works(engine)


async def test_a_full_disk(server: PostgresqlServer, engine: Engine, tmp_path: Path) -> None:
    """A server without room for rows cannot serve, still reads, and works when there is room."""
    add_small_disk(server)
    await server.admin(
        "CREATE TABLESPACE small LOCATION '/mnt/small'",
        "ALTER TABLE mta_sts.records SET TABLESPACE small",
    )
    now = (await engine.read([])).now
    body = os.urandom(500_000)
    names = [Name(Kind.EXCEPTIONS, f"{number}") for number in range(20)]
    puts = (engine.put(name, made(now, body), now, now + MINUTE) for name in names)
    with pytest.raises(CannotServeError, match="disk full"):
        await asyncio.gather(*puts)
    assert (await engine.read(names)).now > now
    await server.admin(
        "ALTER TABLE mta_sts.records SET TABLESPACE pg_default",
        "ALTER INDEX mta_sts.records_pkey SET TABLESPACE pg_default",
        "TRUNCATE mta_sts.records",
        "DROP TABLESPACE small",
        "CHECKPOINT",
    )
    await works(engine)


def add_small_disk(server: PostgresqlServer) -> None:
    """Mount a disk of four megabytes at /mnt/small for the server."""
    (server.folder / "small").mkdir(exist_ok=True)
    enter = ["nsenter", "--mount", "--target", str(server.server.pid)]
    options = ["-t", "tmpfs", "-o", "size=4m", "none", str(server.tree / "mnt/small")]
    subprocess.run([*enter, "mount", *options], check=True)
    owner = ["chroot", str(server.tree), "chown", "postgres", "/mnt/small"]
    subprocess.run([*enter, *owner], check=True)


async def test_emptied(server: PostgresqlServer, engine: Engine) -> None:
    """A store that somebody has emptied has no records, and takes older ones."""
    now = (await engine.read([])).now
    await engine.remove([POLICY])
    assert await engine.put(POLICY, made(now), now, now + MINUTE)
    await server.empty()
    assert not (await engine.read([POLICY])).records
    assert await engine.put(POLICY, made(now - 1), now - 1, now + MINUTE)


@pytest.fixture
def pooler(server: PostgresqlServer, tmp_path: Path) -> Iterator[PgBouncer]:
    """PgBouncer with one session for all relays, which tries a lost server again soon."""
    lines = ["default_pool_size = 1", "server_login_retry = 0.5"]
    with pgbouncer(tmp_path / "pooler", server, lines) as pooler:
        yield pooler


async def test_pgbouncer_restarts(pooler: PgBouncer) -> None:
    """Relays find a PgBouncer that was killed and started again."""
    async with relay(pooler.settings()) as engine:
        await works(engine)
        pooler.server.kill()
        assert isinstance(await fault(engine), NotReachedError)
        pooler.start()
        await works(engine)


async def test_the_server_behind_pgbouncer_restarts(
    server: PostgresqlServer, pooler: PgBouncer
) -> None:
    """PgBouncer holds calls back while the server is away: they end with their time limit."""
    async with relay(pooler.settings()) as engine:
        await works(engine)
        server.server.kill()
        try:
            while await reads(engine):
                pass  # a process of the server may outlive it for a moment
            assert not await reads(engine)
        finally:
            server.start()
        await works(engine)


async def reads(engine: Engine) -> bool:
    """Whether the relay can read in its time."""
    try:
        async with asyncio.timeout(BUDGET):
            await engine.read([POLICY])
    except (NotReachedError, TimeoutError):
        return False
    return True


async def test_a_wrong_password_for_pgbouncer(pooler: PgBouncer) -> None:
    """PgBouncer's refusal is one, although its SQLSTATE does not say so."""
    async with relay(pooler.settings(password="wrong")) as engine:  # noqa: S106 (a wrong one)
        error = await fault(engine)
    assert isinstance(error, DeniedError)


async def test_relays_share_a_session(pooler: PgBouncer) -> None:
    """Calls of three relays that share one session of the server get each its own answer."""
    async with contextlib.AsyncExitStack() as stack:
        settings = pooler.settings()
        relays = [await stack.enter_async_context(relay(settings)) for _ in range(3)]
        now = (await relays[0].read([])).now
        names = [Name(Kind.POLICY, f"d{number}.example") for number in range(100)]
        await relays[0].remove(names)
        puts = [
            relays[at % 3].put(name, made(7, name.key.encode()), 7, now + 10 * MINUTE)
            for at, name in enumerate(names)
        ]
        assert all(await asyncio.gather(*puts))
        reads = await asyncio.gather(*(relays[at % 3].read([n]) for at, n in enumerate(names)))
        assert [each.records for each in reads] == [{n: made(7, n.key.encode())} for n in names]


async def test_the_check_behind_pgbouncer(pooler: PgBouncer) -> None:
    """The check tells that there is a pooler, and is content with it."""
    async with relay(pooler.settings()) as engine:
        findings = await engine.check()
    assert all(each.is_well for each in findings)
    assert "behind a pooler" in findings[0].found
