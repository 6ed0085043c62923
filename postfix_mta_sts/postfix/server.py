"""All listeners for Postfix and their connections: limits, and the drain at the end.

`connection` answers one client; `connections` knows all of them, and which one is closed at the
limit.
"""

import asyncio
import logging
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.client import Clients
from postfix_mta_sts.postfix.connection import PostfixConnection, Shared
from postfix_mta_sts.postfix.connections import Connections
from postfix_mta_sts.postfix.probe import Place, place_of
from postfix_mta_sts.postfix.refusals import Refusals
from postfix_mta_sts.postfix.replies import ReplyCache
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
# The creator of a UNIX socket's file removes it; from Python 3.13 on asyncio does it by default.
_KEEP_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


@dataclass(eq=False, slots=True)
class Listener:
    """An open listener."""

    server: asyncio.Server
    place: Place


class Server:
    """All listeners and their connections.

    `limit`: connections at once; at the limit one is closed for a new one, most often an idle one:
    Postfix opens another when it next asks. `timeout`: seconds that a client may leave a request
    incomplete or its replies unread. `counters` counts malformed requests. `postfix_uid`: the user
    that may use more than a share of the attempts, Postfix's own.
    """

    def __init__(
        self,
        *,
        limit: int,
        timeout: float = REQUEST_TIMEOUT,
        counters: Counters | None = None,
        postfix_uid: int | None = None,
    ) -> None:
        self._connections = Connections[PostfixConnection](limit)
        refusals = Refusals(counters or Counters(), lambda: asyncio.get_running_loop().time())
        self._shared = Shared(self._connections, Clients(postfix_uid), refusals, limit, timeout)
        self._listeners: list[Listener] = []

    @property
    def connections(self) -> int:
        """Connected clients."""
        return len(self._connections)

    async def listen(self, sock: socket.socket, replies: ReplyCache) -> Listener:
        """Serve the clients of a bound socket with these replies, until `stop_listening`."""
        loop = asyncio.get_running_loop()
        place = place_of(replies.wire.NAME, sock)

        def connection() -> PostfixConnection:
            return PostfixConnection(self._shared, replies, place)

        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False, **_KEEP_FILE
            )
        else:
            server = await loop.create_server(
                connection, sock=sock, backlog=BACKLOG, start_serving=False
            )
        listener = Listener(server, place)
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
        for connection in self._connections:
            connection.finish()
        try:
            async with asyncio.timeout(timeout):
                await self._connections.wait_until_empty()
        except TimeoutError:
            left = len(self._connections)
            event(_log, logging.INFO, "connections closed without a reply", connections=left)
        for connection in self._connections:
            connection.abort()

    def _finish(self, listener: Listener) -> None:
        for connection in self._connections:
            if connection.place is listener.place:
                connection.finish()
