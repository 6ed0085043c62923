"""Connections: order, back-pressure, limits, drain; on asyncio's loop and on uvloop's."""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire, WireError
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.postfix.server import PEERS_LIMIT, Server
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from tests.support.clients import connected, request
from tests.support.surroundings import GOOD, Surroundings, found

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "


pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


@pytest.fixture
def around() -> Surroundings:
    """Surroundings in which good.test has a policy."""
    around = Surroundings()
    around.publish()
    return around


def publish_long(around: Surroundings) -> None:
    """Let good.test have a policy with a reply of 50 KB."""
    mx = "".join(f"mx: mx{n}.good.test\n" for n in range(3_000))
    text = f"version: STSv1\nmode: enforce\nmax_age: 600\n{mx}"
    around.records[GOOD] = found()
    around.policies[GOOD] = parse_policy(text.encode())


class Served:
    """A server with one listener, and its parts."""

    def __init__(self, server: Server, resolver: Resolver, address: tuple[str, int]) -> None:
        self.server = server
        self.resolver = resolver
        self.address = address

    async def connections(self, number: int) -> None:
        """Return once there are so many connections."""
        async with asyncio.timeout(60):
            while self.server.connections != number:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    limit: int = 100,
    timeout: float = 30.0,  # noqa: ASYNC109 (the clients' time)
    counters: Counters | None = None,
) -> AsyncIterator[Served]:
    """A server on a free port."""
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=10_000)
    answers = ReplyCache(wire, reply_format, resolver, lambda: around.now, entries=10_000)
    server = Server(limit=limit, timeout=timeout, counters=counters)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await server.listen(sock, answers)
    try:
        yield Served(server, resolver, sock.getsockname())
    finally:
        await server.drain(0)
        await resolver.close()


async def test_one_request_at_a_time(around: Surroundings) -> None:
    """Postfix's way: the same connection, look-up after look-up."""
    async with serving(around) as served, connected(served.address) as client:
        replies = [await client.ask(key) for key in ("good.test", ".good.test", "good.test")]
    assert replies == [SECURE, NOT_FOUND, SECURE]


async def test_tcp_table(around: Surroundings) -> None:
    """The other wire, with the same answers."""
    async with serving(around, tcp_table) as served, connected(served.address) as client:
        assert await client.get("good.test") == (
            b"200 secure%20match=mx1.good.test%20servername=hostname"
        )
        assert await client.get("absent.test") == b"500 not%20found"


async def test_pipelined_requests_are_answered_in_order(around: Surroundings) -> None:
    """Known and unknown domains in one stream, cut anywhere: replies keep the order."""
    keys = [k for n in range(50) for k in ("good.test", f"new{n}.test", ".x", "good.test")]
    expected = [SECURE if key == "good.test" else NOT_FOUND for key in keys]
    stream = b"".join(map(request, keys))
    async with serving(around) as served, connected(served.address) as client:
        for start in range(0, len(stream), 333):
            client.send(stream[start : start + 333])
            await client.writer.drain()
        assert [await client.netstring() for _ in keys] == expected


async def test_while_a_reply_is_found_nothing_is_answered_before_it(around: Surroundings) -> None:
    """A remembered reply does not overtake one that is being looked for."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        around.dns.hold()
        client.send(request("slow.test") + request("good.test"))
        await around.queries.reached(parse_domain("slow.test"))
        client.send(request("good.test"))
        around.dns.release()
        replies = [await client.netstring() for _ in range(3)]
    assert replies == [NOT_FOUND, SECURE, SECURE]


async def test_a_remembered_request_within_another_one(around: Surroundings) -> None:
    """Bytes equal to a remembered request are not one in the middle of a frame (smuggling)."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        inner = request("good.test")
        client.send(b"%d:postfix " % (8 + len(inner)))
        await served.connections(1)
        await asyncio.sleep(0.01)  # so that the inner bytes come in a read of their own
        client.send(inner)
        await asyncio.sleep(0.01)
        client.send(b",")
        assert await client.netstring() == NOT_FOUND


