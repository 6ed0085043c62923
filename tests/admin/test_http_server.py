"""HTTP as a client sees it: what is answered, what is refused, and what is cut off."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.admin.http_server import CONNECTIONS_MOST, LINE_MOST, serving
from tests.support.clients import Address, Client, connected

ENOUGH = 60.0
"""Seconds after which a test gives up."""
pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


@dataclass(frozen=True)
class Response:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def served(
    folder: Path, routes: Iterable[Route], patience: float | None = None
) -> AsyncIterator[Path]:
    """Routes on a UNIX socket; where it is."""
    path = folder / "web"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    async with asyncio.timeout(ENOUGH), serving(sock, routes, patience=patience):
        yield path


async def asked(address: Address, line: str, headers: str = "", body: bytes = b"") -> Response:
    """One request, over a connection of its own."""
    async with connected(address) as client:
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        client.send(head.encode() + body)
        return await response(client)


async def response(client: Client) -> Response:
    """The one response of a connection that is closed behind it."""
    head, _, body = (await client.reader.read(-1)).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in rest)
    return Response(int(first.split()[1]), fields, body)


def says(text: str, method: str = "GET", path: str = "/") -> Route:
    """A route that always says the same."""

    async def answer(_: Asked) -> Reply:
        return Reply(200, "text/plain", text.encode())

    return Route(method, path, answer)


async def echo(asked: Asked) -> Reply:
    """Say what was asked."""
    return Reply(201, "application/json", f"{dict(asked.parts)} {dict(asked.query)}".encode())


def streams(pieces: AsyncGenerator[bytes]) -> Route:
    """A route that answers in pieces."""

    async def answer(_: Asked) -> Reply:
        return Reply(200, "text/plain", pieces)

    return Route("GET", "/", answer)


class TestAnswered:
    """What a route gives arrives."""

    async def test_reply(self, tmp_path: Path) -> None:
        """Status, media type and body are the route's; no version of anything is told."""
        async with served(tmp_path, [Route("GET", "/a", echo)]) as path:
            got = await asked(path, "GET /a")
        assert (got.status, got.body) == (201, b"{} {}")
        assert got.headers["content-type"] == "application/json"
        assert got.headers["server"] == "postfix-mta-sts"

    async def test_tcp(self) -> None:
        """An address of the Internet is served as well."""
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        async with serving(sock, [says("hello")]):
            assert (await asked(address, "GET /")).body == b"hello"

    async def test_parts_and_parameters(self, tmp_path: Path) -> None:
        """Names in a path, and parameters, come decoded; of one given twice, the first."""
        async with served(tmp_path, [Route("POST", "/p/{domain}/x", echo)]) as path:
            got = await asked(path, "POST /p/a%2Fb%20c/x?q=1%26&r=&q=2")
        assert got.body == b"{'domain': 'a/b c'} {'q': '1&', 'r': ''}"

    async def test_head(self, tmp_path: Path) -> None:
        """HEAD is GET without the body, whether that comes at once or in pieces."""

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"hello"

        async with served(tmp_path, [says("hello", path="/whole"), streams(pieces())]) as path:
            whole = await asked(path, "HEAD /whole")
            assert (whole.status, whole.body) == (200, b"")
            assert whole.headers["content-length"] == "5"
            streamed = await asked(path, "HEAD /")
            assert (streamed.status, streamed.body) == (200, b"")

    async def test_kept_connection(self, tmp_path: Path) -> None:
        """A client may ask again over the same connection."""
        async with served(tmp_path, [says("hello")]) as path, connected(path) as client:
            for _ in range(2):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reader.readuntil(b"hello")

    async def test_pieces(self, tmp_path: Path) -> None:
        """A body in pieces is sent as it comes, before the last is there."""
        go_on = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"one "
            await go_on.wait()
            yield b"two"

        async with served(tmp_path, [streams(pieces())]) as path, connected(path) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.reader.readuntil(b"4\r\none \r\n")
            go_on.set()
            assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


