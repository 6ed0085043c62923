"""Limits: time, back-pressure, connections, files; on asyncio's loop and on uvloop's."""

import asyncio
import contextlib
import logging
import resource
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.wire import Wire, WireError
from postfix_mta_sts.postfix.server import PEERS_LIMIT
from tests.support.clients import connected, request
from tests.support.server import NOT_FOUND, SECURE, publish_long, serving
from tests.support.surroundings import Surroundings

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


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
        async with asyncio.timeout(10):
            while not connection._is_full:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined] # asyncio's own
        replies = [await client.netstring() for _ in keys]
    assert [reply == NOT_FOUND for reply in replies] == [key != "good.test" for key in keys]


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
        async with asyncio.timeout(5):
            while connection._transport.is_reading():  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)
        waiting = len(connection._requests)
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert 0 < len(connection._requests) == waiting < 20_000
        around.dns.release()
        assert await client.netstring() == NOT_FOUND
        assert [await client.netstring() for _ in range(100_000)] == [SECURE] * 100_000


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
        async with asyncio.timeout(10):
            while True:
                try:
                    async with connected(served.address) as newcomer:
                        assert await newcomer.ask("good.test") == SECURE
                        break
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue


class files_limit:  # noqa: N801 (used as a function is)
    """A limit on open files, for a while."""

    def __init__(self, soft: int) -> None:
        self._soft = soft

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)
