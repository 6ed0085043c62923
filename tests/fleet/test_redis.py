"""What goes wrong with a Redis or a Valkey, and what a relay then says and does."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import pytest

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.engine import LIMITS, Engine, Kind, Name
from postfix_mta_sts.store.fleet.envelope import order_of
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
)
from postfix_mta_sts.store.fleet.redis.scripts import UNREADABLE
from tests.fleet.redis_relays import RedisUnderTest, relay
from tests.fleet.redis_servers import (
    ADMIN,
    HOST,
    PREFIX,
    RELAY,
    RELAY_PASSWORD,
    TLS_LINES,
    Flavour,
    RedisServer,
    redis_server,
    relay_line,
    running,
    sentinel_set,
)
from tests.support.engine_suite import RULES, Rule, made, name_of
from tests.support.tls import Authority

DOMAIN: Final = Domain("example.com")
POLICY: Final = Name(Kind.POLICY, DOMAIN)
MINUTE: Final = 60_000_000
A_BUDGET: Final = 0.25
"""Seconds that a relay has for a store that hangs."""


@pytest.fixture(scope="module", params=list(Flavour))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Each of the two in turn."""
    flavour: Flavour = request.param
    yield from running(flavour, tmp_path_factory.mktemp(flavour), [relay_line()])


@pytest.fixture
async def engine(server: RedisServer) -> AsyncIterator[Engine]:
    """A relay of a server without keys."""
    server.admin("FLUSHALL")
    async with opened(relay(server.port)) as made_:
        yield made_


@contextlib.asynccontextmanager
async def opened(engine: Engine) -> AsyncIterator[Engine]:
    """A relay that is closed in the end."""
    try:
        yield engine
    finally:
        await engine.close()


async def now_of(engine: Engine) -> int:
    """The time of the store."""
    return (await engine.read([])).now


async def keep(engine: Engine, name: Name = POLICY, body: bytes = b"body") -> bytes:
    """Put a record that is newer than any, and return it."""
    now = await now_of(engine)
    record = made(now, body)
    assert await engine.put(name, record, now, now + MINUTE)
    return record


async def works(engine: Engine) -> None:
    """A record is written and read, and a lease is taken and given back."""
    record = await keep(engine)
    assert (await engine.read([POLICY])).records == {POLICY: record}
    assert (await engine.claim(DOMAIN, "a" * 32)).policy == record
    await engine.release(DOMAIN, "a" * 32)


async def use(engine: Engine) -> None:
    """Each method of an engine works once."""
    for kind in Kind:
        await keep(engine, Name(kind, DOMAIN))
    await works(engine)
    await engine.renew(DOMAIN, "a" * 32)
    await engine.note_uses({DOMAIN: 1}, {DOMAIN: 1})
    assert await engine.due(0, 1) == [DOMAIN]
    assert await engine.page(Kind.CHECK, "", 1)
    assert await engine.remove([POLICY, Name(Kind.CHECK, DOMAIN)]) == 2


async def test_two_hundred_writers(server: RedisServer, engine: Engine) -> None:
    """Of 200 records that 20 relays put at the same time, the newest stays."""
    now = await now_of(engine)
    orders = random.Random(1).sample(range(now - 200, now), 200)  # noqa: S311 (no secret)
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(opened(relay(server.port))) for _ in range(20)]
        await asyncio.gather(
            *(relays[o % 20].put(POLICY, made(o), o, now + MINUTE) for o in orders)
        )
    assert (await engine.read([POLICY])).records == {POLICY: made(now - 1)}


async def test_two_hundred_claims(server: RedisServer, engine: Engine) -> None:
    """Of 200 claims of 20 relays at the same time, one has the lease."""
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(opened(relay(server.port))) for _ in range(20)]
        claims = await asyncio.gather(
            *(relays[n % 20].claim(DOMAIN, f"{n:032}") for n in range(200))
        )
    first = min(each.now for each in claims)
    held = [each for each in claims if each.is_held and each.now < first + 3_000_000]
    assert len(held) == 1


