"""Connect to one of a host's addresses, and translate errors.

This is the only file that imports aiohappyeyeballs, which tries the next address while an earlier
one does not answer (RFC 8305).
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    FetchError,
    OwnFaultError,
    TlsError,
    UnreachableError,
    printable,
)
from postfix_mta_sts.network.addresses import forbidden_address
from postfix_mta_sts.network.own_faults import own_fault

MAX_ADDRESSES: Final = 4
"""Addresses tried of each family, so that no name makes the daemon connect to hundreds."""
NEXT_ADDRESS_DELAY: Final = 0.25
"""Seconds before the next address is tried in parallel (RFC 8305 §5)."""
_WITHOUT_NAME: Final = re.compile(r"^\[[^]]*\] | \(_ssl\.c:[0-9]+\)$")
"""What `ssl` adds to a reason of OpenSSL that it has no name for: the library, and its own line."""


class NotAdmittedError(OSError):
    """The address is not allowed; an OSError, so the next address is tried."""


def limit_addresses(addresses: Sequence[str]) -> list[str]:
    """Select the addresses to try: `MAX_ADDRESSES` of each family, IPv6 first."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    return [*six[:MAX_ADDRESSES], *four[:MAX_ADDRESSES]]


async def connect(
    addresses: Sequence[str], port: int, admit: Callable[[str], None]
) -> tuple[str, socket.socket]:
    """Connect to the first address that answers; return it and its socket.

    Raises `OSError`, or `OwnFaultError` if there was no socket for an address.
    `admit` is called with each address just before its socket is made; it raises `OSError` to
    refuse the address, such as `NotAdmittedError`.
    """
    address_of: dict[socket.socket, str] = {}
    faults: list[OwnFaultError] = []

    def make_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (address, *_) = info
        try:
            admit(str(address))
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            faults.extend(filter(None, [own_fault(error)]))
            raise
        address_of[sock] = str(address)
        return sock

    infos = [_info(address, port) for address in addresses]
    try:
        sock = await aiohappyeyeballs.start_connection(
            infos, happy_eyeballs_delay=NEXT_ADDRESS_DELAY, socket_factory=make_socket
        )
    except OSError as error:
        if faults:  # it says nothing about the host
            raise faults[0] from error
        raise
    return address_of[sock], sock


async def system_addresses(host: str, port: int) -> list[str]:
    """Resolve a host as the system does, with /etc/hosts; raises `OSError`."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def fetch_error(error: OSError, address: str | None) -> FetchError:
    """Translate an error of connecting or of the TLS handshake."""
    match error:
        case NotAdmittedError():
            return forbidden_address([str(error)])
        case ssl.SSLCertVerificationError():
            return CertificateError(printable(error.verify_message).removesuffix("."))
        case ssl.SSLEOFError():
            return UnreachableError(f"{address}: connection closed in the TLS handshake")
        case ssl.SSLError():
            return TlsError(f"the TLS handshake failed: {describe(error)}")
        case _:
            return UnreachableError(f"{address}: {describe(error)}")


def describe(error: OSError) -> str:
    """The reason of an error of the system or of OpenSSL: printable and short."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return printable(error.reason).replace("_", " ").lower()
    if isinstance(error, ssl.SSLError) and error.strerror:
        return _WITHOUT_NAME.sub("", printable(error.strerror))
    # asyncio puts the address into the text, so take the system's text for the number. Negative
    # numbers are those of getaddrinfo, which has texts of its own.
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return printable(error.strerror or str(error)) or "connection lost"


def _info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