@pytest.mark.parametrize(
    ("wire", "known", "longer"),
    [
        (socketmap, b"17:postfix good.test,", b"20:postfix good.test.xy,"),
        (tcp_table, b"get good.test\n", b"get good.testing\n"),
    ],
)
async def test_a_request_cut_where_a_cached_one_ends(
    around: Surroundings, wire: Wire, known: bytes, longer: bytes
) -> None:
    """A request split over two reads never gets the reply of a shorter, cached one."""
    cut = len(longer) - 4 if wire is tcp_table else len(known) - 1
    async with serving(around, wire) as served, connected(served.address) as client:
        first = await (client.ask if wire is socketmap else client.get)("good.test")
        client.send(known + known + longer[:cut])
        read = client.netstring if wire is socketmap else client.line
        assert [await read(), await read()] == [first, first]
        client.send(longer[cut:])
        assert await read() == (NOT_FOUND if wire is socketmap else b"500 not%20found")


async def test_a_slow_look_up_delays_no_other_client(around: Surroundings) -> None:
    """Other connections are answered meanwhile."""
    async with serving(around) as served, AsyncExitStack() as stack:
        slow, fast = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        await fast.ask("good.test")
        around.dns.hold()
        slow.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        assert await fast.ask("good.test") == SECURE
        around.dns.release()
        assert await slow.netstring() == NOT_FOUND


async def test_a_client_that_goes_away(around: Surroundings) -> None:
    """Its look-up is dropped; the attempt goes on, for those who ask next."""
    async with serving(around) as served:
        around.https.hold()
        async with connected(served.address) as client:
            client.send(request("good.test"))
            await around.gets.reached(GOOD)
        around.https.release()
        await served.connections(0)
        async with connected(served.address) as client:
            assert await client.ask("good.test") == SECURE
    assert around.gets.total == 1


async def test_what_is_asked_behind_a_look_up_waits(around: Surroundings) -> None:
    """Who asks one at a time is never stopped; who asks on is, after what one read brings."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        around.dns.hold()
        client.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        (connection,) = served.server._connections
        assert connection._transport.is_reading()
        client.send(request("good.test") * 100_000)
        async with asyncio.timeout(60):
            while connection._transport.is_reading():  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)
        waiting = len(connection._requests)
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert 0 < len(connection._requests) == waiting < 20_000
        around.dns.release()
        assert await client.netstring() == NOT_FOUND
        assert [await client.netstring() for _ in range(100_000)] == [SECURE] * 100_000


async def test_end_of_requests_is_not_the_end_of_replies(around: Surroundings) -> None:
    """A client that shuts down its side still gets what it asked for."""
    async with serving(around) as served, connected(served.address) as client:
        around.dns.hold()
        client.send(request("good.test") + request("good.test"))
        client.writer.write_eof()
        await around.queries.reached(GOOD)
        around.dns.release()
        assert [await client.netstring(), await client.netstring()] == [SECURE, SECURE]
        assert await client.closed()


async def test_a_fault_of_our_own(around: Surroundings, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in an answer costs its connection, not the others, and is in the log."""

    def faulty(name: str) -> ReplyFormat:
        raise ZeroDivisionError(name)

    async with serving(around, reply_format=faulty) as served, AsyncExitStack() as stack:
        unlucky, other = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        unlucky.send(request("good.test"))
        assert await unlucky.closed()
        assert await other.ask(".good.test") == NOT_FOUND
    assert [r.exc_info is not None for r in caplog.records] == [True]


@pytest.mark.parametrize(
    ("wire", "garbage", "refusal"),
    [
        (socketmap, b"GET / HTTP/1.0\r\n\r\n", b"20:TEMP not a netstring,"),
        (socketmap, b"7:postfix,", b"33:TEMP a request without a map name,"),
        (socketmap, b"10001:", b"49:TEMP a request of 10001 bytes; the limit is 10000,"),
        (tcp_table, b"put a b\n", b"400 not%20a%20get%20request\n"),
        (tcp_table, b"x" * 5000, b"400 a%20line%20of%20more%20than%204096%20bytes\n"),
    ],
)
async def test_garbage_is_refused(
    around: Surroundings,
    caplog: pytest.LogCaptureFixture,
    wire: Wire,
    garbage: bytes,
    refusal: bytes,
) -> None:
    """With a word of what was wrong, and the end; counted, logged once a peer, without a byte."""
    caplog.set_level(logging.INFO)
    counters = Counters()
    async with serving(around, wire, counters=counters) as served:
        for _ in range(3):
            async with connected(served.address) as client:
                await served.connections(1)
                client.send(garbage)
                assert await client.reader.read() == refusal
            await served.connections(0)
    assert counters.refused == 3
    assert sum("malformed request" in r.getMessage() for r in caplog.records) == 1
    assert garbage.decode() not in caplog.text


