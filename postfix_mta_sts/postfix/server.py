"""Connections of Postfix: replies in the order of requests, back-pressure, limits, drain.

This module moves bytes; `replies` decides what a request is answered. While the reply to one
request needs a look-up, later requests of the same client wait and its connection is not read any
further. That keeps the order and bounds what one client can have waiting.
"""

import asyncio
import logging
import socket
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.protocol.reply import TryAgain
from postfix_mta_sts.postfix.protocol.wire import Frames, WireError
from postfix_mta_sts.postfix.replies import PendingReply, ReplyCache
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Counters

_log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that the kernel queues; more than Postfix's processes open at once."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds in which a client must complete a request that it began, or read its replies."""
DRAIN_TIMEOUT: Final = 20.0
"""Seconds in which look-ups under way at shutdown must be answered."""
DRAIN_GRACE: Final = 0.2
"""Seconds after the last listener closed in which requests already sent are still taken."""
HELD_LIMIT: Final = 16 * 2**20
"""Bytes of all requests that wait for the reply to an earlier one of their client. Postfix waits
for each reply before it sends the next request."""
UNSENT_LIMIT: Final = 4096
"""Bytes of replies that a client has not read, before its next requests wait; one reply more than
this is the most that is kept for it."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about malformed requests of the same peer."""
PEERS_LIMIT: Final = 1_000
"""Peers for which the time of the last such line is kept."""
# The creator of a UNIX socket's file removes it; from Python 3.13 on asyncio does it by default.
_KEEP_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class PostfixConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "Server", replies: ReplyCache, listener: "Listener") -> None:
        self.listener = listener
        self._server = server
        self._replies = replies
        self._cached = replies.cached
        self._frames = Frames(replies.wire)
        self._requests: deque[bytes] = deque()
        self._may_reply = True  # no request is incomplete, waiting or held back
        self._is_full = False  # the client does not read its replies
        self._is_ending = False  # close when everything received is answered
        self._pending: PendingReply | None = None
        self._held = 0  # bytes of the requests that wait
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @property
    def idle(self) -> bool:
        """Whether every request is answered, and every reply read."""
        return not (self._pending or self._requests or self._is_full)

    @property
    def expendable(self) -> bool:
        """Whether the client may be disconnected now; never true for tcp_table."""
        return self.idle and self._replies.wire.CLOSED_WHEN_IDLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the client; `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(UNSENT_LIMIT)
        self._server.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """Drop the client; its look-up continues for others; `asyncio.BaseProtocol`."""
        self._requests.clear()
        self._count_held()
        self._cancel_timer()
        if self._pending:
            self._pending.result.cancel()
        self._server.disconnected(self)

    def data_received(self, data: bytes) -> None:
        """Answer, at once if the reply is cached; `asyncio.Protocol`."""
        if self._may_reply and (reply := self._cached(data)) is not None:
            self._transport.write(reply)
        else:
            self._receive(data)

    def eof_received(self) -> bool:
        """Answer the requests received before the end, then close; `asyncio.Protocol`."""
        self._is_ending = True
        return not self.idle

    def pause_writing(self) -> None:
        """Stop taking requests of a client that does not read; `asyncio.BaseProtocol`."""
        self._is_full = True
        self._update()

    def resume_writing(self) -> None:
        """Continue; `asyncio.BaseProtocol`."""
        self._is_full = False
        self._proceed()

    def finish(self) -> None:
        """Close as soon as all received requests are answered."""
        self._is_ending = True
        self._update()

    def abort(self) -> None:
        """Close now, without an answer to pending requests."""
        self._transport.abort()

    def _receive(self, data: bytes) -> None:
        try:
            requests = self._frames.feed(data)
        except WireError as error:
            self._refuse(error)
            return
        if requests:
            self._cancel_timer()  # the rest belongs to a later request
        self._requests.extend(requests)
        self._proceed()
        self._count_held()

    def _count_held(self) -> None:
        """Count the bytes of the requests that wait; reading pauses while there are some."""
        held = sum(map(sys.getsizeof, self._requests))
        self._server.hold(self, held - self._held)
        self._held = held

    def _proceed(self) -> None:
        """Answer the received requests in order, until one needs a look-up."""
        try:
            while self._requests and not self._is_full and not self._pending:
                self._answer(self._requests.popleft())
        except WireError as error:
            self._refuse(error)
        else:
            self._update()

    def _answer(self, request: bytes) -> None:
        """Write the reply to the next request, or start its look-up."""
        reply = self._cached(request) or self._replies.reply(request)
        if isinstance(reply, bytes):
            self._transport.write(reply)
        else:
            self._pending = reply
            reply.result.add_done_callback(partial(self._looked_up, reply))

    def _looked_up(self, pending: PendingReply, result: asyncio.Future[LookupResult]) -> None:
        self._pending = None
        if result.cancelled() or self._transport.is_closing():
            return
        try:
            reply = pending.reply(result.result())
        except Exception as error:  # noqa: BLE001 (the top of a callback: only this client is lost)
            event(_log, logging.ERROR, "look-up failed by an internal error", exc_info=error)
            self._transport.abort()
            return
        self._transport.write(reply)
        self._proceed()

    def _refuse(self, error: WireError) -> None:
        self._server.malformed(self._transport.get_extra_info("peername"), error)
        self._requests.clear()
        self._transport.write(self._replies.wire.encode_reply(TryAgain(str(error))))
        self._transport.close()

    def _update(self) -> None:
        """Read, wait or close, according to the state of the connection."""
        if self._transport.is_closing():
            return
        if self._held and not self._requests:
            self._count_held()
        if self._is_ending and self.idle:
            self._transport.close()
            return
        idle, partial = self.idle, self._frames.partial
        self._may_reply = idle and not partial
        # Postfix sends no request before it has the reply to the last: its connections are never
        # paused, which would take two system calls per look-up.
        if idle or not (self._is_full or self._requests or partial):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
        if self._is_full or (idle and partial):
            self._start_timer()
        else:
            self._cancel_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._server.timeout, self.abort)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


@dataclass(eq=False, slots=True)
class Listener:
    """An open listener."""

    server: asyncio.Server


class Server:
    """All listeners and their connections.

    `limit`: connections at once. At the limit the oldest idle socketmap connection is closed for a
    new one: Postfix opens another when it next asks. `timeout`: seconds that a client may leave a
    request incomplete or its replies unread. `counters` counts malformed requests.
    """

    def __init__(
        self, *, limit: int, timeout: float = REQUEST_TIMEOUT, counters: Counters | None = None
    ) -> None:
        self.timeout = timeout
        self._counters = counters or Counters()
        self._limit = limit
        self._held = 0
        self._held_logs = RateLimit(LOG_INTERVAL)
        self._listeners: list[Listener] = []
        self._connections: dict[PostfixConnection, None] = {}
        self._disconnected = asyncio.Event()
        self._quiet_until: OrderedDict[str, float] = OrderedDict()  # by peer

    @property
    def connections(self) -> int:
        """Connected clients."""
        return len(self._connections)

    async def listen(self, sock: socket.socket, replies: ReplyCache) -> Listener:
        """Serve the clients of a bound socket with these replies, until `stop_listening`."""
        loop = asyncio.get_running_loop()

        def connection() -> PostfixConnection:
            return PostfixConnection(self, replies, listener)

        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False, **_KEEP_FILE
            )
        else:
            server = await loop.create_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False
            )
        listener = Listener(server)
        self._listeners.append(listener)
        await server.start_serving()
        return listener

    def stop_listening(self, listener: Listener) -> None:
        """Accept no more clients; answer those of this listener and close them shortly after."""
        self._listeners.remove(listener)
        listener.server.close()
        asyncio.get_running_loop().call_later(DRAIN_GRACE, self._finish, listener)

    async def drain(self, timeout: float = DRAIN_TIMEOUT) -> None:  # noqa: ASYNC109 (the clients' time)
        """Accept no more clients, answer what was asked, and close; `timeout` in seconds."""
        for listener in self._listeners:
            listener.server.close()
        await asyncio.sleep(DRAIN_GRACE)
        for connection in list(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(timeout):
                await self._wait_until_empty()
        except TimeoutError:
            left = len(self._connections)
            event(_log, logging.WARNING, "connections closed without a reply", connections=left)
        for connection in list(self._connections):
            connection.abort()

    def connected(self, connection: PostfixConnection) -> None:
        """Register a new connection; at the limit, close one."""
        self._connections[connection] = None
        if len(self._connections) > self._limit:
            event(_log, logging.INFO, "connection limit reached", limit=self._limit)
            (self._oldest_expendable() or connection).abort()

    def disconnected(self, connection: PostfixConnection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)
        self._disconnected.set()

    def hold(self, connection: PostfixConnection, more: int) -> None:
        """Count `more` bytes of requests that wait; close the connection if that is too many."""
        self._held += more
        if more > 0 and self._held > HELD_LIMIT:
            connection.abort()
            if count := self._held_logs.take(asyncio.get_running_loop().time()):
                event(_log, logging.WARNING, "too many requests wait, client closed", count=count)

    def malformed(self, peername: object, error: WireError) -> None:
        """Count a malformed request; log one per peer in `LOG_INTERVAL` seconds at most."""
        self._counters.refused += 1
        peer = str(peername[0]) if isinstance(peername, tuple) else "unix"
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until.get(peer, now):
            return
        self._quiet_until[peer] = now + LOG_INTERVAL
        if len(self._quiet_until) > PEERS_LIMIT:
            self._quiet_until.popitem(last=False)
        event(_log, logging.INFO, "malformed request", peer=peer, reason=str(error))

    async def _wait_until_empty(self) -> None:
        while self._connections:
            self._disconnected.clear()
            await self._disconnected.wait()

    def _finish(self, listener: Listener) -> None:
        for connection in [c for c in self._connections if c.listener is listener]:
            connection.finish()

    def _oldest_expendable(self) -> PostfixConnection | None:
        return next((c for c in self._connections if c.expendable), None)
