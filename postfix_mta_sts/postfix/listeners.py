"""Opens the listeners of the settings, and changes them while the others go on.

A listener that stays keeps its socket, its clients and its cached replies. `server` serves the
clients; `sockets` opens the sockets.
"""

import logging
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from socket import socket

from postfix_mta_sts.config.settings import ListenerSettings, TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.server import Listener, Server
from postfix_mta_sts.sockets import Binding, Change, Sockets, SocketSet

_log = logging.getLogger(__name__)


class Listeners:
    """All open listeners, by their settings."""

    def __init__(self, server: Server, maps: Maps, sockets: Sockets) -> None:
        self._server = server
        self._maps = maps
        self._sockets = SocketSet[Hashable](sockets)
        self._serving: dict[ListenerSettings, Listener] = {}

    @property
    def sockets(self) -> Sequence[tuple[ListenerSettings, socket]]:
        """Each listener and its socket."""
        pairs = ((each, self._sockets.get(_key(each))) for each in self._serving)
        return [(listener, sock) for listener, sock in pairs if sock]

    def prepare(
        self, listeners: Sequence[ListenerSettings]
    ) -> AbstractContextManager[Change[Hashable]]:
        """Open the sockets that `reconfigure` needs.

        Raises `ListenError` if the daemon cannot listen on an address. This, and any error in the
        context, leaves everything as it was.
        """
        wanted = {_key(each): Binding(each.address, each) for each in listeners}
        return self._sockets.prepare(wanted)

    async def reconfigure(
        self, listeners: Sequence[ListenerSettings], change: Change[Hashable]
    ) -> None:
        """Serve these listeners and no others; `change` is the result of `prepare`.

        Requests that arrived through a listener that is now closed are answered first.
        """
        # Before another listener uses the socket: of two servers on one socket, either may accept.
        for listener in [each for each in self._serving if each not in listeners]:
            self._server.shut(self._serving.pop(listener))
        for address, _ in change.plan.close.values():
            event(_log, logging.INFO, "stopped listening", address=address)
        self._sockets.commit(change)
        for listener in [each for each in listeners if each not in self._serving]:
            await self._serve(listener)

    def close(self) -> None:
        """Close the sockets and remove the files that were made for them."""
        self._sockets.close()

    async def _serve(self, listener: ListenerSettings) -> None:
        event(_log, logging.INFO, "listening", wire=listener.wire, address=listener.address)
        if sock := self._sockets.get(_key(listener)):
            answers = self._maps.answers(listener)
            self._serving[listener] = await self._server.listen(sock.dup(), answers)


def _key(listener: ListenerSettings) -> Hashable:
    """The address; the whole listener if its port is 0, for that names a new port each time."""
    address = listener.address
    return listener if isinstance(address, TcpAddress) and not address.port else address
