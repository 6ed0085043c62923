"""The addresses of the listeners: a host name stands for each of its addresses.

`listeners` opens them.
"""

import errno
import socket
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.config.address import TcpAddress, UnixAddress, is_ip
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.sockets import ListenError

UNAVAILABLE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address that this machine does not have, for example because IPv6 is off."""


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a listener."""

    listener: ListenerSettings
    address: TcpAddress | UnixAddress

    @property
    def name(self) -> TcpAddress | None:
        """The address as configured, if it has a host name."""
        given = self.listener.address
        return given if isinstance(given, TcpAddress) and given != self.address else None

    @property
    def key(self) -> Hashable:
        """What identifies the socket; with port 0, which is another port each time, the place."""
        address = self.address
        return self if isinstance(address, TcpAddress) and not address.port else address


def places_of(listeners: Sequence[ListenerSettings]) -> Sequence[Place]:
    """All addresses of the listeners; host names are looked up, which may block.

    Raises `ListenError` for a name without an address, and if two listeners have the same one.
    """
    places = [Place(each, address) for each in listeners for address in _addresses(each.address)]
    seen: dict[Hashable, Place] = {}
    for place in places:
        if (other := seen.setdefault(place.key, place)) != place:
            both = f"{other.listener.address} and {place.listener.address}"
            raise ListenError(f"cannot listen on {place.address}: {both} are the same address")
    return places


def _addresses(address: TcpAddress | UnixAddress) -> Sequence[TcpAddress | UnixAddress]:
    if isinstance(address, UnixAddress) or is_ip(address.host):
        return [address]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    hosts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return [TcpAddress(host, address.port) for host in hosts]
