"""Identify the client of a listener: its connection, and the owner whose share it uses.

On a UNIX socket the owner is the user of the process that connected. On TCP it is the address,
which cannot tell the users of this machine apart.
"""

import asyncio
import socket
import struct
from ipaddress import IPv6Address, IPv6Network, ip_address
from itertools import count
from typing import Final

from postfix_mta_sts.resolver.fairness import Client, Owner

POSTFIX_USER: Final = "postfix"
"""The user of smtp(8), if `mail_owner` is the default (postconf(5))."""

_UNKNOWN: Final = Owner("unix")
_LOOPBACK: Final = Owner("loopback")
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7): struct ucred
_SITE_BITS: Final = 64
"""Prefix of the IPv6 addresses that belong together: one host may use all of them."""


class Clients:
    """Names the clients of one server. `postfix_uid`: the user that has no quota."""

    def __init__(self, postfix_uid: int | None) -> None:
        self._postfix_uid = postfix_uid
        self._numbers = count(1)

    def identify(self, transport: asyncio.BaseTransport) -> Client:
        """The client at the other end of a new connection."""
        peername = transport.get_extra_info("peername")
        is_ip = isinstance(peername, tuple) and bool(peername)
        owner = _host(str(peername[0])) if is_ip else self._user(transport)
        return Client(owner, next(self._numbers))

    def _user(self, transport: asyncio.BaseTransport) -> Owner:
        sock = transport.get_extra_info("socket")
        option = getattr(socket, "SO_PEERCRED", None)  # not on every system
        if sock is None or option is None:
            return _UNKNOWN
        try:
            credentials = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
        except OSError:  # the client has gone
            return _UNKNOWN
        _, uid, _ = _CREDENTIALS.unpack(credentials)
        return Owner(f"uid {uid}", has_quota=uid != self._postfix_uid)


def _host(address: str) -> Owner:
    """The owner of an address; a local user may choose any of the loopback addresses."""
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip  # a socket of systemd may serve both families
    if ip.is_loopback:
        return _LOOPBACK
    if isinstance(ip, IPv6Address):
        return Owner(str(IPv6Network((int(ip), 128)).supernet(new_prefix=_SITE_BITS)))
    return Owner(str(ip))
