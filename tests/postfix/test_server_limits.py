"""Limits of the server: time, back-pressure, connections, files; on asyncio's loop and uvloop's."""

import asyncio
import contextlib
import resource
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.wire import Wire
from tests.support.clients import Client, connected, request
from tests.support.files import files_limit
from tests.support.server import (
    LONG_TIME,
    NOT_FOUND,
    SECURE,
    publish_long_policy,
    serving,
    wait_until,
)
from tests.support.surroundings import Surroundings

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_an_incomplete_request_times_out(around: Surroundings) -> None:
    """A client that begins a request and does not complete it is closed."""
    async with serving(around, timeout=0.05) as served, connected(served.address) as client:
        client.send(request("good.test")[:-1])
        assert await client.closed()


async def send_slowly(client: socket.socket) -> None:
    """Send one byte at a time, until the connection is closed."""
    while True:
        client.send(b"a")
        await asyncio.sleep(0.001)


async def test_a_request_sent_byte_by_byte_times_out(around: Surroundings) -> None:
    """The timeout counts from the start of the request, not from its last byte."""
    async with serving(around, timeout=0.05) as served:
        with socket.create_connection(served.address) as client:
            client.send(b"9000:")
            with pytest.raises(ConnectionError):
                await send_slowly(client)
        await served.wait_for_connections(0)


async def test_further_bytes_do_not_restart_the_timeout(around: Surroundings) -> None:
    """A complete request does: the incomplete one after it has the whole time."""
    async with serving(around) as served, connected(served.address):
        await served.wait_for_connections(1)
        connection = served.first_connection
        connection.data_received(b"17:postfix ")
        first = connection._timer
        connection.data_received(b"good")
        assert first
        assert connection._timer is first
        connection.data_received(b".test,17:")
        assert connection._timer is not first
        assert first.cancelled()


@pytest.mark.parametrize("wire", [socketmap, tcp_table])
async def test_idle_clients_are_not_closed(around: Surroundings, wire: Wire) -> None:
    """An idle connection has no timeout; a tcp_table client never closes its own."""
    async with serving(around, wire, timeout=0.01) as served, connected(served.address) as client:
        ask = client.get if wire is tcp_table else client.ask
        await ask("good.test")
        await asyncio.sleep(0.05)  # timers run in the order of their times: one of 10 ms is over
        assert b"mx1.good.test" in await ask("good.test")


def stop_reading(client: Client) -> None:
    """Let the replies to this client pile up in the sockets."""
    client.reader._transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own


async def test_a_client_that_does_not_read_is_held_back(around: Surroundings) -> None:
    """Its replies take little memory, and other clients are answered meanwhile."""
    publish_long_policy(around)
    async with serving(around) as served, AsyncExitStack() as stack:
        deaf, other = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        await other.ask("good.test")
        stop_reading(deaf)
        deaf.send(request("good.test") * 10_000)  # all replies together have 500 MB
        connection = served.first_connection
        await wait_until(lambda: connection._is_full)
        for _ in range(20):
            await other.ask("good.test")
        assert connection._transport.get_write_buffer_size() < 1_000_000


async def test_a_client_that_does_not_read_times_out(around: Surroundings) -> None:
    """It is closed; other clients stay."""
    publish_long_policy(around)
    async with serving(around, timeout=0.05) as served, AsyncExitStack() as stack:
        deaf, other = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        await served.wait_for_connections(2)
        stop_reading(deaf)
        deaf.send(request("good.test") * 10_000)
        await served.wait_for_connections(1)
        assert await other.ask("absent.test") == NOT_FOUND


async def test_a_client_that_reads_late(around: Surroundings) -> None:
    """It gets every reply in order: requests held back are answered once there is room."""
    publish_long_policy(around)
    keys = [key for n in range(500) for key in ("good.test", f"new{n}.test")]
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        connection = served.first_connection
        stop_reading(client)
        client.send(b"".join(map(request, keys)))
        await wait_until(lambda: connection._is_full)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined] # asyncio's own
        replies = [await client.netstring() for _ in keys]
    assert [reply == NOT_FOUND for reply in replies] == [key != "good.test" for key in keys]


