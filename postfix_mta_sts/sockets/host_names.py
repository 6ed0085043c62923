"""Listen at each address of a host name, and do without those that the machine does not have.

`postfix.listeners` and `admin.endpoints` open their sockets in this way; `sockets` opens each.
"""

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress, UnixAddress, is_ip
from postfix_mta_sts.logs import event
from postfix_mta_sts.permissions import Access
from postfix_mta_sts.sockets import Address, Binding, ListenError

UNAVAILABLE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address that this machine does not have, for example because IPv6 is off."""

_IPV6_ADDRESSES: Final = Path("/proc/net/if_inet6")
"""A line for each, also for ::1 (proc(5))."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where to listen for one setting: at its address, or at each address of its host name."""

    configured: Address
    bindings: tuple[Binding, ...]


def bound(address: Address, access: Access) -> Bound:
    """The bindings of a setting; may block. Raises `ListenError` for a name without an address."""
    return Bound(address, tuple(Binding(each, access) for each in addresses_of(address)))


def addresses_of(address: Address) -> Sequence[Address]:
    """Each address of a host name, or only this one; may block. Raises `ListenError`."""
    if isinstance(address, UnixAddress) or is_ip(address.host):
        return [address]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    hosts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return [TcpAddress(host, address.port) for host in hosts]


def is_unreachable(address: Address) -> bool:
    """Whether this is all IPv6 addresses, of which the machine has none.

    With `net.ipv6.conf.all.disable_ipv6=1` the kernel lets a program listen there all the same.
    """
    if not isinstance(address, TcpAddress) or address.host != "::":
        return False
    try:
        return not _IPV6_ADDRESSES.read_text()
    except OSError:
        return False  # not known; without IPv6 in the kernel the address cannot be opened


class Openings:
    """Opens sockets with `open_socket`, except at addresses that this machine does not have."""

    def __init__(self, open_socket: Callable[[Binding], socket.socket]) -> None:
        self._open_socket = open_socket
        self._missing: dict[Binding, ListenError] = {}

    def open(self, binding: Binding) -> socket.socket | None:
        """Return the socket, or None; raises `ListenError` for any other reason."""
        try:
            sock = self._open_socket(binding)
        except ListenError as error:
            if getattr(error.__cause__, "errno", None) not in UNAVAILABLE:
                raise
            self._missing[binding] = error
            return None
        if is_unreachable(binding.address):
            event(
                _log,
                logging.WARNING,
                "no client can reach a listener, IPv6 is off",
                address=binding.address,
                advice="write 0.0.0.0 in place of [::]",
            )
        return sock

    def check(self, where: Bound) -> None:
        """Log the addresses that are missing; raises `ListenError` if there is no other one."""
        missing = [each for each in where.bindings if each in self._missing]
        if missing and len(missing) == len(where.bindings):
            raise self._missing[missing[0]]
        for binding in missing:
            event(
                _log,
                logging.INFO,
                "address of a listener is not available",
                address=binding.address,
                name=where.configured,
                reason=getattr(self._missing[binding].__cause__, "strerror", None),
            )
