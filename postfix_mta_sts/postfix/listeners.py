"""Open the listeners of the settings, and change some while the others keep serving.

A listener that stays keeps its socket, its clients and its cached replies, also if its
permissions change. `server` serves the clients; `sockets` opens the sockets.
"""

import asyncio
import logging
import socket
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.logs import event
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.access import access_of, find_closed, give_to_postfix
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.places import Place, places_of
from postfix_mta_sts.postfix.protocol.wire import WireName
from postfix_mta_sts.postfix.server import Listener, Server
from postfix_mta_sts.sockets import Binding, PreparedChange, Sockets, SocketSet
from postfix_mta_sts.sockets.host_names import Bound, Openings

_log = logging.getLogger(__name__)


class _Identity(NamedTuple):
    """A listener with the same identity before and after a reload is kept."""

    key: Hashable
    wire: WireName
    tlsrpt: bool


class Listeners:
    """All open listeners. `postfix`: the user that must be able to connect, if it is known."""

    def __init__(
        self, server: Server, maps: Maps, sockets: Sockets, postfix: Account | None = None
    ) -> None:
        self._server = server
        self._maps = maps
        self._opener = sockets
        self._postfix = postfix
        self._sockets = SocketSet[Hashable](sockets)
        self._serving: dict[_Identity, Listener] = {}

    @property
    def sockets(self) -> Sequence[tuple[WireName, socket.socket]]:
        """The protocol and the socket of each listener."""
        pairs = ((each.wire, self._sockets.get(each.key)) for each in self._serving)
        return [(wire, sock) for wire, sock in pairs if sock]

    async def open(self, listeners: Sequence[ListenerSettings]) -> None:
        """Serve these listeners and no others. Raises `ListenError`; nothing has changed then."""
        places = await self.find_places(listeners)
        with self.prepare(places) as change:
            pass
        await self.reconfigure(places, change)

    async def find_places(self, listeners: Sequence[ListenerSettings]) -> Sequence[Place]:
        """See `places_of`; the look-up of a host name does not delay replies."""
        return await asyncio.to_thread(places_of, listeners)

    @contextmanager
    def prepare(self, places: Sequence[Place]) -> Iterator[PreparedChange[Hashable]]:
        """Open the sockets that `reconfigure` needs.

        An address of a host name that this machine does not have is left out, if another one can be
        opened. Raises `ListenError` if the daemon cannot listen on an address. This, and any error
        in the context, leaves everything as it was.
        """
        wanted = {each.key: Binding(each.address, access_of(each.listener)) for each in places}
        openings = Openings(self._opener.open)
        with self._sockets.prepare(wanted, openings.open) as change:
            for listener, of_it in groupby(places, lambda place: place.listener):
                bindings = tuple(wanted[place.key] for place in of_it)
                openings.check(Bound(listener.address, bindings))
            yield change

    async def reconfigure(self, places: Sequence[Place], change: PreparedChange[Hashable]) -> None:
        """Serve these places and no others; `change` is the result of `prepare`.

        Requests that arrived through a listener that is now closed are answered first.
        """
        wanted = {_identity(each): each for each in places}
        # Before another listener uses the socket: of two servers on one socket, either may accept.
        for identity in [each for each in self._serving if each not in wanted]:
            self._server.stop_listening(self._serving.pop(identity))
        for address, _ in change.plan.close.values():
            event(_log, logging.INFO, "stopped listening", address=address)
        self._sockets.commit(change)
        for place in places:
            if place.key in change.opened or place.key in change.plan.permit:
                self._admit_postfix(place)
        for identity in [each for each in wanted if each not in self._serving]:
            await self._serve(identity, wanted[identity])

    def close(self) -> None:
        """Close the sockets and remove the files that were made for them."""
        self._sockets.close()

    def _admit_postfix(self, place: Place) -> None:
        """Let Postfix connect to a UNIX socket, or say why it may not."""
        if self._opener.has_made(place.address):
            give_to_postfix(place.listener, self._postfix)
        if closed := find_closed(place.listener, self._postfix):
            event(
                _log,
                logging.WARNING,
                "Postfix may not connect to a listener",
                address=closed.address,
                reason=closed.reason,
                advice=closed.advice,
            )

    async def _serve(self, identity: _Identity, place: Place) -> None:
        if sock := self._sockets.get(identity.key):
            event(
                _log,
                logging.INFO,
                "listening",
                wire=place.listener.wire,
                address=place.address,
                name=place.name,
                families=_families(sock),
            )
            replies = self._maps.replies(place.listener)
            self._serving[identity] = await self._server.listen(sock.dup(), replies)


def _identity(place: Place) -> _Identity:
    return _Identity(place.key, place.listener.wire, bool(place.listener.tlsrpt))


def _families(sock: socket.socket) -> str | None:
    """The address families of a socket on all IPv6 addresses, since `[::]` may mean either."""
    if sock.family != socket.AF_INET6 or sock.getsockname()[0] != "::":
        return None
    only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return "IPv6 only" if only else "IPv6 and IPv4"
