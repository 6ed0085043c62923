"""HTTP for programs beside Postfix: a listening socket, and routes that give what is asked.

Border: the one place that knows aiohttp's server. A request's body is never read. Who may connect
is the socket's matter. To import it takes aiohttp's 200 ms and 16 MiB: see `endpoints`.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.logs import event

CONNECTIONS_MOST: Final = 64
"""Connections at once; one more, and the oldest is cut off."""
LINE_MOST: Final = 4096
"""Bytes of a request's first line, and of each header."""
PATIENCE: Final = 30.0
"""Seconds in which a request must have come as a whole, or a piece of a reply be taken."""
PATIENCE_UNIX: Final = 3600.0
"""The same on a UNIX socket: there it is a person with a pager who does not read on."""
GRACE: Final = 1.0
"""Seconds that a request under way has at the end."""
BACKLOG: Final = 128
_HEADERS: Final = {"Server": "postfix-mta-sts", "Cache-Control": "no-store"}
# The file of a UNIX socket is its maker's to remove; asyncio does it unasked from Python 3.13 on.
_FILE_STAYS: Final[dict[str, Any]] = (
    {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
)

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    sock: socket.socket, routes: Iterable[Route], *, patience: float | None = None
) -> AsyncIterator[None]:
    """Answer on a bound socket, TCP or UNIX; at the end requests under way have `GRACE` seconds.

    The socket is closed then; the file of a UNIX socket is left to who made it. `patience`, in
    seconds, takes the place of `PATIENCE` and `PATIENCE_UNIX`.
    """
    unix = sock.family == socket.AF_UNIX
    server = _Server(tuple(routes), patience or (PATIENCE_UNIX if unix else PATIENCE))
    loop = asyncio.get_running_loop()
    if unix:
        listener = await loop.create_unix_server(server, sock=sock, backlog=BACKLOG, **_FILE_STAYS)
    else:
        listener = await loop.create_server(server, sock=sock, backlog=BACKLOG)
    try:
        yield
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(GRACE)


class _Server(web.Server):
    """aiohttp's server, with few connections at once, and routes without an `Application`."""

    def __init__(self, routes: tuple[Route, ...], patience: float) -> None:
        super().__init__(self._handle)
        self._routes = routes
        self._patience = patience

    def __call__(self) -> web.RequestHandler:
        """What speaks with one more client; the oldest makes room."""
        for connection in self.connections[: 1 - CONNECTIONS_MOST]:
            _cut_off(connection.transport)
        return _Connection(self, asyncio.get_running_loop(), self._patience)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        found = [(r, parts) for r in self._routes if (parts := r.match(path)) is not None]
        method = "GET" if request.method == "HEAD" else request.method
        for route, parts in found:
            if route.method == method:
                return await _answered(request, route, parts, self._patience)
        if not found:
            return _in_short(HTTPStatus.NOT_FOUND)
        refusal = _in_short(HTTPStatus.METHOD_NOT_ALLOWED)
        refusal.headers["Allow"] = ", ".join(route.method for route, _ in found)
        return refusal


class _Connection(web.RequestHandler):
    """aiohttp's connection, with our limits, and without its words in the log."""

    __slots__ = ()

    def __init__(self, server: _Server, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=patience,
            access_log=None,  # type: ignore[arg-type] # which it takes for "none"
            max_line_size=LINE_MOST,
            max_field_size=LINE_MOST,
            lingering_time=1.0,  # for a body, of which nothing is wanted
            read_bufsize=LINE_MOST,
        )

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 (aiohttp's signature)
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (aiohttp's signature; it would quote the request)
    ) -> web.StreamResponse:
        """Refuse what is no HTTP; `aiohttp.web.RequestHandler`."""
        event(_log, logging.DEBUG, "request refused", status=status, error=type(exc).__name__)
        refusal = _in_short(HTTPStatus(status))
        refusal.force_close()
        return refusal


class _GoneError(ConnectionError):
    """The client has closed, or does not read."""


async def _answered(
    request: web.BaseRequest, route: Route, parts: Mapping[str, str], patience: float
) -> web.StreamResponse:
    try:
        reply = await route.answer(Asked(parts, dict(request.query)))
        if isinstance(reply.body, bytes):
            return web.Response(body=reply.body, **_head(reply.status, reply.content_type))
        async with aclosing(reply.body) as pieces:
            return await _streamed(request, reply, pieces, patience)
    except _GoneError:
        raise  # aiohttp takes it in silence
    except Exception as error:  # the top of a request: the next one is answered
        event(_log, logging.ERROR, "request broken off", route=route.path, exc_info=error)
        if request.writer.output_size > 0:
            _cut_off(request.transport)
            raise _GoneError from error
        return _in_short(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _streamed(
    request: web.BaseRequest, reply: Reply, pieces: AsyncIterator[bytes], patience: float
) -> web.StreamResponse:
    response = web.StreamResponse(**_head(reply.status, reply.content_type))
    await _taken(request, response.prepare(request), patience)
    if request.method != "HEAD":
        async for piece in pieces:
            await _taken(request, response.write(piece), patience)
    await _taken(request, response.write_eof(), patience)
    return response


async def _taken(request: web.BaseRequest, sending: Awaitable[object], patience: float) -> None:
    """Wait until there is room for what is sent. Raises `_GoneError`."""
    try:
        async with asyncio.timeout(patience):
            await sending
    except (TimeoutError, ConnectionError):
        _cut_off(request.transport)
        raise _GoneError from None


def _head(status: int, content_type: str) -> dict[str, Any]:
    return {"status": status, "headers": {**_HEADERS, "Content-Type": content_type}}


def _in_short(status: HTTPStatus) -> web.Response:
    text = f"{status.value} {status.phrase}\n".encode()
    return web.Response(body=text, **_head(status, "text/plain; charset=utf-8"))


def _cut_off(transport: asyncio.Transport | None) -> None:
    if transport:
        transport.abort()