async def test_a_server_that_hangs(server: RedisServer, engine: Engine) -> None:
    """A time limit ends a call to a server that hangs; when it goes on, so does the relay."""
    await works(engine)
    server.server.pause()
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(A_BUDGET):
                    await engine.read([POLICY])
    finally:
        server.server.go_on()
    await works(engine)


async def test_a_server_that_was_killed(server: RedisServer, engine: Engine) -> None:
    """While nobody listens a relay says so; the first call after the restart works."""
    await asyncio.gather(*(now_of(engine) for _ in range(20)))  # all connections are open
    await asyncio.to_thread(server.server.kill)
    try:
        with pytest.raises(NotReachedError, match=rf"^{HOST}:{server.port}: .*refused"):
            await now_of(engine)
    finally:
        server.start()
    await works(engine)


async def test_a_restart_is_not_seen(server: RedisServer, engine: Engine) -> None:
    """No call fails because the server was restarted between two calls."""
    await asyncio.gather(*(now_of(engine) for _ in range(20)))
    await asyncio.to_thread(server.restart)
    await works(engine)


@pytest.mark.parametrize(
    ("user", "password"), [(RELAY, "wr0ng"), ("nobody", "wr0ng"), ("default", "wr0ng")]
)
async def test_a_wrong_password(server: RedisServer, user: str, password: str) -> None:
    """A relay with a wrong password says so, and shows none."""
    async with opened(relay(server.port, user=user, password=password)) as engine:
        with pytest.raises(DeniedError, match="refuses the user or the password") as caught:
            await now_of(engine)
    assert password not in str(caught.value)


async def test_a_replica(server: RedisServer, engine: Engine) -> None:
    """A server that became a replica is named as such, and is used again when it is a primary."""
    await works(engine)
    server.admin("REPLICAOF", HOST, 1)
    try:
        with pytest.raises(CannotServeError, match="read-only"):
            await keep(engine)
        with pytest.raises(CannotServeError, match="read-only"):
            await engine.claim(DOMAIN, "a" * 32)
        assert (await engine.read([POLICY])).records
    finally:
        server.admin("REPLICAOF", "NO", "ONE")
    await works(engine)


