"""The listeners of the settings: opened, and changed while others go on.

Border: between the settings and `server`, which serves those who come, and `listening`, which
makes sockets. A listener that stays keeps its socket, its clients and what they were answered.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from socket import socket
from typing import TypeAlias

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.server import Listener, Server
from postfix_mta_sts.sockets import Sockets

_Address: TypeAlias = TcpAddress | UnixAddress

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _OpenListener:
    door: Listener
    sock: socket
    """The same socket again: what is served goes with its door."""


class Listeners:
    """All listeners that are open, by what the settings say of each."""

    def __init__(self, server: Server, maps: Maps, listening: Sockets) -> None:
        self._server = server
        self._maps = maps
        self._listening = listening
        self._open: dict[ListenerSettings, _OpenListener] = {}

    @property
    def sockets(self) -> Sequence[tuple[ListenerSettings, socket]]:
        """Each listener and its socket."""
        return [(listener, opened.sock) for listener, opened in self._open.items()]

    async def open(self, listeners: Iterable[ListenerSettings], sockets: Iterable[socket]) -> None:
        """Serve at these sockets, one for each listener."""
        for listener, sock in zip(listeners, sockets, strict=True):
            await self._serve(listener, sock)

    @contextmanager
    def opened(
        self, listeners: Iterable[ListenerSettings]
    ) -> Iterator[Mapping[ListenerSettings, socket]]:
        """A socket for each listener that is not open yet, for `reconfigure`.

        Raises `ListenError` where an address cannot be had. Nothing has changed then, nor if the
        context is left by an error.
        """
        with ExitStack() as undo:
            fresh = [each for each in listeners if each not in self._open]
            sockets = {each: self._socket(each, undo) for each in fresh}
            for listener in fresh:
                self._listening.permit(listener.address, listener)
            yield sockets
            undo.pop_all()

    async def reconfigure(
        self, listeners: Sequence[ListenerSettings], fresh: Mapping[ListenerSettings, socket]
    ) -> None:
        """Serve these and no others; `fresh` as `opened` gave them.

        Whoever has come by a listener that goes is answered first.
        """
        staying = {each.address for each in listeners}
        for listener in [each for each in self._open if each not in listeners]:
            self._shut(listener.address, self._open.pop(listener), staying)
        for listener, sock in fresh.items():
            event(_log, logging.INFO, "listening", wire=listener.wire, address=listener.address)
            await self._serve(listener, sock)

    def close(self) -> None:
        """Let go of the sockets, and remove the files that were made for them."""
        self._listening.close()
        for opened in self._open.values():
            opened.sock.close()

    def _socket(self, listener: ListenerSettings, undo: ExitStack) -> socket:
        """A socket for a new listener: that of another one with its address, if there is any."""
        for other, opened in self._open.items():
            if other.address == listener.address:
                return undo.enter_context(opened.sock.dup())
        return undo.enter_context(self._listening.open(listener))

    async def _serve(self, listener: ListenerSettings, sock: socket) -> None:
        kept = sock.dup()
        door = await self._server.listen(sock, self._maps.replies(listener))
        self._open[listener] = _OpenListener(door, kept)

    def _shut(
        self, address: _Address, opened: _OpenListener, staying: AbstractSet[_Address]
    ) -> None:
        # Before another takes its address: of two that listen at one socket, either may be asked.
        self._server.stop_listening(opened.door)
        opened.sock.close()
        if address not in staying:
            event(_log, logging.INFO, "listens no more", address=address)
            self._listening.drop(address)
