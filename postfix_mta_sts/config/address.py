"""Socket addresses and name servers as the configuration writes them.

This module parses text. It does not resolve host names and does not open sockets.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")
_ZONE = re.compile(r"%[^\s/:%\[\]]{1,15}(?=\]:|\Z)")  # IFNAMSIZ in <net/if.h>
_LINK_LOCAL = re.compile(r"\[?fe[89ab][0-9a-f]:", re.IGNORECASE)  # RFC 4291 §2.4
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.)*(?![0-9]+\Z)[A-Za-z0-9-]{1,63}")
_PORT_LIMIT: Final = 65535
_SOCKET_PATH_LIMIT: Final = 107  # unix(7): sun_path has 108 bytes, the last of them null


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, without brackets, and a port; port 0 stands for any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a UNIX socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_address(text: str) -> TcpAddress | UnixAddress:
    """Parse `host:port`, `[v6]:port` or `unix:/path`; raise `ValueError`."""
    if text.startswith("unix:"):
        return UnixAddress(_socket_path(text.removeprefix("unix:")))
    if "%" in text:
        raise ValueError("an address with a zone (%) is not supported")
    address = _host_port(text)
    if not is_ip(address.host) and not _HOST_NAME.fullmatch(address.host):
        raise ValueError
    return address


def check_nameserver(text: str) -> str:
    """Return the IP address, with or without a port, unchanged; raise `ValueError`.

    A link-local address may have a zone, the interface behind which it is: `fe80::1%eth0`.
    """
    plain = _ZONE.sub("", text)
    if plain != text and not is_link_local(plain):
        raise ValueError("only a link-local address (fe80::/10) has a zone")
    if not is_ip(plain):
        server = _host_port(plain)
        if not is_ip(server.host) or not server.port:
            raise ValueError
    return text


def _host_port(text: str) -> TcpAddress:
    match = _HOST_PORT.fullmatch(text)
    if not match:
        raise ValueError
    if int(match[3]) > _PORT_LIMIT:
        raise ValueError(f"a port is at most {_PORT_LIMIT}")
    host = str(ipaddress.IPv6Address(match[1])) if match[1] else match[2].lower()
    return TcpAddress(host, int(match[3]))


def is_ip(text: str) -> bool:
    """Whether the text is an IP address without a zone (`%eth0`)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_link_local(text: str) -> bool:
    """Whether an IPv6 address, with or without brackets, is valid on one link only."""
    return bool(_LINK_LOCAL.match(text))


def _socket_path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("the path is not absolute")
    if len(os.fsencode(text)) > _SOCKET_PATH_LIMIT:
        raise ValueError(f"the path of a socket has at most {_SOCKET_PATH_LIMIT} bytes")
    return Path(text)