async def test_out_of_memory(server: RedisServer, engine: Engine) -> None:
    """A server at maxmemory says so to writers, and is still read."""
    record = await keep(engine)
    server.admin("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(CannotServeError, match="out of memory"):
            await keep(engine)
        with pytest.raises(CannotServeError, match="out of memory"):
            await engine.note_uses({DOMAIN: 1}, {})
        assert (await engine.read([POLICY])).records == {POLICY: record}
        await engine.release(DOMAIN, "a" * 32)
    finally:
        server.admin("CONFIG", "SET", "maxmemory", 0)


async def test_a_full_disk(server: RedisServer, engine: Engine) -> None:
    """A server that cannot save refuses to write (MISCONF), and a relay says why."""
    (server.server.folder / "dump.rdb").mkdir()  # a folder is in the way of the file
    server.admin("CONFIG", "SET", "save", "3600 1")
    try:
        server.admin("SET", "other", "value")
        server.admin("BGSAVE")
        server.server.wait_until(
            lambda: server.admin("INFO", "persistence")["rdb_last_bgsave_status"] == "err"
        )
        with pytest.raises(CannotServeError, match="cannot save to its disk"):
            await keep(engine)
        found = {each.what: each for each in await engine.check()}
        assert not found["disk"].is_well
        assert "snapshot failed" in found["disk"].found
    finally:
        server.admin("CONFIG", "SET", "save", "")
        (server.server.folder / "dump.rdb").rmdir()
    await works(engine)


async def test_a_server_that_loads(server: RedisServer, engine: Engine) -> None:
    """A server that reads its data after a restart says so."""
    slow = ("key-load-delay 100000", "loading-process-events-interval-bytes 1024")
    for number in range(200):
        server.admin("SET", f"other{number}", random.randbytes(2000))  # noqa: S311
    server.admin("SAVE")
    server.server.kill()
    try:
        server.start(*slow, until=server.is_loading)
        with pytest.raises(CannotServeError, match="is loading its data"):
            await engine.read([POLICY])
    finally:
        await asyncio.to_thread(server.server.kill)
        (server.server.folder / "dump.rdb").unlink()
        server.start()
    await works(engine)


async def test_scripts_that_the_server_does_not_know(server: RedisServer, engine: Engine) -> None:
    """After SCRIPT FLUSH a relay gives the server its scripts again."""
    await works(engine)
    server.admin("SCRIPT", "FLUSH")
    await works(engine)


NEEDED: Final = [
    word[1:]
    for word in relay_line().split()
    if word.startswith("+") and word != "+select"  # needed for another database only
]


@pytest.mark.parametrize("right", NEEDED)
async def test_each_right_of_the_documentation_is_needed(
    server: RedisServer, engine: Engine, right: str
) -> None:
    """Without any of the rights in docs/fleet.md something fails, and the check names the right."""
    server.admin("ACL", "SETUSER", RELAY, f"-{right}")
    try:
        found = {each.what: each for each in await engine.check()}
        if right == "info":
            assert found["settings"].is_well
        else:
            assert found["rights"].mend.split()[-1] == f"+{right}"
            assert not found["rights"].is_well
    finally:
        server.admin("ACL", "SETUSER", RELAY, f"+{right}")


async def test_too_few_rights(server: RedisServer, engine: Engine) -> None:
    """A relay without a right says which command names it, also when a script needs the right."""
    for right in ("getrange", "set", "evalsha", "zadd"):
        server.admin("ACL", "SETUSER", RELAY, f"-{right}")
        try:
            with pytest.raises(DeniedError, match="fleet check"):
                await use(engine)
        finally:
            server.admin("ACL", "SETUSER", RELAY, f"+{right}")


async def test_other_keys_are_not_accessible(server: RedisServer, engine: Engine) -> None:
    """With the rights for another prefix the check says which keys are needed."""
    server.admin("ACL", "SETUSER", RELAY, "resetkeys", "~other:*")
    try:
        with pytest.raises(DeniedError, match="too few rights"):
            await engine.read([POLICY])
        with pytest.raises(DeniedError, match="too few rights"):
            await engine.claim(DOMAIN, "a" * 32)
        (rights,) = (each for each in await engine.check() if each.what == "rights")
        assert rights.mend.endswith(f"~{PREFIX}:*")
    finally:
        server.admin("ACL", "SETUSER", RELAY, "resetkeys", f"~{PREFIX}:*")


async def test_the_check_leaves_nothing(server: RedisServer, engine: Engine) -> None:
    """The check of all rights leaves no key behind."""
    assert all(each.is_well for each in await engine.check())
    assert server.admin("DBSIZE") == 0


@pytest.mark.parametrize("size", [1 << 20, 100 << 20], ids=["1 MiB", "100 MiB"])
async def test_a_value_that_is_too_large(server: RedisServer, engine: Engine, size: int) -> None:
    """Of a value under a key of ours only as much is transferred as a record may have."""
    for kind in (Kind.POLICY, Kind.CHECK, Kind.RELAY):
        key = f"{PREFIX}:{kind}:{{{DOMAIN}}}"
        server.admin("SETRANGE", key, size - 1, "x")
        await_index = f"{PREFIX}:index:{{{kind}}}"
        server.admin("ZADD", await_index, 0, DOMAIN)
    server.admin("SETRANGE", f"{PREFIX}:lease:{{{DOMAIN}}}", size - 1, "x")
    before = _sent(server)
    for kind in (Kind.POLICY, Kind.CHECK, Kind.RELAY):
        name = Name(kind, DOMAIN)
        (record,) = (await engine.read([name])).records.values()
        assert len(record) == LIMITS[kind] + 1
    assert len((await engine.page(Kind.CHECK, "", 10))[0][1]) == LIMITS[Kind.CHECK] + 1
    claimed = await engine.claim(DOMAIN, "a" * 32)
    assert claimed.is_held  # what is there is no lease: it never ends
    assert len(claimed.policy or b"") == LIMITS[Kind.POLICY] + 1
    await engine.release(DOMAIN, "b" * 32)
    await works(engine)
    assert _sent(server) - before < 400_000
    server.admin("FLUSHALL")


def _sent(server: RedisServer) -> int:
    return int(server.admin("INFO", "stats")["total_net_output_bytes"])


async def test_values_of_other_types(server: RedisServer, engine: Engine) -> None:
    """What is no string under a key of ours is a record that is refused, and is replaced."""
    for kind in ("policy", "lease", "history"):
        server.admin("LPUSH", f"{PREFIX}:{kind}:{{{DOMAIN}}}", "x")
    for key in ("asked:{uses}", "due:{uses}", "index:{check}"):
        server.admin("SET", f"{PREFIX}:{key}", "x")
    assert (await engine.read([POLICY])).records == {POLICY: UNREADABLE}
    assert await engine.due(0, 10) == []
    assert await engine.page(Kind.CHECK, "", 10) == []
    assert not await engine.renew(DOMAIN, "a" * 32)
    await engine.release(DOMAIN, "a" * 32)
    claimed = await engine.claim(DOMAIN, "a" * 32)
    assert (claimed.is_held, claimed.policy) == (True, UNREADABLE)
    await works(engine)
    now = await now_of(engine)
    await keep(engine, Name(Kind.CHECK, DOMAIN))
    await engine.note_uses({DOMAIN: now}, {DOMAIN: now - 1})
    assert await engine.due(0, 10) == [DOMAIN]
    assert len(await engine.page(Kind.CHECK, "", 10)) == 1


async def test_the_order_in_a_header(server: RedisServer, engine: Engine) -> None:
    """The script for `put` reads a header as `envelope.order_of` does, to the last character."""
    seed = random.Random(7)  # noqa: S311 (no secret)
    now = await now_of(engine)
    heads = [made(order) for order in (0, 7, 2**53 - 1, 2**53, 10**15)]
    heads += [b"mta-sts 1 - 5 -\n", b"mta-sts 1 - 5 -", b"mta-sts 1 0123abcd 5 -\nbody"]
    letters = b"0123456789abcdefgABCDEF- \n\0\xff"
    for head in list(heads):
        for _ in range(60):
            changed = bytearray(head[:110])
            at = seed.randrange(min(len(changed), 101))
            changed[at : at + seed.randrange(2)] = bytes(seed.choices(letters, k=seed.randrange(3)))
            heads.append(bytes(changed))
    for number, head in enumerate(heads):
        name = Name(Kind.CHECK, f"d{number}.example")
        server.admin("SET", f"{PREFIX}:check:{{{name.key}}}", head)
        is_kept = await engine.put(name, made(0), 0, now + MINUTE)
        assert is_kept is (order_of(head) is None), head


async def test_a_lease_that_never_ends(server: RedisServer, engine: Engine) -> None:
    """A lease without an end, or with one in an hour, is none."""
    key = f"{PREFIX}:lease:{{{DOMAIN}}}"
    server.admin("SET", key, "somebody")
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    server.admin("SET", key, "somebody", "EX", 3600)
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    server.admin("SET", key, "somebody", "PX", 2900)
    assert not (await engine.claim(DOMAIN, "a" * 32)).is_held


async def test_hostile_members_of_an_index(server: RedisServer, engine: Engine) -> None:
    """Keys in an index that no relay has written leave it, and hide nothing."""
    index = f"{PREFIX}:index:{{check}}"
    server.admin("ZADD", index, 0, b"\0", 0, b"a" * 1_000_000, 0, "a\r\n-ERR", 0, b"\xff\xfe")
    for number in range(300):
        server.admin("ZADD", index, 0, f"gone{number}.example")
    record = await keep(engine, Name(Kind.CHECK, "there.example"))
    assert await engine.page(Kind.CHECK, "", 10) == [("there.example", record)]
    assert server.admin("ZCARD", index) == 1


async def test_hostile_members_of_what_is_due(server: RedisServer, engine: Engine) -> None:
    """What is due and no domain is dropped, and does not hide domains."""
    now = await now_of(engine)
    await engine.note_uses({DOMAIN: now}, {DOMAIN: now - 1})
    for bad in ("a/../b.example", "A.EXAMPLE", "x" * 300, "..", "-", "a\nb", b"\xff"):
        server.admin("ZADD", f"{PREFIX}:asked:{{uses}}", now, bad)
        server.admin("ZADD", f"{PREFIX}:due:{{uses}}", "-inf", bad)
    assert await engine.due(0, 1) in ([], [DOMAIN])
    assert await engine.due(0, 1) == [DOMAIN]


async def test_all_keys_end(server: RedisServer, engine: Engine) -> None:
    """A fleet that is gone leaves no key for ever."""
    for kind in Kind:
        await keep(engine, Name(kind, DOMAIN))
    await engine.claim(DOMAIN, "a" * 32)
    await engine.note_uses({DOMAIN: 1}, {DOMAIN: 1})
    keys = server.admin("KEYS", "*")
    assert len(keys) == len(Kind) + 5
    assert all(key.startswith(b"mta_sts:") for key in keys)
    assert all(server.admin("PTTL", key) > 0 for key in keys)


async def test_the_store_ends_a_record_with_its_policy(server: RedisServer, engine: Engine) -> None:
    """A record's time to live is its end."""
    await keep(engine)
    left = server.admin("PTTL", f"{PREFIX}:policy:{{{DOMAIN}}}")
    assert 0 < left <= MINUTE // 1000


async def test_a_limited_number_of_connections(server: RedisServer, engine: Engine) -> None:
    """A thousand calls at the same time use as many connections as docs/fleet.md says."""
    await asyncio.gather(*(now_of(engine) for _ in range(1000)))
    clients = server.admin("CLIENT LIST", "TYPE", "NORMAL")
    assert sum(each["user"] == RELAY for each in clients) == CONNECTIONS[EngineName.REDIS] == 16


async def test_no_keys_no_scan(server: RedisServer, engine: Engine) -> None:
    """What relays do needs neither KEYS nor SCAN; all that they run is in docs/fleet.md."""
    server.admin("CONFIG", "RESETSTAT")
    await use(engine)
    used = {name.removeprefix("cmdstat_") for name in server.admin("INFO", "commandstats")}
    allowed = {word[1:] for word in relay_line().split() if word.startswith("+")}
    assert used - {"auth", "config|resetstat", "info"} <= allowed | {"flushall"}


async def test_a_unix_socket(server: RedisServer) -> None:
    """A relay on the same machine may use the server's UNIX socket."""
    async with opened(relay(socket=server.socket)) as engine:
        await works(engine)
    async with opened(relay(socket=server.server.folder / "none")) as engine:
        with pytest.raises(NotReachedError, match=r"^unix:/.*No such file"):
            await now_of(engine)


async def test_a_database(server: RedisServer) -> None:
    """A relay uses the database with the number in the URL; one that is not there is named."""
    async with opened(relay(server.port, database=3)) as engine:
        await works(engine)
        assert "db3" in server.admin("INFO", "keyspace")
    async with opened(relay(server.port, database=99)) as engine:
        with pytest.raises(DeniedError, match="no database of this number"):
            await now_of(engine)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA of the store."""
    return Authority()


@pytest.fixture(scope="module", params=list(Flavour))
def tls_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[RedisServer]:
    """A server that speaks TLS only, with a certificate for 127.0.0.1."""
    flavour: Flavour = request.param
    folder: Path = tmp_path_factory.mktemp(f"{flavour}-tls")
    authority.issue(addresses=(HOST,)).write(folder)
    made_ = RedisServer(flavour, folder, (relay_line(), *TLS_LINES), is_tls=True)
    made_.start()
    yield made_
    made_.server.kill()


async def test_tls(tls_server: RedisServer, authority: Authority) -> None:
    """With the CA in ca_file a relay talks TLS."""
    authorities = authority.certificate.decode()
    async with opened(relay(tls_server.tls_port, authorities=authorities)) as engine:
        await works(engine)
        assert all(each.is_well for each in await engine.check())


async def test_a_certificate_of_another_authority(tls_server: RedisServer) -> None:
    """A server whose certificate is not of this CA gets no password."""
    authorities = Authority("Another").certificate.decode()
    async with opened(relay(tls_server.tls_port, authorities=authorities)) as engine:
        with pytest.raises(DeniedError, match=r"TLS: .*certificate"):
            await now_of(engine)


async def test_tls_to_a_server_without_it(server: RedisServer, authority: Authority) -> None:
    """A server that does not speak TLS is named, and the other way round."""
    authorities = authority.certificate.decode()
    async with opened(relay(server.port, authorities=authorities)) as engine:
        with pytest.raises(FleetError):
            await now_of(engine)


async def test_no_tls_to_a_server_with_it(tls_server: RedisServer) -> None:
    """A server that speaks only TLS closes the connection of a relay that does not."""
    async with opened(relay(tls_server.tls_port)) as engine:
        with pytest.raises(NotReachedError):
            await now_of(engine)


def _is_whole(server: RedisServer) -> bool:
    state: dict[str, str] = server.admin("CLUSTER INFO")
    return state["cluster_state"] == "ok"


@pytest.fixture(scope="module", params=list(Flavour))
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """One node that has all slots of a Cluster."""
    flavour: Flavour = request.param
    folder: Path = tmp_path_factory.mktemp(f"{flavour}-cluster")
    for made_ in running(flavour, folder, [relay_line(), "cluster-enabled yes"]):
        made_.admin("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        made_.server.wait_until(partial(_is_whole, made_))
        yield made_


@pytest.mark.parametrize("rule", RULES, ids=name_of)
async def test_a_cluster_of_one_node(rule: Rule, cluster: RedisServer) -> None:
    """A server in cluster mode keeps the rules of a shared store: keys of a script share a slot."""
    async with RedisUnderTest(cluster) as store:
        await rule(store)


async def test_slots_that_no_node_has(cluster: RedisServer) -> None:
    """A key in a slot that no node has is named as a fault of the Cluster."""
    (slot,) = {cluster.admin("CLUSTER", "KEYSLOT", f"{PREFIX}:policy:{{{DOMAIN}}}")}
    cluster.admin("CLUSTER", "DELSLOTS", slot)
    try:
        async with opened(relay(cluster.port)) as engine:
            with pytest.raises(CannotServeError, match="Cluster that is down"):
                await engine.read([POLICY])
    finally:
        cluster.admin("CLUSTER", "ADDSLOTS", slot)


class ClusterUnderTest(RedisUnderTest):
    """Three nodes without keys, of which relays know one each; see `StoreUnderTest`."""

    def __init__(self, nodes: Sequence[RedisServer]) -> None:
        super().__init__(nodes[0])
        self._nodes = nodes

    async def __aenter__(self) -> Self:
        for each in self._nodes:
            each.admin("FLUSHALL")
        return self

    async def open(self) -> Engine:
        """Connect one more relay, to the next node."""
        self._engines.append(relay(self._nodes[len(self._engines) % 3].port))
        return self._engines[-1]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[RedisServer]]:
    """Three nodes that have a third of the slots each."""
    lines = [relay_line(), "cluster-enabled yes"]
    folder = tmp_path_factory.mktemp("nodes")
    start = contextlib.contextmanager(running)
    with contextlib.ExitStack() as stack:
        made_ = [stack.enter_context(start(Flavour.VALKEY, folder / n, lines)) for n in "abc"]
        for number, each in enumerate(made_):
            last = 16383 if number == 2 else number * 5461 + 5460
            each.admin("CLUSTER", "ADDSLOTSRANGE", number * 5461, last)
            each.admin("CLUSTER", "MEET", HOST, made_[0].port, made_[0].bus_port)
        for each in made_:
            each.server.wait_until(partial(_is_whole, each))
        yield made_


@pytest.mark.parametrize("rule", RULES, ids=name_of)
async def test_a_cluster_of_three_nodes(rule: Rule, nodes: Sequence[RedisServer]) -> None:
    """A Cluster of several nodes keeps the rules, whichever node a relay knows."""
    async with ClusterUnderTest(nodes) as store:
        await rule(store)


@pytest.mark.parametrize("how", ["killed", "hangs", "demoted"])
@pytest.mark.parametrize("flavour", list(Flavour))
async def test_failover(flavour: Flavour, how: str, tmp_path: Path) -> None:
    """After a failover by Sentinel a relay writes to the new primary, within a few calls."""
    with sentinel_set(flavour, tmp_path, [relay_line()]) as fleet:
        ports = [each.port for each in fleet.sentinels]
        async with opened(relay(*ports, sentinel=fleet.name)) as engine:
            await works(engine)
            old, new = fleet.servers
            assert fleet.primary() is old
            if how == "killed":
                old.server.kill()
            elif how == "hangs":
                old.server.pause()
            else:
                fleet.sentinels[0].ask("FAILOVER", fleet.name)
            async with asyncio.timeout(60):
                while not await _is_served_by(engine, new):  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.05)
            await works(engine)


async def _is_served_by(engine: Engine, server: RedisServer) -> bool:
    """Try a write for as long as a relay would; tell whether it reached this server."""
    try:
        async with asyncio.timeout(A_BUDGET):
            await keep(engine)
    except (FleetError, TimeoutError):
        return False
    return bool(server.admin("ROLE")[0] == b"master")


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_sentinels_that_do_not_answer(flavour: Flavour, tmp_path: Path) -> None:
    """Of three Sentinels one hangs and one is gone: a relay finds the primary in its time."""
    with sentinel_set(flavour, tmp_path, [relay_line()]) as fleet:
        fleet.sentinels[0].server.pause()
        fleet.sentinels[1].server.kill()
        ports = [each.port for each in fleet.sentinels]
        async with opened(relay(*ports, sentinel=fleet.name)) as engine, asyncio.timeout(30):
            await works(engine)
        async with opened(relay(ports[2], sentinel="another")) as engine:
            with pytest.raises(CannotServeError, match="knows no primary 'another'"):
                await now_of(engine)
        fleet.sentinels[2].server.kill()
        async with opened(relay(*ports[1:], sentinel=fleet.name)) as engine:
            with pytest.raises(NotReachedError, match=r"127\.0\.0\.1.*refused"):
                await now_of(engine)


async def test_no_password_is_needed_but_given(tmp_path: Path) -> None:
    """A server without a password for its user refuses the login, and no password is shown."""
    flavour = Flavour.REDIS
    lines = ["user default on nopass ~* &* +@all"]
    with redis_server(flavour, tmp_path, lines) as open_server:
        async with opened(relay(open_server.port, user="nobody")) as engine:
            with pytest.raises(DeniedError) as caught:
                await now_of(engine)
        assert RELAY_PASSWORD not in str(caught.value)
        assert ADMIN not in str(caught.value)
