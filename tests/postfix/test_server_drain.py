"""The end of a connection, and the drain of the server; on asyncio's loop and on uvloop's."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from tests.support.clients import connected, request
from tests.support.server import LONG_TIME, NOT_FOUND, SECURE, serving
from tests.support.surroundings import GOOD, Surroundings

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_drain_answers_requests_under_way(around: Surroundings) -> None:
    """Every request sent before gets its reply; idle clients are closed; no client is accepted."""
    async with serving(around) as served, AsyncExitStack() as stack:
        idle, *busy = [
            await stack.enter_async_context(connected(served.address)) for _ in range(20)
        ]
        await idle.ask("good.test")
        around.dns.hold()
        for n, client in enumerate(busy):
            client.send(request(f"slow{n}.test") + request("good.test"))
        await around.queries.total_reached(1 + len(busy))
        drain = asyncio.create_task(served.server.drain(LONG_TIME))
        assert await idle.closed()
        around.dns.release()
        for client in busy:
            assert [await client.netstring(), await client.netstring()] == [NOT_FOUND, SECURE]
            assert await client.closed()
        await drain
        with pytest.raises(OSError):
            await asyncio.open_connection(*served.address)


async def test_drain_has_a_timeout(around: Surroundings, caplog: pytest.LogCaptureFixture) -> None:
    """After the timeout, connections without a reply are closed; that is logged."""
    caplog.set_level("INFO", "postfix_mta_sts.postfix.server")
    async with serving(around) as served, connected(served.address) as client:
        around.dns.hold()
        client.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        await served.server.drain(0)
        assert await client.closed()
    assert any("connections closed without a reply" in r.getMessage() for r in caplog.records)


async def test_drain_of_a_refused_client(around: Surroundings) -> None:
    """A connection that is closing already is left alone; the client gets the refusal."""
    async with serving(around) as served, connected(served.address) as client:
        await served.wait_for_connections(1)
        connection = served.first_connection
        connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
        connection.finish()
        assert await client.netstring() == b"TEMP not a netstring"
        assert await client.closed()


async def test_replies_follow_the_end_of_requests(around: Surroundings) -> None:
    """A client that shuts down its side of the connection gets all replies."""
    async with serving(around) as served, connected(served.address) as client:
        around.dns.hold()
        client.send(request("good.test") + request("good.test"))
        client.writer.write_eof()
        await around.queries.reached(GOOD)
        around.dns.release()
        assert [await client.netstring(), await client.netstring()] == [SECURE, SECURE]
        assert await client.closed()
