"""An HTTP server with given routes, and a client that sees the bytes of its responses."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.admin.http_server import serving
from tests.support.clients import Address, Client, connected

TEST_TIMEOUT = 60.0
"""Seconds after which a test fails."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """A response as the client received it."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def served(
    folder: Path, routes: Iterable[Route], client_timeout: float | None = None
) -> AsyncIterator[Path]:
    """Serve routes on a UNIX socket; yield its path."""
    path = folder / "web"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    async with asyncio.timeout(TEST_TIMEOUT), serving(sock, routes, client_timeout=client_timeout):
        yield path


async def exchange(address: Address, line: str) -> Received:
    """Send one request over a new connection, and return the response."""
    async with connected(address) as client:
        client.send(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return await received(client)


async def received(client: Client) -> Received:
    """Return the only response on a connection, once the server has closed it."""
    head, _, body = (await client.reader.read(-1)).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in rest)
    return Received(int(first.split()[1]), fields, body)


def returns(text: str, method: str = "GET", path: str = "/") -> Route:
    """A route that always returns the same text."""

    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "text/plain", text.encode())

    return Route(method, path, answer)


def streams(pieces: AsyncGenerator[bytes]) -> Route:
    """A route that returns a body in pieces."""

    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "text/plain", pieces)

    return Route("GET", "/", answer)
