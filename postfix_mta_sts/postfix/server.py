"""Connections: replies in the order of requests, back-pressure, limits, drain.

Border: bytes from and to Postfix; what a request means and what is answered, `answers` knows.
What a client asks while a reply to it is being found waits, and nothing more is read of its
connection then: that keeps the order, and bounds what one client can have waiting.
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
from postfix_mta_sts.resolver.flight import LookupResult
from postfix_mta_sts.stats import Counters

_log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that the kernel holds for us; more than Postfix's processes ask for at once."""
WRITTEN_AT_ONCE: Final = 65_536
"""Bytes of replies that are made before it is seen whether the client reads them."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds in which a client must complete a request that it began."""
DRAIN_TIMEOUT: Final = 20.0
"""Seconds in which look-ups under way at shutdown must be answered."""
DRAIN_GRACE: Final = 0.2
"""Seconds after the last listener closed in which requests already sent are still taken."""
# The file of a UNIX socket is its maker's to remove; asyncio does it unasked from Python 3.13 on.
_FILE_STAYS: Final[dict[str, Any]] = (
    {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
)
REFUSAL_SILENCE: Final = 60.0
PEERS_KEPT: Final = 1_000
"""Peers of whom is remembered that their malformed requests were logged."""


class PostfixConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "Server", answers: ReplyCache, door: "Listener") -> None:
        self.door = door
        self._server = server
        self._answers = answers
        self._frames = Frames(answers.wire)
        self._pending: deque[bytes] = deque()
        self._straight = True  # nothing begun, waiting or held back: a reply may go out at once
        self._full = False  # the client does not read its replies
        self._ending = False  # no more requests will come, or be taken
        self._look_up: PendingReply | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @property
    def idle(self) -> bool:
        """Whether every request that came is answered, and the answer read."""
        return not (self._look_up or self._pending or self._full)

    @property
    def dispensable(self) -> bool:
        """Whether the client takes it well to be cut off now; tcp_table's never does."""
        return self.idle and self._answers.wire.CLOSED_WHEN_IDLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client in; `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """Forget the client; what others wait for too goes on; `asyncio.BaseProtocol`."""
        self._pending.clear()
        self._cancel_deadline()
        if self._look_up:
            self._look_up.found.cancel()
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        """Answer: at once what was answered before; `asyncio.Protocol`."""
        if self._straight and (reply := self._answers.remembered(data)) is not None:
            self._transport.write(reply)
        else:
            self._receive(data)

    def eof_received(self) -> bool:
        """Answer what was asked before the end, then close; `asyncio.Protocol`."""
        self._ending = True
        return not self.idle

    def pause_writing(self) -> None:
        """Take no more requests of a client that does not read; `asyncio.BaseProtocol`."""
        self._full = True
        self._settle()

    def resume_writing(self) -> None:
        """Go on; `asyncio.BaseProtocol`."""
        self._full = False
        self._proceed()

    def finish(self) -> None:
        """Close as soon as what was asked is answered."""
        self._ending = True
        self._settle()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    def _receive(self, data: bytes) -> None:
        if self._straight and data.count(self._answers.wire.END) > 1:
            replies, data = self._answers.recited(data, WRITTEN_AT_ONCE)
            if replies:
                self._transport.write(b"".join(replies))
                if not data:
                    return
        try:
            frames = self._frames.feed(data)
        except WireError as error:
            self._refuse(error)
            return
        if frames:
            self._cancel_deadline()  # what is begun now was begun after them
        self._pending.extend(frames)
        self._proceed()

    def _proceed(self) -> None:
        """Answer what is pending, in order, as far as it goes without waiting."""
        try:
            while self._pending and not self._full and not self._look_up:
                replies = self._answers.recite(self._pending, WRITTEN_AT_ONCE)
                self._transport.write(b"".join(replies) if replies else self._answer_next())
        except WireError as error:
            self._refuse(error)
        else:
            self._settle()

    def _answer_next(self) -> bytes:
        """The reply to the next request, or none yet, and a look-up under way."""
        reply = self._answers.answer(self._pending.popleft())
        if isinstance(reply, bytes):
            return reply
        self._look_up = reply
        reply.found.add_done_callback(partial(self._found, reply))
        return b""

    def _found(self, look_up: PendingReply, found: asyncio.Future[LookupResult]) -> None:
        self._look_up = None
        if found.cancelled() or self._transport.is_closing():
            return
        try:
            reply = look_up.reply(found.result())
        except Exception as error:  # noqa: BLE001 (the top of a callback: the client goes, no other)
            event(_log, logging.ERROR, "look-up broken off", exc_info=error)
            self._transport.abort()
            return
        self._transport.write(reply)
        self._proceed()

    def _refuse(self, error: WireError) -> None:
        self._server.refused(self._transport.get_extra_info("peername"), error)
        self._pending.clear()
        self._transport.write(self._answers.wire.encode_reply(TryAgain(str(error))))
        self._transport.close()

    def _settle(self) -> None:
        """Read, wait, or close, as the connection's state has it."""
        if self._transport.is_closing():
            return
        if self._ending and self.idle:
            self._transport.close()
            return
        idle, partial = self.idle, self._frames.partial
        self._straight = idle and not partial
        # Postfix asks nothing more before it has its reply: its connections never come to a pause,
        # which would take two system calls a look-up.
        if idle or not (self._full or self._pending or partial):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
        if not (self._full or (idle and partial)):
            self._cancel_deadline()
        elif self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._server.patience, self.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


@dataclass(eq=False, slots=True)
class Listener:
    """A listener that is open."""

    listener: asyncio.Server


class Server:
    """All listeners and their connections.

    `limit`: connections at once. At the limit an idle socketmap connection, the oldest, makes
    room for a new one: Postfix opens another when it next asks. `patience`: seconds that a
    client may leave a request unended or its replies unread. `counters`: where malformed requests
    are counted.
    """

    def __init__(
        self, *, limit: int, patience: float = REQUEST_TIMEOUT, counters: Counters | None = None
    ) -> None:
        self.patience = patience
        self._counters = counters or Counters()
        self._limit = limit
        self._listeners: list[Listener] = []
        self._connections: dict[PostfixConnection, None] = {}
        self._gone = asyncio.Event()
        self._refusals: OrderedDict[str, float] = OrderedDict()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def listen(self, sock: socket.socket, answers: ReplyCache) -> Listener:
        """Serve those who connect to a listening socket, with these answers, until `shut`."""
        loop = asyncio.get_running_loop()

        def connection() -> PostfixConnection:
            return PostfixConnection(self, answers, door)

        if sock.family == socket.AF_UNIX:
            listener = await loop.create_unix_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False, **_FILE_STAYS
            )
        else:
            listener = await loop.create_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False
            )
        door = Listener(listener)
        self._listeners.append(door)
        await listener.start_serving()
        return door

    def shut(self, door: Listener) -> None:
        """Take no more clients there; those who came by it are answered, and closed a bit later."""
        self._listeners.remove(door)
        door.listener.close()
        asyncio.get_running_loop().call_later(DRAIN_GRACE, self._finish, door)

    async def drain(self, deadline: float = DRAIN_TIMEOUT) -> None:
        """Take no more clients, answer what was asked, and close; `deadline` in seconds."""
        for door in self._listeners:
            door.listener.close()
        await asyncio.sleep(DRAIN_GRACE)
        for connection in list(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(deadline):
                while self._connections:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            event(_log, logging.WARNING, "closed unanswered", connections=len(self._connections))
        for connection in list(self._connections):
            connection.abort()

    def joined(self, connection: PostfixConnection) -> None:
        """A connection was made."""
        self._connections[connection] = None
        if len(self._connections) > self._limit:
            event(_log, logging.INFO, "too many connections", limit=self._limit)
            (self._dispensable() or connection).abort()

    def left(self, connection: PostfixConnection) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)
        self._gone.set()

    def refused(self, peername: object, error: WireError) -> None:
        """Count a malformed request; log one a peer in `REFUSAL_SILENCE` seconds at most."""
        self._counters.refused += 1
        peer = str(peername[0]) if isinstance(peername, tuple) else "unix"
        now = asyncio.get_running_loop().time()
        if now < self._refusals.get(peer, now):
            return
        self._refusals[peer] = now + REFUSAL_SILENCE
        if len(self._refusals) > PEERS_KEPT:
            self._refusals.popitem(last=False)
        event(_log, logging.INFO, "malformed request", peer=peer, reason=str(error))

    def _finish(self, door: Listener) -> None:
        for connection in [c for c in self._connections if c.door is door]:
            connection.finish()

    def _dispensable(self) -> PostfixConnection | None:
        return next((c for c in self._connections if c.dispensable), None)
