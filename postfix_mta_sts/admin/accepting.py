"""Accept connections on a listening socket: a limited number, each with a time for its request.

aiohttp, to which `http_server` passes them, has neither limit: it leaves the number of connections
to the application (its issue 675), and promises no timeout for a client that connects and sends
nothing. This module knows nothing of HTTP.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from postfix_mta_sts.admin.peer import Refused, peer_of
from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.runtime import background_task

CONNECTIONS_LIMIT: Final = 64
"""Open connections; when one more arrives, the oldest is closed."""
ACCEPT_PAUSE: Final = 1.0
"""Seconds without accepting after an error, such as too many open files."""
BACKLOG: Final = 128

_log = logging.getLogger(__name__)


class Connections:
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

    def first_request(self, transport: asyncio.Transport | None) -> None:
        """Note that the first request of a connection has arrived: its time is up no more."""
        if transport in self._open:
            self._open[transport][1].cancel()


@asynccontextmanager
async def accepting(
    sock: socket.socket,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    connections: Connections,
    refused: Refused,
) -> AsyncIterator[asyncio.Task[None]]:
    """Listen on a bound socket, and pass each connection to a new protocol; the value is the task.

    `refused`: the ids of processes whose connections are closed at once. The socket is closed at
    the end, and the connections are left to the protocols.
    """
    with sock:
        sock.settimeout(0)
        sock.listen(BACKLOG)
        accepting = _accept_all(sock, protocol_factory, connections, refused)
        async with background_task(accepting, "accept HTTP connections") as task:
            yield task


async def _accept_all(
    sock: socket.socket,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    connections: Connections,
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
