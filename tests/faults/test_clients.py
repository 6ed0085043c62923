"""Faults B12, B14 and D7: what one client does costs no other client anything."""

import asyncio
import json
import logging
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from postfix_mta_sts.config import settings as config
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.resolver.fairness import Owner
from tests.support.clients import Address, Client, connected, request
from tests.support.daemons import Process, process, secure, until
from tests.support.dns import Fault
from tests.support.files import files_limit
from tests.support.internet import Internet, internet
from tests.support.policy_host import black_hole
from tests.support.proxy import ConnectProxy
from tests.support.server import (
    NOT_FOUND,
    SECURE,
    RunningServer,
    publish_long_policy,
    serving,
    wait_until,
)
from tests.support.surroundings import Surroundings

CLIENTS, DOMAINS = 2_000, 200
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The begin of a TLS ClientHello."""


@pytest.fixture
def around() -> Surroundings:
    """Fake sources in which good.test has a policy."""
    around = Surroundings()
    around.publish()
    return around


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An empty Internet."""
    async with internet(tmp_path) as net:
        yield net


def lines(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    """The log lines of an event."""
    return [m for r in caplog.records if (m := r.getMessage()).startswith(what)]


async def exchange(served: RunningServer, data: bytes) -> bytes:
    """Send this over a new connection, and return all that comes until it is closed."""
    async with connected(served.address) as client:
        client.send(data)
        return await client.reader.read()


OTHER_PROTOCOL = "client speaks another protocol than the listener, mail is deferred"


async def test_a_socketmap_client_at_a_tcp_table_listener(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered at once, in its own protocol, with a reason that Postfix logs (D7)."""
    async with serving(around, tcp_table) as served:
        reply = await exchange(served, b"17:postfix good.test,")
        address = "{}:{}".format(*served.address)
    hint = f"write tcp:{address} in main.cf"
    text = f"TEMP {hint}: this listener speaks tcp_table"
    assert reply == b"%d:%b," % (len(text), text.encode())
    assert lines(caplog, "") == [
        (
            f"{OTHER_PROTOCOL} client=socketmap listener=tcp_table address={address}"
            f' hint="{hint}" peer=127.0.0.1 count=1'
        )
    ]
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


async def test_a_tcp_table_client_at_a_socketmap_listener(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets a line that Postfix logs as malformed; it does not connect ten times (D7)."""
    async with serving(around) as served:
        reply = await exchange(served, b"get good.test\n")
        hint = "write socketmap:inet:{}:{}:postfix in main.cf".format(*served.address)
    assert reply == f"{hint}: this listener speaks socketmap\n".encode()
    assert len(reply) <= 100
    (line,) = lines(caplog, OTHER_PROTOCOL)
    assert f" client=tcp_table listener=socketmap address=127.0.0.1:{served.address[1]} " in line
    assert f' hint="{hint}" ' in line


@pytest.mark.parametrize("wire", [socketmap, tcp_table])
@pytest.mark.parametrize(
    ("data", "protocol"),
    [(HELLO, "TLS"), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP"), (b"EHLO a.test\r\n", "SMTP")],
)
async def test_a_client_of_another_service(
    around: Surroundings,
    caplog: pytest.LogCaptureFixture,
    wire: Wire,
    data: bytes,
    protocol: str,
) -> None:
    """It is closed at once, and named in the log, which does not warn of it (D7)."""
    caplog.set_level(logging.INFO)
    async with serving(around, wire) as served:
        for _ in range(3):
            await exchange(served, data)
    (line,) = lines(caplog, "")
    assert line.startswith(f"not a Postfix map client client={protocol} ")


async def test_a_wrong_protocol_on_unix_sockets(net: Internet, tmp_path: Path) -> None:
    """The warning names the socket; the daemon still answers those that do it right (D7)."""
    net.publish("good.test")
    async with process(tmp_path, net.config(tmp_path, {"log": {"format": "json"}})) as served:
        await served.start()
        async with connected(served.tcp_table) as client:
            client.send(request("good.test"))
            assert (await client.netstring()).startswith(b"TEMP ")
        async with connected(served.socketmap) as client:
            assert b"socketmap:unix:" in await client.get("good.test")
        assert (await served.ask("good.test")).startswith(b"OK secure ")
        assert (await served.get("good.test")).startswith(b"200 secure")
        assert await served.stop() == 0
    warnings = [w for w in map(json.loads, served.log.splitlines()) if w["event"] == OTHER_PROTOCOL]
    assert [(w["client"], w["listener"], w["hint"]) for w in warnings] == [
        ("socketmap", "tcp_table", f"write socketmap: unix:{served.tcp_table} in listen"),
        ("tcp_table", "socketmap", f"write socketmap:unix:{served.socketmap}:postfix in main.cf"),
    ]


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> int:
    """A small limit of attempts for daemons in this process."""
    monkeypatch.setattr("postfix_mta_sts.daemon.assembly.ATTEMPTS_LIMIT", 40)
    return 40


@asynccontextmanager
async def listening(net: Internet, folder: Path, listen: str) -> AsyncIterator[Address]:
    """A daemon with one socketmap at this address; names without records are not answered."""
    net.dns.default = Fault.SILENCE
    options = net.options(folder) | {"listen": [{"socketmap": listen}]}
    settings = config.parse(json.dumps(options), "test")
    async with running(settings, {}, https_port=net.hosts.port) as daemon:
        ((_, sock),) = daemon.listeners.sockets
        name = sock.getsockname()
        yield Path(name) if isinstance(name, str) else name


@pytest.mark.parametrize("transport", ["TCP", "UNIX"])
async def test_new_names_without_end(
    net: Internet, tmp_path: Path, few_attempts: int, transport: str
) -> None:
    """The limit of attempts is taken by one client; a new domain of another is found (B12)."""
    net.publish("good.test")
    listen = "127.0.0.1:0" if transport == "TCP" else f"unix:{tmp_path / 's'}"
    async with listening(net, tmp_path, listen) as address, AsyncExitStack() as stack:
        for n in range(2 * few_attempts):
            client = await stack.enter_async_context(connected(address))
            client.send(request(f"slow{n}.test"))
        await until(lambda: net.queries(f"slow{2 * few_attempts - 1}.test") > 0)
        other = await stack.enter_async_context(connected(address))
        assert await other.ask("good.test") == secure("good.test")


async def test_an_address_that_never_stops_asking(
    net: Internet, tmp_path: Path, few_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new domain of another address is found while the flood goes on (B12)."""
    monkeypatch.setattr("postfix_mta_sts.postfix.client._host", Owner)  # 127.0.0.2 is another
    domains = [f"good{n}.test" for n in range(10)]
    for domain in domains:
        net.publish(domain)
    async with listening(net, tmp_path, "127.0.0.1:0") as address:
        assert isinstance(address, tuple)
        enough = asyncio.Event()
        flooding = asyncio.create_task(flood(address, enough), name="flood")
        await until(lambda: net.dns.queries.total > few_attempts)
        for domain in domains:
            async with connected(address) as client:
                assert await client.ask(domain) == secure(domain)
        enough.set()
        await flooding


async def flood(address: tuple[str, int], enough: asyncio.Event) -> None:
    """Ask for one new name after the other, each over a connection that is then closed."""
    for n in count():
        if enough.is_set():
            return
        _, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0))
        writer.write(request(f"flood{n}.test"))
        await asyncio.sleep(0.002)
        writer.transport.abort()


async def test_connections_beyond_the_limit(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    """Hundreds of closed connections are one log line, and a new client is answered (B14)."""
    caplog.set_level(logging.INFO)
    async with serving(around, limit=10) as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.address)) for _ in range(300)]
        assert await clients[-1].ask("good.test") == SECURE
        assert served.server.connections == 10
    (line,) = lines(caplog, "connection limit reached")
    assert line == "connection limit reached limit=10 peer=loopback count=1"


async def test_a_flood_of_requests_takes_little_memory(around: Surroundings) -> None:
    """What a client sends without waiting is kept as bytes, and mostly not read (B7)."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        around.dns.hold()
        client.send(request("slow.test") + b"11:postfix .a," * 500_000)
        connection = served.first_connection
        await wait_until(lambda: not connection._transport.is_reading())
        assert len(connection._frames._ready) < 100
        assert connection._frames.size < 1_000_000
        around.dns.release()


async def test_clients_that_take_the_memory_of_all(
    around: Surroundings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that do not read are closed when all keep too much; one that reads is not."""
    monkeypatch.setattr("postfix_mta_sts.postfix.connections.KEPT_LIMIT", 300_000)
    publish_long_policy(around)
    async with serving(around) as served, AsyncExitStack() as stack:
        good, *deaf = [
            await stack.enter_async_context(connected(served.address)) for _ in range(20)
        ]
        await good.ask("good.test")
        for client in deaf:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own
            client.send(request("good.test") * 2_000)
        await wait_until(lambda: served.server.connections < 15)
        assert len(await good.ask("good.test")) > 40_000
        assert served.server._connections._kept < 600_000
    assert len(lines(caplog, "too many unanswered requests")) == 1


async def test_clients_whose_long_requests_wait(
    around: Surroundings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request counts as kept also while its look-up is under way."""
    monkeypatch.setattr("postfix_mta_sts.postfix.connections.KEPT_LIMIT", 300_000)
    around.dns.hold()
    async with serving(around) as served, AsyncExitStack() as stack:
        for _ in range(20):
            client = await stack.enter_async_context(connected(served.address))
            client.send(b"9910:" + b"p" * 9_900 + b" slow.test,")
        await wait_until(lambda: served.server.connections < 15)
        assert served.server._connections._kept < 600_000
        around.dns.release()
    assert len(lines(caplog, "too many unanswered requests")) == 1


async def test_a_shutdown_with_2000_look_ups_under_way(net: Internet, tmp_path: Path) -> None:
    """The look-ups are answered; handshakes that are cut off leave no ERROR line (B14)."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 12_000:
        pytest.skip("this machine does not allow 12,000 files")
    with files_limit(12_000), black_hole() as port:
        async with ConnectProxy(port) as proxy, AsyncExitStack() as stack:
            changes = {"https": {"proxy": proxy.url}, "lookup": {"timeout": "1s"}}
            file = net.config(tmp_path, changes)
            served = await stack.enter_async_context(process(tmp_path, file))
            await served.start()
            clients = await asking(net, served, stack)
            await until(lambda: len(proxy.heads) > 10)
            assert await served.stop() == 0
            assert {await client.netstring() for client in clients} == {NOT_FOUND}
    for word in ("ERROR", "Traceback", "never retrieved"):
        assert word not in served.log


async def asking(net: Internet, served: Process, stack: AsyncExitStack) -> Sequence[Client]:
    """Clients that each have asked for one of many domains."""
    for n in range(DOMAINS):
        net.publish(f"d{n}.test")
    clients = [await stack.enter_async_context(connected(served.socketmap)) for _ in range(CLIENTS)]
    for n, client in enumerate(clients):
        assert await client.ask("[192.0.2.1]") == NOT_FOUND  # it is accepted
        client.send(request(f"d{n % DOMAINS}.test"))
    return clients