class TestRefused:
    """What no route answers."""

    async def test_not_found(self, tmp_path: Path) -> None:
        """A path of no route is not found; an empty segment stands for no name."""
        async with served(tmp_path, [says("a", path="/a"), says("n", path="/p/{name}")]) as path:
            statuses = [
                (await asked(path, f"GET {p}")).status for p in ("/", "/b", "/p/", "/p", "/a/")
            ]
        assert statuses == [404] * 5

    async def test_method(self, tmp_path: Path) -> None:
        """A path of a route, asked with another method, says which are allowed."""
        routes = [says("got"), says("put", "PUT")]
        async with served(tmp_path, routes) as path:
            got = await asked(path, "DELETE /")
            assert (got.status, got.headers["allow"]) == (405, "get, put")
            assert (await asked(path, "PUT /")).body == b"put"

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x00\xa5\x01\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2 * LINE_MOST + b"\r\n\r\n",
            b"GET /" + b"a" * LINE_MOST + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: <evil>\r\n\r\n",
        ],
    )
    async def test_malformed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
    ) -> None:
        """What is no HTTP, or too long, is refused in our words, and makes no noise."""
        caplog.set_level(logging.INFO)
        async with served(tmp_path, [says("hello")]) as path, connected(path) as client:
            client.send(sent)
            got = await response(client)
        assert (got.status, got.body) == (400, b"400 Bad Request\n")
        assert got.headers["server"] == "postfix-mta-sts"
        assert not caplog.records

    async def test_body_is_not_read(self, tmp_path: Path) -> None:
        """A body is nobody's: the answer comes without waiting for its end."""
        async with served(tmp_path, [says("hello", "POST")]) as path, connected(path) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc")
            await client.reader.readuntil(b"hello")


class TestBroken:
    """Faults on this side."""

    async def test_error(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A fault of ours is one line in the log, and tells the client nothing of itself."""

        async def answer(_: Asked) -> Reply:
            raise ConnectionRefusedError("secret")

        async with served(tmp_path, [Route("GET", "/{x}", answer)]) as path:
            got = await asked(path, "GET /a")
        assert (got.status, got.body) == (500, b"500 Internal Server Error\n")
        assert caplog.messages == ["request broken off route=/{x}"]

    async def test_error_between_pieces(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A body that breaks off is seen to be incomplete."""

        async def pieces() -> AsyncGenerator[bytes]:
            yield b"one"
            raise ValueError

        async with served(tmp_path, [streams(pieces())]) as path, connected(path) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not (await client.reader.read(-1)).endswith(b"0\r\n\r\n")
        assert caplog.messages == ["request broken off route=/"]


class TestLimits:
    """What one client can take from the others."""

    async def test_unfinished_request(self, tmp_path: Path) -> None:
        """A request that does not come to its end is given up."""
        async with (
            served(tmp_path, [says("hello")], patience=0.05) as path,
            connected(path) as client,
        ):
            client.send(b"GET / HTTP/1.1\r\nHost:")
            assert await client.closed()

    async def test_client_that_does_not_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client that takes nothing of a long reply is cut off, and its pieces are ended."""
        ended = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                ended.set()

        async with (
            served(tmp_path, [streams(pieces())], patience=0.05) as path,
            connected(path) as client,
        ):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await ended.wait()  # what nobody reads of a StreamReader is not read of its socket
        assert not caplog.records

    async def test_client_that_leaves(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client that leaves in the middle ends the pieces, and is not worth a line."""
        ended = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                ended.set()

        async with served(tmp_path, [streams(pieces())]) as path:
            async with connected(path) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reader.read(1)
            await ended.wait()
        assert not caplog.records

    async def test_connections(self, tmp_path: Path) -> None:
        """One connection too many, and the oldest is cut off; the new one is served."""
        async with (
            served(tmp_path, [says("hello")]) as path,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = [
                await stack.enter_async_context(connected(path)) for _ in range(CONNECTIONS_MOST)
            ]
            for client in clients:
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reader.readuntil(b"hello")
            assert (await asked(path, "GET /")).body == b"hello"
            assert await clients[0].closed()
            clients[1].send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await clients[1].reader.readuntil(b"hello")


class TestEnd:
    """How it ends."""

    async def test_request_under_way(self, tmp_path: Path) -> None:
        """What is being answered at the end still is; the socket's file is left."""
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def answer(_: Asked) -> Reply:
            begun.set()
            await go_on.wait()
            return Reply(200, "text/plain", b"late")

        async with contextlib.AsyncExitStack() as stack:
            path = await stack.enter_async_context(served(tmp_path, [Route("GET", "/", answer)]))
            got = asyncio.create_task(asked(path, "GET /"))
            await begun.wait()
            asyncio.get_running_loop().call_later(0.01, go_on.set)
        assert (await got).body == b"late"
        assert path.exists()

    async def test_client_that_does_not_read(self, tmp_path: Path) -> None:
        """A client that leaves a reply standing does not hold up the end for long."""
        ended = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                ended.set()

        async with contextlib.AsyncExitStack() as stack:
            async with served(tmp_path, [streams(pieces())]) as path:
                client = await stack.enter_async_context(connected(path))
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reader.read(1)
            assert ended.is_set()

    async def test_idle_connection(self, tmp_path: Path) -> None:
        """A connection that is only kept does not hold up the end."""
        async with contextlib.AsyncExitStack() as stack:
            async with served(tmp_path, [says("hello")]) as path:
                client = await stack.enter_async_context(connected(path))
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reader.readuntil(b"hello")
            assert await client.closed()
