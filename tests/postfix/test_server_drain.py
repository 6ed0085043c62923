"""The end of a connection, and of the server; on asyncio's loop and on uvloop's."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from tests.support.clients import connected, request
from tests.support.server import NOT_FOUND, SECURE, serving
from tests.support.surroundings import GOOD, Surroundings

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


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