async def test_half_a_frame(around: Surroundings) -> None:
    """A client that begins a request and does not end it is closed after a while."""
    async with serving(around, timeout=0.05) as served, connected(served.address) as client:
        client.send(request("good.test")[:-1])
        assert await client.closed()


async def drip(client: socket.socket) -> None:
    """Send a byte every now and then, until the other side has had enough."""
    while True:
        client.send(b"a")
        await asyncio.sleep(0.001)


async def test_dripping_does_not_help(around: Surroundings) -> None:
    """The time counts from the request's beginning, not from its last byte."""
    async with serving(around, timeout=0.05) as served:
        with socket.create_connection(served.address) as client:
            client.send(b"9000:")
            with pytest.raises(ConnectionError):
                await drip(client)
        await served.connections(0)


@pytest.mark.parametrize("wire", [socketmap, tcp_table])
async def test_silent_clients_stay(around: Surroundings, wire: Wire) -> None:
    """An idle connection is not closed for being idle, least of all a tcp_table's."""
    async with serving(around, wire, timeout=0.01) as served, connected(served.address) as client:
        ask = client.get if wire is tcp_table else client.ask
        await ask("good.test")
        await asyncio.sleep(0.05)
        assert b"mx1.good.test" in await ask("good.test")


async def test_a_client_that_never_reads(around: Surroundings) -> None:
    """Is stopped by back-pressure, and closed after a while; others do not notice."""
    publish_long(around)
    async with serving(around, timeout=0.2) as served, AsyncExitStack() as stack:
        deaf, other = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        await other.ask("good.test")
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own
        deaf.send(request("good.test") * 10_000)  # 500 MB of replies, were they all made
        await served.connections(2)
        for _ in range(20):
            await other.ask("good.test")
        (connection, *_) = served.server._connections
        assert connection._transport.get_write_buffer_size() < 1_000_000
        await served.connections(1)


async def test_a_client_that_reads_late(around: Surroundings) -> None:
    """Gets every reply, in order: what was held back is answered once there is room."""
    publish_long(around)
    keys = [key for n in range(500) for key in ("good.test", f"new{n}.test")]
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        (connection,) = served.server._connections
        client.reader._transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own
        client.send(b"".join(map(request, keys)))
        async with asyncio.timeout(60):
            while not connection._is_full:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined] # asyncio's own
        replies = [await client.netstring() for _ in keys]
    assert [reply == NOT_FOUND for reply in replies] == [key != "good.test" for key in keys]


