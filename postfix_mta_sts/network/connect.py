"""From the addresses of a host to a connection with one of them, and why there is none.

Border: the one place that knows aiohappyeyeballs, which tries the next address while one that was
tried before does not answer (RFC 8305). What is asked of TLS on a connection, and the words for
why it was not to be had, stand here too; what is spoken there is for others.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    FetchError,
    ForbiddenAddressError,
    TlsError,
    UnreachableError,
    printable,
)

ADDRESSES_MOST: Final = 4
"""Addresses tried of each family, so that a name cannot send us around the Internet."""
NEXT_AFTER: Final = 0.25
"""Seconds for which an address is tried alone (RFC 8305 §5)."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291 §2.4 and IANA's registry
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


class NotAdmittedError(OSError):
    """An address may not be connected to; an OSError, which counts as one that does not answer."""


def is_public(text: str) -> bool:
    """Whether an address is global and unicast; of an IPv4 one wrapped in IPv6, whether that is.

    Wrapped: IPv4-mapped (RFC 4291 §2.5.5.2), 6to4 (RFC 3056 §2) and NAT64 (RFC 6052 §2.1).
    Raises `ValueError` where the text is no address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or _behind_nat64(address)
        if wrapped is None:
            return address.is_global and address in _GLOBAL_UNICAST
        address = wrapped
    return address.is_global and not address.is_multicast


def limit_addresses(addresses: Sequence[str]) -> list[str]:
    """The addresses that are tried: some of each family, IPv6 first."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    return [*six[:ADDRESSES_MOST], *four[:ADDRESSES_MOST]]


async def connect(
    addresses: Sequence[str], port: int, admit: Callable[[str], None]
) -> tuple[str, socket.socket]:
    """The first of `addresses` that answers, and the connection with it; raises `OSError`.

    `admit` is told each address when its socket is made, and has the last word on it: it raises
    `NotAdmittedError`.
    """
    made: dict[socket.socket, str] = {}

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (address, *_) = info
        admit(str(address))
        sock = socket.socket(family, kind, protocol)
        made[sock] = str(address)
        return sock

    infos = [_info(address, port) for address in addresses]
    won = await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=NEXT_AFTER, socket_factory=make
    )
    return made[won], won


async def system_addresses(host: str, port: int) -> list[str]:
    """The addresses that the system knows of a host, /etc/hosts included; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def client_context(authorities: str | None) -> ssl.SSLContext:
    """What is asked of TLS (RFC 8461 §3.3); see `NetworkSettings.authorities`."""
    # By hand: ssl.create_default_context writes session keys to where $SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain, dates and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # DNS-ID only (RFC 8461 §3.3)
    context.set_alpn_protocols(["http/1.1"])
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    return context


def fetch_error(error: OSError, address: str | None) -> FetchError:
    """What an error on the way to TLS with an address is to those who wait for the policy."""
    match error:
        case NotAdmittedError():
            return forbidden_address(str(error))
        case ssl.SSLCertVerificationError():
            return CertificateError(printable(error.verify_message).removesuffix("."))
        case ssl.SSLError():
            return TlsError(f"the TLS handshake failed: {describe(error)}")
        case _:
            return UnreachableError(f"{address}: {describe(error)}")


def forbidden_address(addresses: str) -> ForbiddenAddressError:
    """Where no address may be connected to."""
    return ForbiddenAddressError(f"not a public address: {printable(addresses)}")


def describe(error: OSError) -> str:
    """Why something was not to be had of the system, or of OpenSSL: printable, and short."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return printable(error.reason).replace("_", " ").lower()
    # asyncio writes the address in the place of the reason; negative are those of getaddrinfo.
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return printable(error.strerror or str(error)) or "connection lost"


def _info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _behind_nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else None
