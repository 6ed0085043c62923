"""Responses of the HTTP server: of routes, of refused requests, and of faults."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.admin.http_server import LINE_LIMIT, serving
from tests.support.clients import connected
from tests.support.http import GET, exchange, received, returns, served, streams

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def echo(request: HttpRequest) -> HttpResponse:
    """Return what the handler was given."""
    body = f"{dict(request.parts)} {dict(request.query)}"
    return HttpResponse(201, "application/json", body.encode())


class TestAnswered:
    """The client receives what a route returns."""

    async def test_response(self, tmp_path: Path) -> None:
        """Status, media type and body are the route's; the headers name no version."""
        async with served(tmp_path, [Route("GET", "/a", echo)]) as path:
            got = await exchange(path, "GET /a")
        assert (got.status, got.body) == (201, b"{} {}")
        assert got.headers["content-type"] == "application/json"
        assert got.headers["server"] == "postfix-mta-sts"
        assert got.headers["cache-control"] == "no-store"

    async def test_tcp(self) -> None:
        """A TCP socket is served as well."""
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        async with serving(sock, [returns("hello")]):
            assert (await exchange(address, "GET /")).body == b"hello"

    async def test_processes_that_are_refused(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Their connection is closed, with one line in the log; others are answered."""
        refused = {os.getpid()}
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "s"))
        async with serving(sock, [returns("hello")], refused=lambda: refused):
            for _ in range(2):
                async with connected(tmp_path / "s") as client:
                    with contextlib.suppress(ConnectionError):
                        assert await client.reader.read() == b""
            refused.clear()
            assert (await exchange(tmp_path / "s", "GET /")).body == b"hello"
        said = f"network process refused at a socket pid={os.getpid()} count=1"
        assert caplog.messages == [said]

    async def test_tcp_clients_are_never_refused(self) -> None:
        """The kernel does not tell their process."""
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        async with serving(sock, [returns("hello")], refused=lambda: {0, os.getpid()}):
            assert (await exchange(address, "GET /")).body == b"hello"

    async def test_parts_and_parameters(self, tmp_path: Path) -> None:
        """Path and parameters are decoded; of a repeated parameter the first value counts."""
        async with served(tmp_path, [Route("POST", "/p/{domain}/x", echo)]) as path:
            got = await exchange(path, "POST /p/a%2Fb%20c/x?q=1%26&r=&q=2")
        assert got.body == b"{'domain': 'a/b c'} {'q': '1&', 'r': ''}"

    async def test_head(self, tmp_path: Path) -> None:
        """HEAD is GET without the body, whether the body is whole or in pieces."""

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"hello"

        async with served(tmp_path, [returns("hello", path="/whole"), streams(pieces())]) as path:
            whole = await exchange(path, "HEAD /whole")
            assert (whole.status, whole.body) == (200, b"")
            assert whole.headers["content-length"] == "5"
            streamed = await exchange(path, "HEAD /")
            assert (streamed.status, streamed.body) == (200, b"")

    async def test_keep_alive(self, tmp_path: Path) -> None:
        """A client may send several requests over one connection."""
        async with served(tmp_path, [returns("hello")]) as path, connected(path) as client:
            for _ in range(2):
                client.send(GET)
                await client.reader.readuntil(b"hello")

    async def test_pieces(self, tmp_path: Path) -> None:
        """A body in pieces is sent piece by piece, before the last one exists."""
        go_on = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"one "
            await go_on.wait()
            yield b"two"

        async with served(tmp_path, [streams(pieces())]) as path, connected(path) as client:
            client.send(GET)
            await client.reader.readuntil(b"4\r\none \r\n")
            go_on.set()
            assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


class TestRefused:
    """Requests that no route answers."""

    async def test_not_found(self, tmp_path: Path) -> None:
        """A path without a route is answered 404; an empty segment does not match a name."""
        routes = [returns("a", path="/a"), returns("n", path="/p/{name}")]
        async with served(tmp_path, routes) as path:
            got = [await exchange(path, f"GET {p}") for p in ("/", "/b", "/p/", "/p", "/a/")]
        assert [(each.status, each.body) for each in got] == [(404, b"404 Not Found\n")] * 5

    async def test_method(self, tmp_path: Path) -> None:
        """A known path with another method is answered 405, with the methods that are allowed."""
        routes = [returns("got"), returns("put", "PUT")]
        async with served(tmp_path, routes) as path:
            got = await exchange(path, "DELETE /")
            assert (got.status, got.body) == (405, b"405 Method Not Allowed\n")
            assert got.headers["allow"] == "get,head,put"
            assert got.headers["server"] == "postfix-mta-sts"
            assert (await exchange(path, "PUT /")).body == b"put"

    @pytest.mark.parametrize(
        ("sent", "error"),
        [
            (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", "BadHttpMethod"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2 * LINE_LIMIT + b"\r\n\r\n", "LineToo"),
            (b"GET /" + b"a" * LINE_LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n", "LineTooLong"),
            (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 1000 + b"\r\n", "BadHttpMessage"),
            (b"GET / HTTP/1.1\r\nContent-Length: <evil>\r\n\r\n", "BadHttpMessage"),
        ],
    )
    async def test_malformed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes, error: str
    ) -> None:
        """A request that is malformed or too long is answered 400; the log quotes nothing of it."""
        caplog.set_level(logging.DEBUG, "postfix_mta_sts")
        async with served(tmp_path, [returns("hello")]) as path, connected(path) as client:
            client.send(sent)
            got = await received(client)
        assert got.status == 400
        assert got.headers["content-type"].startswith("text/plain")
        (record,) = caplog.records
        assert (record.levelno, record.exc_info) == (logging.DEBUG, None)
        assert record.getMessage().startswith(f"malformed HTTP request error={error}")
        assert len(record.getMessage()) < 50

    async def test_malformed_body(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A malformed body does not matter, and does not fill the log."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\n"
        caplog.set_level(logging.INFO)
        async with served(tmp_path, [returns("hello", "POST")]) as path, connected(path) as client:
            client.send(head + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
            await client.reader.readuntil(b"hello")
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await client.reader.readuntil(b"hello")
            client.send(b"<evil>\r\n")
            await client.reader.read(-1)
        assert not caplog.records

    async def test_body_is_not_read(self, tmp_path: Path) -> None:
        """The response does not wait for the end of the request's body."""
        async with served(tmp_path, [returns("hello", "POST")]) as path, connected(path) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc")
            await client.reader.readuntil(b"hello")


class TestFaults:
    """Errors that a handler raises."""

    async def test_error(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A fault of a handler is one log event; the client learns nothing of it."""

        async def answer(_: HttpRequest) -> HttpResponse:
            raise ConnectionRefusedError("secret")

        async with served(tmp_path, [Route("GET", "/{x}", answer)]) as path:
            got = await exchange(path, "GET /a")
        assert (got.status, got.body) == (500, b"500 Internal Server Error\n")
        assert caplog.messages == ["HTTP request failed route=/{x}"]

    async def test_error_between_pieces(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If the generator of a body fails, the client sees that the body is incomplete."""

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"one"
            raise ValueError

        async with served(tmp_path, [streams(pieces())]) as path, connected(path) as client:
            client.send(GET)
            with contextlib.suppress(ConnectionResetError):
                assert not (await client.reader.read(-1)).endswith(b"0\r\n\r\n")
        assert caplog.messages == ["HTTP request failed route=/"]

    async def test_error_of_aiohttp(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error that aiohttp logs itself is logged as ours, with its traceback."""
        logger = logging.getLogger("postfix_mta_sts.admin.http_server.aiohttp")
        logger.error("Unhandled exception %s", "of a request", exc_info=ValueError("oops"))
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "HTTP connection failed")
        assert record.exc_info
