"""The addresses at which the Postfix of this machine receives mail, from `inet_interfaces`.

The kernel lists the addresses of the interfaces (rtnetlink(7)); it answers without a privilege. A
name that has no address, or a system without rtnetlink, adds nothing.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

Addresses: TypeAlias = tuple[str, ...]
Resolve: TypeAlias = Callable[[str], Awaitable[Addresses]]

RESOLVE_TIMEOUT: Final = 2.0
"""Seconds for the addresses of all names."""

_NAMES_LIMIT: Final = 64
_RECEIVE_SIZE: Final = 64 * 1024  # the kernel's own limit for one part of a dump is 32 KiB
_PARTS_LIMIT: Final = 100
_ANSWER_TIMEOUT: Final = 1.0

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NETLINK: Final[int | None] = getattr(socket, "AF_NETLINK", None)  # Linux only
_NETLINK_ROUTE: Final = 0
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_DONE: Final = 3
_REQUEST_AND_DUMP: Final = 0x1 | 0x300
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix, flags, scope, interface
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_SIZES: Final = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}


async def find_own(
    inet_interfaces: str,
    proxy_interfaces: str,
    inet_protocols: str,
    *,
    interfaces: Callable[[], Addresses] | None = None,
    resolve: Resolve | None = None,
    timeout: float = RESOLVE_TIMEOUT,  # noqa: ASYNC109 (for names; the others stay)
) -> Addresses:
    """The addresses that these parameters of main.cf (postconf(5)) stand for, each once."""
    words = words_of(inet_interfaces)
    found: Addresses = ()
    if words in (["all"], ["loopback-only"]):
        every = (interfaces or interface_addresses)()
        found = every if words == ["all"] else tuple(filter(_is_loopback, every))
        words = []
    names = [*words, *words_of(proxy_interfaces)][:_NAMES_LIMIT]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            for part in await asyncio.gather(*map(resolve or addresses_of, names)):
                found += part
    return tuple(dict.fromkeys(each for each in found if _is_used(each, inet_protocols)))


async def addresses_of(host: str) -> Addresses:
    """The addresses of a host name, or the address itself, with or without brackets."""
    with contextlib.suppress(ValueError):
        return (plain(host),)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label that is empty or too long
        return ()
    return tuple(dict.fromkeys(plain(str(sockaddr[0])) for *_, sockaddr in found))


def plain(address: str) -> str:
    """An IP address in one form, without brackets, zone and `::ffff:`; raises `ValueError`."""
    bare = re.fullmatch(r"\[(.*)\]", address)
    parsed = ipaddress.ip_address((bare[1] if bare else address).partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def interface_addresses(family: int | None = _NETLINK) -> Addresses:
    """The addresses of all network interfaces; empty if the system does not say."""
    if family is None:
        return ()
    found: list[str] = []
    with (
        contextlib.suppress(OSError),
        socket.socket(family, socket.SOCK_RAW, _NETLINK_ROUTE) as netlink,
    ):
        netlink.settimeout(_ANSWER_TIMEOUT)
        netlink.send(question())
        for _ in range(_PARTS_LIMIT):
            part = netlink.recv(_RECEIVE_SIZE)
            found += parse_dump(part)
            if ends_dump(part):
                break
    return tuple(dict.fromkeys(found))


def question() -> bytes:
    """The message that asks the kernel for all addresses."""
    size = _HEADER.size + _ADDRESS.size
    return _HEADER.pack(size, _RTM_GETADDR, _REQUEST_AND_DUMP, 1, 0) + bytes(_ADDRESS.size)


def parse_dump(data: bytes) -> Iterator[str]:
    """The addresses in one part of the kernel's answer."""
    for kind, body in _messages(data):
        if kind == _RTM_NEWADDR and len(body) >= _ADDRESS.size:
            size = _SIZES.get(body[0])
            attributes = dict(_attributes(body[_ADDRESS.size :]))
            # On a point-to-point link IFA_ADDRESS is that of the other side.
            address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
            if len(address) == size:
                yield str(ipaddress.ip_address(address))


def ends_dump(data: bytes) -> bool:
    """Whether no further part follows: the kernel has said so, or refused to answer."""
    kinds = [kind for kind, _ in _messages(data)]
    return not kinds or any(kind <= _NLMSG_DONE for kind in kinds)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each whole message."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def words_of(text: str) -> list[str]:
    """The words of a parameter that is a list: "comma and/or whitespace" (postconf(5))."""
    return re.split(r"[\s,]+", text.strip(" \t\r\n,")) if text.strip(" \t\r\n,") else []


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _is_used(address: str, inet_protocols: str) -> bool:
    protocols: Sequence[str] = words_of(inet_protocols)
    return "all" in protocols or ("ipv6" if ":" in address else "ipv4") in protocols
