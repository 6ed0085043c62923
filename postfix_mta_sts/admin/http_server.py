"""Serve routes over HTTP on a listening socket, with `aiohttp.web`.

This is the only module that imports aiohttp's server. It reads the body of a request only for a
route that says how long it may be. The permissions of the socket decide which clients can connect.
Importing this module costs aiohttp's 200 ms and 16 MiB: see `endpoints`.

Only the documented API of aiohttp is used, which has two gaps:

- It cannot limit the number of connections (aiohttp issue 675: left to the application), and it
  promises no timeout for a client that connects and sends nothing. So this module accepts
  connections itself (`_accept_all`), keeps a list of them (`_Connections`), and passes each one to
  aiohttp's protocol factory, `AppRunner.server`, with `loop.connect_accepted_socket`.
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
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from postfix_mta_sts.admin.http import HttpRequest, Route
from postfix_mta_sts.admin.peer import Refused, peer_of
from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.runtime import background_task

CONNECTIONS_LIMIT: Final = 64
"""Open connections; when one more arrives, the oldest is closed."""
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
ACCEPT_PAUSE: Final = 1.0
"""Seconds without accepting after an error, such as too many open files."""
BACKLOG: Final = 128
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
    connections = _Connections(client_timeout or default)
    runner = _runner(routes, connections)
    await runner.setup()
    try:
        async with _accepting(sock, runner, connections, refused) as accepting:
            yield accepting
    finally:
        await runner.cleanup()
        connections.forget_all()


class _Connections:
    """The open connections, oldest first."""

    def __init__(self, client_timeout: float) -> None:
        self.client_timeout: Final = client_timeout
        self._open: dict[asyncio.Transport, tuple[socket.socket, asyncio.TimerHandle]] = {}

    def add(self, accepted: socket.socket, transport: asyncio.Transport) -> None:
        """Add a connection. It is aborted if its first request does not arrive in time."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.client_timeout, transport.abort)
        self._open[transport] = accepted, timer

    def make_room(self) -> None:
        """Abort the oldest connections, so that one more may be added."""
        # A transport that is closing may still hold a response that its client does not read. Its
        # socket, which the transport owns, is closed only after that.
        for transport, (accepted, timer) in list(self._open.items()):
            if accepted.fileno() < 0:
                timer.cancel()
                del self._open[transport]
        for oldest in list(self._open)[: 1 - CONNECTIONS_LIMIT]:
            oldest.abort()

    def forget_all(self) -> None:
        """Cancel all timers: aiohttp has closed the connections."""
        for _, timer in self._open.values():
            timer.cancel()
        self._open.clear()

    @web.middleware
    async def stop_timer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a request has arrived; `keepalive_timeout` of aiohttp limits later ones."""
        if request.transport in self._open:
            self._open[request.transport][1].cancel()
        return await handler(request)


def _runner(routes: Iterable[Route], connections: _Connections) -> web.AppRunner:
    app = web.Application(middlewares=[connections.stop_timer, _short_errors])
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


@asynccontextmanager
async def _accepting(
    sock: socket.socket, runner: web.AppRunner, connections: _Connections, refused: Refused
) -> AsyncIterator[asyncio.Task[None]]:
    if runner.server is None:
        raise RuntimeError("the runner has not been set up")
    with sock:
        sock.settimeout(0)
        sock.listen(BACKLOG)
        accepting = _accept_all(sock, runner.server, connections, refused)
        async with background_task(accepting, "accept HTTP connections") as task:
            yield task


async def _accept_all(
    sock: socket.socket,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    connections: _Connections,
    refused: Refused,
) -> None:
    """Accept connections; never return."""
    loop = asyncio.get_running_loop()
    failures, refusals = RateLimit(), RateLimit()
    while True:
        accepted = await _accept(sock, failures)
        if (peer := peer_of(accepted)) and peer.pid in refused():
            accepted.close()
            _log_refusal(peer.pid, refusals)
            continue
        connections.make_room()
        try:
            transport, _ = await loop.connect_accepted_socket(protocol_factory, accepted)
        except OSError:  # the client has closed already
            accepted.close()
        else:
            connections.add(accepted, transport)


async def _accept(sock: socket.socket, failures: RateLimit) -> socket.socket:
    while True:
        await _readable(sock)
        try:
            accepted, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            continue  # the client has closed already
        except OSError as error:
            _log_failure(error, failures)
            await asyncio.sleep(ACCEPT_PAUSE)
        else:
            accepted.settimeout(0)
            return accepted


def _log_failure(error: OSError, failures: RateLimit) -> None:
    if count := failures.take(asyncio.get_running_loop().time()):
        reason = str(error)
        event(_log, logging.WARNING, "cannot accept a connection", reason=reason, count=count)


def _log_refusal(pid: int, refusals: RateLimit) -> None:
    if count := refusals.take(asyncio.get_running_loop().time()):
        event(_log, logging.ERROR, "network process refused at a socket", pid=pid, count=count)


async def _readable(sock: socket.socket) -> None:
    """Wait until a client connects.

    Unlike `loop.sock_accept`, this cannot lose an accepted connection when it is cancelled.
    """
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)


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
