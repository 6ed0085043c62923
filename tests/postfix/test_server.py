"""Connections: order of replies, frames, refusals; on asyncio's loop and on uvloop's."""

import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.stats import Counters
from tests.support.clients import connected, request
from tests.support.replies import make_reply_cache
from tests.support.server import NOT_FOUND, SECURE, serving
from tests.support.surroundings import GOOD, Surroundings

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_one_request_at_a_time(around: Surroundings) -> None:
    """One look-up after the other on the same connection, as Postfix does it."""
    async with serving(around) as served, connected(served.address) as client:
        replies = [await client.ask(key) for key in ("good.test", ".good.test", "good.test")]
    assert replies == [SECURE, NOT_FOUND, SECURE]


async def test_tcp_table(around: Surroundings) -> None:
    """The other protocol, with the same policies."""
    async with serving(around, tcp_table) as served, connected(served.address) as client:
        assert await client.get("good.test") == (
            b"200 secure%20match=mx1.good.test%20servername=hostname"
        )
        assert await client.get("absent.test") == b"500 not%20found"


async def test_pipelined_requests_are_answered_in_order(around: Surroundings) -> None:
    """Cached and new domains in one stream, cut anywhere: the replies keep the order."""
    keys = [k for n in range(50) for k in ("good.test", f"new{n}.test", ".x", "good.test")]
    expected = [SECURE if key == "good.test" else NOT_FOUND for key in keys]
    stream = b"".join(map(request, keys))
    async with serving(around) as served, connected(served.address) as client:
        for start in range(0, len(stream), 333):
            client.send(stream[start : start + 333])
            await client.writer.drain()
        assert [await client.netstring() for _ in keys] == expected


async def test_a_cached_reply_does_not_overtake_a_look_up(around: Surroundings) -> None:
    """Requests behind a look-up wait, in the same read and in a later one."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        around.dns.hold()
        client.send(request("slow.test") + request("good.test"))
        await around.queries.reached(parse_domain("slow.test"))
        served.first_connection.data_received(request("good.test"))
        around.dns.release()
        replies = [await client.netstring() for _ in range(3)]
    assert replies == [NOT_FOUND, SECURE, SECURE]


async def test_a_cached_request_within_another_one(around: Surroundings) -> None:
    """Bytes that equal a cached request do not count as one inside a frame (request smuggling)."""
    async with serving(around) as served, connected(served.address) as client:
        await client.ask("good.test")
        inner = request("good.test")
        for read in (b"%d:postfix " % (8 + len(inner)), inner, b","):
            served.first_connection.data_received(read)
        assert await client.netstring() == NOT_FOUND


@pytest.mark.parametrize(
    ("wire", "short", "longer"),
    [
        (socketmap, b"17:postfix good.test,", b"20:postfix good.test.xy,"),
        (tcp_table, b"get good.test\n", b"get good.testing\n"),
    ],
)
async def test_a_request_cut_where_a_cached_one_ends(
    around: Surroundings, wire: Wire, short: bytes, longer: bytes
) -> None:
    """A request split over two reads never gets the reply of a shorter, cached one."""
    cut = len(longer) - 4 if wire is tcp_table else len(short) - 1
    async with serving(around, wire) as served, connected(served.address) as client:
        first = await (client.ask if wire is socketmap else client.get)("good.test")
        client.send(short + short + longer[:cut])
        read = client.netstring if wire is socketmap else client.line
        assert [await read(), await read()] == [first, first]
        client.send(longer[cut:])
        assert await read() == (NOT_FOUND if wire is socketmap else b"500 not%20found")


async def test_a_slow_look_up_delays_no_other_client(around: Surroundings) -> None:
    """Other connections are answered while it is under way."""
    async with serving(around) as served, AsyncExitStack() as stack:
        slow, fast = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        await fast.ask("good.test")
        around.dns.hold()
        slow.send(request("slow.test"))
        await around.queries.reached(parse_domain("slow.test"))
        assert await fast.ask("good.test") == SECURE
        around.dns.release()
        assert await slow.netstring() == NOT_FOUND


async def test_a_client_that_disconnects(around: Surroundings) -> None:
    """Its look-up is dropped; the attempt continues and serves the next client."""
    async with serving(around) as served:
        around.https.hold()
        async with connected(served.address) as client:
            client.send(request("good.test"))
            await around.gets.reached(GOOD)
        around.https.release()
        await served.wait_for_connections(0)
        async with connected(served.address) as client:
            assert await client.ask("good.test") == SECURE
    assert around.gets.total == 1


async def test_an_internal_error(around: Surroundings, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a reply is logged and closes its connection; other connections stay."""

    def broken_format(name: str) -> ReplyFormat:
        raise ZeroDivisionError(name)

    async with serving(around, reply_format=broken_format) as served, AsyncExitStack() as stack:
        broken, other = [await stack.enter_async_context(connected(served.address)) for _ in "ab"]
        broken.send(request("good.test"))
        assert await broken.closed()
        assert await other.ask(".good.test") == NOT_FOUND
    assert [r.exc_info is not None for r in caplog.records] == [True]


@pytest.mark.parametrize(
    ("wire", "malformed", "refusal"),
    [
        (socketmap, b"hello\r\n", b"20:TEMP not a netstring,"),
        (socketmap, b"7:postfix,", b"33:TEMP a request without a map name,"),
        (socketmap, b"10001:", b"49:TEMP a request of 10001 bytes; the limit is 10000,"),
        (tcp_table, b"put a b\n", b"400 not%20a%20get%20request\n"),
        (tcp_table, b"x" * 5000, b"400 a%20line%20of%20more%20than%204096%20bytes\n"),
    ],
)
async def test_malformed_requests_are_refused(
    around: Surroundings,
    caplog: pytest.LogCaptureFixture,
    wire: Wire,
    malformed: bytes,
    refusal: bytes,
) -> None:
    """The client gets the reason and is closed; logged once a minute, without any of the bytes."""
    caplog.set_level(logging.INFO)
    counters = Counters()
    async with serving(around, wire, counters=counters) as served:
        for _ in range(3):
            async with connected(served.address) as client:
                await served.wait_for_connections(1)
                client.send(malformed)
                assert await client.reader.read() == refusal
            await served.wait_for_connections(0)
    assert counters.refused == 3
    assert sum("malformed request" in r.getMessage() for r in caplog.records) == 1
    assert malformed.decode() not in caplog.text


@pytest.mark.usefixtures("uncovered")
async def test_10000_look_ups_of_unanswered_domains(around: Surroundings) -> None:
    """All are answered when the DNS queries end."""
    async with serving(around) as served, AsyncExitStack() as stack:
        around.dns.hold()
        clients = [await stack.enter_async_context(connected(served.address)) for _ in range(50)]
        for n, client in enumerate(clients):
            client.send(b"".join(request(f"unanswered{n}-{m}.test") for m in range(200)))
        await around.queries.total_reached(50)
        around.dns.release()
        for client in clients:
            assert {await client.netstring() for _ in range(200)} == {NOT_FOUND}


async def test_unix_socket(around: Surroundings, tmp_path: Path) -> None:
    """Requests, refusals and replies over a UNIX socket."""
    async with serving(around) as served:
        path = tmp_path / "s"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        await served.server.listen(sock, make_reply_cache(around, resolver=served.resolver))
        async with connected(path) as client:
            assert await client.ask("good.test") == SECURE
        async with connected(path) as client:
            client.send(b"garbage")
            assert await client.netstring() == b"TEMP not a netstring"