async def test_peers_are_not_remembered_for_ever(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage from ever new addresses takes no more than so much memory."""
    caplog.set_level(logging.INFO)
    async with serving(around) as served:
        for n in range(PEERS_LIMIT + 5):
            served.server.malformed((f"peer{n}", 1), WireError("not a netstring"))
        assert len(served.server._quiet_until) == PEERS_LIMIT
    assert len(caplog.records) == PEERS_LIMIT + 5


async def test_5000_idle_connections(around: Surroundings) -> None:
    """New clients are served all the same."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 11_000:
        pytest.skip("this machine does not allow 11,000 files")
    with files_limit(11_000):
        async with serving(around, limit=6_000) as served:
            with contextlib.ExitStack() as idle:
                for n in range(1, 5_001):
                    idle.enter_context(socket.create_connection(served.address))
                    if n % 500 == 0:  # within the backlog
                        await served.connections(n)
                async with connected(served.address) as client:
                    assert await client.ask("good.test") == SECURE


async def test_the_limit_of_connections(around: Surroundings) -> None:
    """At the limit the oldest idle connection makes room, and a busy one does not."""
    async with serving(around, limit=2) as served, AsyncExitStack() as stack:
        around.dns.hold()
        busy, idle = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        busy.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        await served.connections(2)
        newcomer = await stack.enter_async_context(connected(served.address))
        assert await idle.closed()
        around.dns.release()
        assert await newcomer.ask("good.test") == SECURE
        assert await busy.netstring() == NOT_FOUND


async def test_tcp_table_clients_are_not_sent_away(around: Surroundings) -> None:
    """At the limit the newcomer goes: a tcp_table client takes a second and more to come back."""
    async with serving(around, tcp_table, limit=1) as served, AsyncExitStack() as stack:
        first = await stack.enter_async_context(connected(served.address))
        await first.get("absent.test")
        second = await stack.enter_async_context(connected(served.address))
        assert await second.closed()
        assert await first.get("absent.test") == b"500 not%20found"


async def test_out_of_files(around: Surroundings) -> None:
    """When no more files can be opened, those connected are served, and others afterwards."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        waiting = [socket.socket() for _ in range(3)]
        with files_limit(max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 1):
            for sock in waiting:
                sock.connect(served.address)
            for _ in range(10):
                assert await client.ask("good.test") == SECURE
        for sock in waiting:
            sock.close()
        async with asyncio.timeout(60):
            while True:
                try:
                    async with connected(served.address) as newcomer:
                        assert await newcomer.ask("good.test") == SECURE
                        break
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue


async def test_drain_answers_what_was_asked(around: Surroundings) -> None:
    """Nobody who asked before the end goes without a reply; idle clients are closed."""
    async with serving(around) as served, AsyncExitStack() as stack:
        idle, *busy = [
            await stack.enter_async_context(connected(served.address)) for _ in range(20)
        ]
        await idle.ask("good.test")
        around.dns.hold()
        for client in busy:
            client.send(request("slow.test") + request("good.test"))
        await around.queries.reached(parse_domain("slow.test"))
        draining = asyncio.create_task(served.server.drain(10))
        assert await idle.closed()
        around.dns.release()
        for client in busy:
            assert [await client.netstring(), await client.netstring()] == [NOT_FOUND, SECURE]
            assert await client.closed()
        await draining
        with pytest.raises(OSError):
            await asyncio.open_connection(*served.address)


async def test_drain_has_an_end(around: Surroundings, caplog: pytest.LogCaptureFixture) -> None:
    """Past its deadline what is not answered is closed, and logged."""
    async with serving(around) as served, connected(served.address) as client:
        around.dns.hold()
        client.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        await served.server.drain(0)
        assert await client.closed()
    assert any("connections closed without a reply" in r.getMessage() for r in caplog.records)


async def test_10000_look_ups_of_silent_domains(around: Surroundings) -> None:
    """All are answered when the DNS gives up."""
    async with serving(around) as served, AsyncExitStack() as stack:
        around.dns.hold()
        clients = [await stack.enter_async_context(connected(served.address)) for _ in range(50)]
        for n, client in enumerate(clients):
            client.send(b"".join(request(f"silent{n}-{m}.test") for m in range(200)))
        await around.queries.total_reached(50)
        around.dns.release()
        for client in clients:
            assert {await client.netstring() for _ in range(200)} == {NOT_FOUND}


async def test_unix_socket(around: Surroundings, tmp_path: Path) -> None:
    """The same over a UNIX socket."""
    async with serving(around) as served:
        path = tmp_path / "s"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        answers = ReplyCache(
            socketmap, lambda _: PLAIN, served.resolver, lambda: around.now, entries=9
        )
        await served.server.listen(sock, answers)
        async with connected(path) as client:
            assert await client.ask("good.test") == SECURE
        async with connected(path) as client:
            client.send(b"garbage")
            assert await client.netstring() == b"TEMP not a netstring"


class files_limit:  # noqa: N801 (used as a function is)
    """A limit on open files, for a while."""

    def __init__(self, soft: int) -> None:
        self._soft = soft

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)
