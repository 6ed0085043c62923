"""Limits of the HTTP server: what one client can take from the others, and the end."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from postfix_mta_sts.admin.accepting import CONNECTIONS_LIMIT
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.admin.http_server import serving
from tests.support.clients import Client, connected
from tests.support.http import GET, exchange, returns, served, streams

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class Endless:
    """A body without an end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield pieces until the server closes the generator."""
        try:
            while True:
                yield bytes(65536)
        finally:
            self.ended.set()


async def connect(stack: contextlib.AsyncExitStack, path: Path, number: int) -> list[Client]:
    """Open connections; they stay open as long as `stack`."""
    return [await stack.enter_async_context(connected(path)) for _ in range(number)]


async def hello(client: Client) -> None:
    """Send a request and wait for the response."""
    client.send(GET)
    await client.reader.readuntil(b"hello")


class TestTimeouts:
    """Slow clients."""

    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"])
    async def test_unfinished_request(self, tmp_path: Path, sent: bytes) -> None:
        """A connection whose request is not complete in time is closed."""
        async with (
            served(tmp_path, [returns("hello")], client_timeout=0.05) as path,
            connected(path) as client,
        ):
            client.send(sent)
            assert await client.closed()

    async def test_unfinished_second_request(self, tmp_path: Path) -> None:
        """The same holds for each later request on the connection."""
        async with (
            served(tmp_path, [returns("hello")], client_timeout=0.5) as path,
            connected(path) as client,
        ):
            await hello(client)
            client.send(b"GET / HTTP/1.1\r\nHost:")
            assert await client.closed()

    async def test_slow_answer(self, tmp_path: Path) -> None:
        """The time that the handler takes does not count."""

        async def answer(_: HttpRequest) -> HttpResponse:
            await asyncio.sleep(0.1)
            return HttpResponse(200, "text/plain", b"hello")

        async with served(tmp_path, [Route("GET", "/", answer)], client_timeout=0.05) as path:
            assert (await exchange(path, "GET /")).body == b"hello"

    async def test_client_that_does_not_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client that does not read a long body is cut off, and the generator is closed."""
        body = Endless()
        async with (
            served(tmp_path, [streams(body.pieces())], client_timeout=0.05) as path,
            connected(path) as client,
        ):
            client.send(GET)
            await body.ended.wait()  # a StreamReader that nothing reads stops reading its socket
        assert not caplog.records

    async def test_client_that_closes(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client that closes in the middle ends the generator, and is not logged."""
        body = Endless()
        async with served(tmp_path, [streams(body.pieces())]) as path:
            async with connected(path) as client:
                client.send(GET)
                await client.reader.read(1)
            await body.ended.wait()
        assert not caplog.records


class TestConnections:
    """The number of connections."""

    async def test_limit(self, tmp_path: Path) -> None:
        """When one connection too many arrives, the oldest is closed and the new one served."""
        async with (
            served(tmp_path, [returns("hello")]) as path,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = await connect(stack, path, CONNECTIONS_LIMIT)
            for client in clients:
                await hello(client)
            assert (await exchange(path, "GET /")).body == b"hello"
            assert await clients[0].closed()
            await hello(clients[1])

    async def test_connections_without_a_request(self, tmp_path: Path) -> None:
        """Connections that have sent nothing count as well."""
        async with (
            served(tmp_path, [returns("hello")]) as path,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = await connect(stack, path, CONNECTIONS_LIMIT + 2)
            await hello(clients[-1])
            assert await clients[0].closed()
            assert await clients[1].closed()
            await hello(clients[2])

    async def test_closed_connections_do_not_count(self, tmp_path: Path) -> None:
        """A connection that has been closed makes room without cutting off another."""
        async with served(tmp_path, [returns("hello")]) as path, connected(path) as client:
            for _ in range(2 * CONNECTIONS_LIMIT):
                await exchange(path, "GET /")
            await hello(client)

    async def test_unread_responses_count(self, tmp_path: Path) -> None:
        """A closing connection whose client does not read its response counts until it is gone."""
        body, line = "x" * 10_000_000, b"GET / HTTP/1.0\r\n\r\n"
        async with (
            served(tmp_path, [returns(body), returns("small", path="/small")]) as path,
            contextlib.AsyncExitStack() as stack,
        ):
            first = await connect(stack, path, 1)
            first[0].send(line)
            await first[0].reader.readuntil(b"\r\n\r\n")
            await connect(stack, path, CONNECTIONS_LIMIT)
            assert (await exchange(path, "GET /small")).body == b"small"
            with contextlib.suppress(ConnectionResetError):
                assert len(await first[0].reader.read(-1)) < len(body)

    async def test_too_many_open_files(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If a connection cannot be accepted, that is logged, and accepting continues later."""
        path = tmp_path / "web"
        sock = Exhausted(socket.AF_UNIX)
        sock.bind(str(path))
        async with serving(sock, [returns("hello")]):
            assert (await exchange(path, "GET /")).body == b"hello"
        assert caplog.messages == [
            'cannot accept a connection reason="[Errno 24] Too many open files" count=1'
        ]


class Exhausted(socket.socket):
    """A listening socket whose first connections cannot be accepted."""

    errors: tuple[int, ...] = (errno.ECONNABORTED, errno.EMFILE)

    def accept(self) -> tuple[socket.socket, object]:
        """Fail with each of the errors once; `socket.socket`."""
        if self.errors:
            number, *rest = self.errors
            self.errors = tuple(rest)
            raise OSError(number, "Too many open files")
        return super().accept()


class TestEnd:
    """The end of the server."""

    async def test_request_under_way(self, tmp_path: Path) -> None:
        """A request under way at the end is still answered; the socket file is not removed."""
        started, go_on = asyncio.Event(), asyncio.Event()

        async def answer(_: HttpRequest) -> HttpResponse:
            started.set()
            await go_on.wait()
            return HttpResponse(200, "text/plain", b"late")

        async with contextlib.AsyncExitStack() as stack:
            path = await stack.enter_async_context(served(tmp_path, [Route("GET", "/", answer)]))
            got = asyncio.create_task(exchange(path, "GET /"))
            await started.wait()
            asyncio.get_running_loop().call_later(0.01, go_on.set)
        assert (await got).body == b"late"
        assert path.exists()

    async def test_client_that_does_not_read(self, tmp_path: Path) -> None:
        """A client that does not read its response does not delay the end for long."""
        body = Endless()
        async with contextlib.AsyncExitStack() as stack:
            async with served(tmp_path, [streams(body.pieces())]) as path:
                (client,) = await connect(stack, path, 1)
                client.send(GET)
                await client.reader.read(1)
            assert body.ended.is_set()

    async def test_idle_connection(self, tmp_path: Path) -> None:
        """An idle connection does not delay the end."""
        async with contextlib.AsyncExitStack() as stack:
            async with served(tmp_path, [returns("hello")]) as path:
                (client,) = await connect(stack, path, 1)
                await hello(client)
            assert await client.closed()
