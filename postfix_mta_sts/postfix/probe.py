"""Ask a running daemon as Postfix does: one connection, one request, one complete reply.

This client shares no code with the server side of the protocols, so that it detects their faults.
"""

import asyncio
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from postfix_mta_sts.config.address import TcpAddress, UnixAddress

HEALTH_KEY: Final = "[127.0.0.1]"
"""A key without a domain (RFC 8461 §3.4 excludes address literals). The reply is "not found" at
once and depends on no network, store or policy, so it shows only whether the daemon answers."""

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (replaced, not bound)
_REPLY_LIMIT: Final = 100_000
"""Bytes of a reply without its frame: the longest that Postfix accepts (socketmap_table(5))."""
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,5}):")
_UNPRINTABLE = re.compile(r"[^ -~]")


class ProbeError(Exception):
    """No answer, or only "try again". `str()` is the reason, as printable ASCII."""


class TryAgainError(ProbeError):
    """The server says that it cannot answer now, and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address, and the protocol spoken there."""

    wire: Literal["socketmap", "tcp_table"]
    address: TcpAddress | UnixAddress

    def __post_init__(self) -> None:
        if isinstance(self.address, TcpAddress) and not self.address.port:
            raise ValueError(
                f"{self.address}: port 0 stands for any free port, so it cannot be asked"
            )


def place_of(wire: Literal["socketmap", "tcp_table"], sock: socket.socket) -> Place:
    """The place at which a socket is bound."""
    name = sock.getsockname()
    address = UnixAddress(Path(name)) if isinstance(name, str) else TcpAddress(*name[:2])
    return Place(wire, address)


def first_accessible(places: Sequence[Place]) -> Place | None:
    """The first place that this process may use: a UNIX socket may admit only Postfix (unix(7))."""
    for place in places:
        if isinstance(place.address, TcpAddress) or os.access(place.address.path, os.W_OK):
            return place
    return None


async def ask(place: Place, key: str = HEALTH_KEY, *, timeout: float) -> str | None:  # noqa: ASYNC109 (the time of the daemon, not of the caller)
    """The reply that Postfix would get: the text of a policy, or None for "not found".

    A listener on all addresses is asked on loopback. The text is printable ASCII. Raises
    `ProbeError`, also if it takes longer than `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _ask(place, key)
    except TimeoutError:
        raise ProbeError(f"no reply within {timeout:g} s") from None
    except asyncio.IncompleteReadError as error:
        raise ProbeError(
            "closed in the middle of a reply" if error.partial else "closed without a reply"
        ) from None
    except asyncio.LimitOverrunError:
        raise ProbeError(f"not a reply of {place.wire}") from None
    except OSError as error:
        raise ProbeError(_printable(_reason(error))) from None


async def _ask(place: Place, key: str) -> str | None:
    reader, writer = await _connect(place.address)
    try:
        if place.wire == "socketmap":
            data = b"postfix " + key.encode()
            writer.write(b"%d:%b," % (len(data), data))
            return socketmap_reply(await _netstring(reader))
        writer.write(b"get " + quote_from_bytes(key.encode(), safe="[].:").encode() + b"\n")
        return tcp_table_reply(await reader.readuntil(b"\n"))
    finally:
        writer.transport.abort()


async def _connect(
    address: TcpAddress | UnixAddress,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(_LOOPBACK.get(address.host, address.host), address.port)


async def _netstring(reader: asyncio.StreamReader) -> bytes:
    head = _LENGTH.fullmatch(await reader.readuntil(b":"))
    if not head or int(head[1]) > _REPLY_LIMIT:
        raise ProbeError("not a reply of socketmap")
    data = await reader.readexactly(int(head[1]) + 1)
    if not data.endswith(b","):
        raise ProbeError("not a reply of socketmap")
    return data[:-1]


def socketmap_reply(data: bytes) -> str | None:
    """What a reply without its frame says, as `ask` does; raises `ProbeError`."""
    status, space, text = data.partition(b" ")
    match status, space:
        case b"OK", b" ":
            return _printable(text)
        case b"NOTFOUND", b" ":
            return None
        case ((b"TEMP" | b"TIMEOUT" | b"PERM"), b" "):
            raise TryAgainError(f"{status.decode()}: {_printable(text)}")
    raise ProbeError("not a reply of socketmap")


def tcp_table_reply(line: bytes) -> str | None:
    """The same for a line of tcp_table; raises `ProbeError`."""
    status, _, text = line.rstrip(b"\n").partition(b" ")
    shown = _printable(unquote_to_bytes(text))
    match status:
        case b"200":
            return shown
        case b"500":
            return None
        case b"400":
            raise TryAgainError(f"400: {shown}")
    raise ProbeError("not a reply of tcp_table")


def _reason(error: OSError) -> str:
    """The system's text of the error; each event loop would add the address in another form."""
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _printable(text: bytes | str) -> str:
    """The text as one line, with `?` for everything that is not printable ASCII."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return _UNPRINTABLE.sub("?", text)
