"""Serve routes over HTTP on a listening socket, with `aiohttp.web`.

This is the only module that imports aiohttp's server. It reads the body of a request only for a
route that says how long it may be. The permissions of the socket decide which clients can connect.
Importing this module costs aiohttp's 200 ms and 16 MiB: see `endpoints`.

Only the documented API of aiohttp is used, which has two gaps:

- It cannot limit connections. So `accepting` accepts them, and passes each one to aiohttp's
  protocol factory, `AppRunner.server`, with `loop.connect_accepted_socket`.
- It has no hook for the answer to a malformed request. aiohttp answers 400 in its own words, which
  quote the request to the client that sent it, then closes. `_log_as_event` keeps the quote out of
  the log.
"""

import asyncio
import logging
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Iterable,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from postfix_mta_sts.admin.accepting import Connections, accepting
from postfix_mta_sts.admin.http import HttpRequest, Route
from postfix_mta_sts.admin.peer import Refused, peer_of
from postfix_mta_sts.logs import event

LINE_LIMIT: Final = 4096
"""Bytes of the request line, and of each header."""
TCP_TIMEOUT: Final = 30.0
"""Seconds in which a client must send a whole request, or take a piece of a response."""
BODY_TIMEOUT: Final = 30.0
"""Seconds in which the body of a request must arrive, on any socket."""
UNIX_TIMEOUT: Final = 3600.0
"""The same on a UNIX socket, where the client may be a person who reads with a pager."""
SHUTDOWN_TIMEOUT: Final = 1.0
"""Seconds that requests under way have at the end."""
_HEADERS: Final = {"Server": "postfix-mta-sts", "Cache-Control": "no-store"}

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    sock: socket.socket,
    routes: Iterable[Route],
    *,
    client_timeout: float | None = None,
    refused: Refused = frozenset,
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve routes on a bound socket, TCP or UNIX, and close it at the end.

    The value is the task that accepts connections; it ends only by an exception.

    Requests under way have `SHUTDOWN_TIMEOUT` at the end. The file of a UNIX socket is left to the
    code that created it. `client_timeout`, in seconds, replaces `TCP_TIMEOUT` and `UNIX_TIMEOUT`.
    `refused`: the ids of processes that are not served on a UNIX socket.
    """
    default = UNIX_TIMEOUT if sock.family == socket.AF_UNIX else TCP_TIMEOUT
    connections = Connections(client_timeout or default)
    runner = _runner(routes, connections)
    await runner.setup()
    try:
        if runner.server is None:
            raise RuntimeError("the runner has not been set up")
        async with accepting(sock, runner.server, connections, refused) as task:
            yield task
    finally:
        await runner.cleanup()
        connections.forget_all()


def _runner(routes: Iterable[Route], connections: Connections) -> web.AppRunner:
    @web.middleware
    async def stop_timer(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a request has arrived; `keepalive_timeout` of aiohttp limits later ones."""
        connections.first_request(request.transport)
        return await handler(request)

    app = web.Application(middlewares=[stop_timer, _short_errors])
    app.on_response_prepare.append(_add_headers)
    for route in routes:
        handler = _handler(route, connections.client_timeout)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler)
    return web.AppRunner(
        app,
        logger=_aiohttp_log,
        access_log=None,
        keepalive_timeout=connections.client_timeout,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
        max_line_size=LINE_LIMIT,
        max_field_size=LINE_LIMIT,
        lingering_time=1.0,  # for a body that nothing reads
        read_bufsize=LINE_LIMIT,
        auto_decompress=False,
    )


def _log_as_event(record: logging.LogRecord) -> bool:
    """Replace a log record of aiohttp with an event of ours, which quotes nothing of a request."""
    error = record.exc_info[1] if record.exc_info else None
    malformed = getattr(error, "code", None) == HTTPStatus.BAD_REQUEST
    if malformed or isinstance(error, web.RequestPayloadError):
        event(_log, logging.DEBUG, "malformed HTTP request", error=type(error).__name__)
    else:
        event(_log, logging.ERROR, "HTTP connection failed", exc_info=error)
    return False


_aiohttp_log = logging.getLogger(f"{__name__}.aiohttp")
_aiohttp_log.addFilter(_log_as_event)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


@web.middleware
async def _short_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request that fits no route with the status alone."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = {name: value for name, value in error.headers.items() if name == "Allow"}
        return _status_only(HTTPStatus(error.status), allow)


def _handler(route: Route, client_timeout: float) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await _body(request, route.body_limit) if route.body_limit else b""
        parts, query = dict(request.match_info), dict(request.query)
        try:
            response = await route.answer(HttpRequest(parts, query, _uid(request), body))
        except Exception as error:  # noqa: BLE001 (the top of a request; the next one is answered)
            _log_fault(route, error)
            return _status_only(HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {"Content-Type": response.content_type}
        if isinstance(response.body, bytes):
            return web.Response(body=response.body, status=response.status, headers=headers)
        streamed = web.StreamResponse(status=response.status, headers=headers)
        await _stream(request, route, streamed, response.body, client_timeout)
        return streamed

    return handle


async def _body(request: web.Request, limit: int) -> bytes:
    """Read the body of a request; one that is too long, or does not arrive, is refused."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest from None
    return bytes(body)


def _uid(request: web.Request) -> int | None:
    """Return the user of a client on a UNIX socket."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    peer = peer_of(sock) if sock else None
    return peer.uid if peer else None


class _ClientGoneError(Exception):
    """The client has closed, or does not read."""


async def _stream(
    request: web.Request,
    route: Route,
    streamed: web.StreamResponse,
    body: AsyncGenerator[bytes],
    client_timeout: float,
) -> None:
    """Send the pieces of a body; abort the connection if that fails in the middle."""
    try:
        async with aclosing(body) as pieces:
            await _send(streamed.prepare(request), client_timeout)
            if request.method != "HEAD":
                async for piece in pieces:
                    await _send(streamed.write(piece), client_timeout)
            await _send(streamed.write_eof(), client_timeout)
    except _ClientGoneError:
        _abort(request)
    except Exception as error:  # noqa: BLE001 (the top of a request; the next one is answered)
        _log_fault(route, error)
        _abort(request)


async def _send(sending: Awaitable[object], client_timeout: float) -> None:
    """Wait until the client has taken what is sent. Raises `_ClientGoneError`."""
    try:
        async with asyncio.timeout(client_timeout):
            await sending
    except (TimeoutError, ConnectionError):
        raise _ClientGoneError from None


def _abort(request: web.Request) -> None:
    if request.transport:
        request.transport.abort()


def _log_fault(route: Route, error: Exception) -> None:
    event(_log, logging.ERROR, "HTTP request failed", route=route.path, exc_info=error)


def _status_only(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> web.Response:
    text = f"{status.value} {status.phrase}\n"
    return web.Response(text=text, status=status, headers=headers)