async def test_a_client_that_reads_again_has_no_timeout(around: Surroundings) -> None:
    """The time counts only while replies are unread."""
    async with serving(around) as served, connected(served.address):
        await served.wait_for_connections(1)
        connection = served.first_connection
        connection.pause_writing()
        assert connection._timer
        connection.resume_writing()
        assert connection._timer is None


async def test_requests_behind_a_look_up_are_not_read(around: Surroundings) -> None:
    """One request at a time is always read; further ones wait in the kernel after one read."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        around.dns.hold()
        client.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        connection = served.first_connection
        assert connection._transport.is_reading()
        client.send(request("good.test") * 100_000)
        await wait_until(lambda: not connection._transport.is_reading())
        waiting = connection._frames.size
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert 0 < connection._frames.size == waiting < 1_000_000
        around.dns.release()
        assert await client.netstring() == NOT_FOUND
        assert [await client.netstring() for _ in range(100_000)] == [SECURE] * 100_000


async def test_other_clients_have_their_turn(around: Surroundings) -> None:
    """A read with many requests is answered in parts; the rest keeps its order."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        connection = served.first_connection
        connection.data_received(request("good.test") * 1000)
        assert connection._frames.waiting
        connection.data_received(request(".end.test"))
        assert [await client.netstring() for _ in range(1000)] == [SECURE] * 1000
        assert await client.netstring() == NOT_FOUND
        assert not connection._frames.waiting


async def test_a_client_that_does_not_read_its_refusal(around: Surroundings) -> None:
    """A connection that is closed, but not empty, ends at the timeout."""
    publish_long_policy(around)
    async with serving(around, timeout=0.05) as served, connected(served.address) as client:
        await client.ask("good.test")
        stop_reading(client)
        connection = served.first_connection
        while not connection._transport.get_write_buffer_size():
            connection.data_received(request("good.test"))
            await asyncio.sleep(0)
        assert not connection._is_full
        connection.data_received(b"garbage")
        await served.wait_for_connections(0)


async def test_5000_idle_connections(around: Surroundings) -> None:
    """A new client is answered."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 11_000:
        pytest.skip("this machine does not allow 11,000 files")
    with files_limit(11_000):
        async with serving(around, limit=6_000) as served:
            with contextlib.ExitStack() as idle:
                for n in range(1, 5_001):
                    idle.enter_context(socket.create_connection(served.address))
                    if n % 500 == 0:  # within the backlog
                        await served.wait_for_connections(n)
                async with connected(served.address) as client:
                    assert await client.ask("good.test") == SECURE


async def test_the_connection_limit(around: Surroundings) -> None:
    """At the limit the oldest idle connection is closed for a new one; a busy one is not."""
    async with serving(around, limit=2) as served, AsyncExitStack() as stack:
        around.dns.hold()
        busy, idle = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        busy.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        await served.wait_for_connections(2)
        newcomer = await stack.enter_async_context(connected(served.address))
        assert await idle.closed()
        around.dns.release()
        assert await newcomer.ask("good.test") == SECURE
        assert await busy.netstring() == NOT_FOUND


async def test_tcp_table_clients_are_not_closed_for_new_ones(around: Surroundings) -> None:
    """At the limit the new one is closed: tcp_table clients wait a second before they reconnect."""
    async with serving(around, tcp_table, limit=1) as served, AsyncExitStack() as stack:
        first = await stack.enter_async_context(connected(served.address))
        await first.get("absent.test")
        second = await stack.enter_async_context(connected(served.address))
        assert await second.closed()
        assert await first.get("absent.test") == b"500 not%20found"


async def test_the_limit_of_open_files(around: Surroundings) -> None:
    """When no file can be opened, connected clients are answered, and new ones afterwards."""
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
        async with asyncio.timeout(LONG_TIME):
            while True:
                try:
                    async with connected(served.address) as newcomer:
                        assert await newcomer.ask("good.test") == SECURE
                        break
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue
