"""Open the listeners of the settings, and change some while the others keep serving.

A listener that stays keeps its socket, its clients and its cached replies, also if its
permissions change. `server` serves the clients; `sockets` opens the sockets.
"""

import logging
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from socket import socket
from typing import NamedTuple

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.wire import WireName
from postfix_mta_sts.postfix.server import Listener, Server
from postfix_mta_sts.sockets import Binding, PreparedChange, Sockets, SocketSet

_log = logging.getLogger(__name__)


class _Identity(NamedTuple):
    """A listener with the same identity before and after a reload is kept."""

    key: Hashable
    wire: WireName
    tlsrpt: bool


class Listeners:
    """All open listeners."""

    def __init__(self, server: Server, maps: Maps, sockets: Sockets) -> None:
        self._server = server
        self._maps = maps
        self._sockets = SocketSet[Hashable](sockets)
        self._serving: dict[_Identity, Listener] = {}

    @property
    def sockets(self) -> Sequence[tuple[WireName, socket]]:
        """The protocol and the socket of each listener."""
        pairs = ((each.wire, self._sockets.get(each.key)) for each in self._serving)
        return [(wire, sock) for wire, sock in pairs if sock]

    async def open(self, listeners: Sequence[ListenerSettings]) -> None:
        """Serve these listeners and no others. Raises `ListenError`; nothing has changed then."""
        with self.prepare(listeners) as change:
            pass
        await self.reconfigure(listeners, change)

    def prepare(
        self, listeners: Sequence[ListenerSettings]
    ) -> AbstractContextManager[PreparedChange[Hashable]]:
        """Open the sockets that `reconfigure` needs.

        Raises `ListenError` if the daemon cannot listen on an address. This, and any error in the
        context, leaves everything as it was.
        """
        return self._sockets.prepare(
            {_key(each): Binding(each.address, each) for each in listeners}
        )

    async def reconfigure(
        self, listeners: Sequence[ListenerSettings], change: PreparedChange[Hashable]
    ) -> None:
        """Serve these listeners and no others; `change` is the result of `prepare`.

        Requests that arrived through a listener that is now closed are answered first.
        """
        wanted = {_identity(each): each for each in listeners}
        # Before another listener uses the socket: of two servers on one socket, either may accept.
        for identity in [each for each in self._serving if each not in wanted]:
            self._server.stop_listening(self._serving.pop(identity))
        for address, _ in change.plan.close.values():
            event(_log, logging.INFO, "stopped listening", address=address)
        self._sockets.commit(change)
        for identity in [each for each in wanted if each not in self._serving]:
            await self._serve(identity, wanted[identity])

    def close(self) -> None:
        """Close the sockets and remove the files that were made for them."""
        self._sockets.close()

    async def _serve(self, identity: _Identity, listener: ListenerSettings) -> None:
        event(_log, logging.INFO, "listening", wire=listener.wire, address=listener.address)
        if sock := self._sockets.get(identity.key):
            replies = self._maps.replies(listener)
            self._serving[identity] = await self._server.listen(sock.dup(), replies)


def _identity(listener: ListenerSettings) -> _Identity:
    return _Identity(_key(listener), listener.wire, bool(listener.tlsrpt))


def _key(listener: ListenerSettings) -> Hashable:
    """The address; with port 0 the whole listener, because each opening chooses another port."""
    address = listener.address
    return listener if isinstance(address, TcpAddress) and not address.port else address
