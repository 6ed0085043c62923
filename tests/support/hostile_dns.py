"""A name server that says whatever a test wants, byte by byte, on one UDP and one TCP port.

async with HostileDns(udp=lambda query: [response(query, record(16, b""))]) as dns:
    DnsClient([dns.address]) ...
    assert dns.datagrams == 2
"""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Self, TypeAlias

from tests.support.dns import open_sockets
from tests.support.tasks import Tasks

TRUNCATED = 0x0200
"""The TC bit."""
TO_QUESTION = b"\xc0\x0c"
"""A compressed name: the one in the question."""

Udp: TypeAlias = Callable[[bytes], Iterable[bytes]]
Tcp: TypeAlias = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def response(query: bytes, *records: bytes, flags: int = 0, count: int | None = None) -> bytes:
    """A response to a query, with these records as its answer; `count` says how many there are."""
    question = query[12 : query.index(0, 12) + 5]
    number = len(records) if count is None else count
    header = struct.pack("!6H", int.from_bytes(query[:2]), 0x8180 | flags, 1, number, 0, 0)
    return header + question + b"".join(records)


def record(kind: int, data: bytes, owner: bytes = TO_QUESTION) -> bytes:
    """A record of the class IN with a TTL of 300 seconds."""
    return owner + struct.pack("!HHIH", kind, 1, 300, len(data)) + data


def truncated(query: bytes) -> list[bytes]:
    """Send the client to TCP."""
    return [response(query, flags=TRUNCATED)]


def over_tcp(*messages: bytes) -> bytes:
    """Messages, each with its length before it."""
    return b"".join(len(each).to_bytes(2) + each for each in messages)


class HostileDns:
    """Serves while entered; `datagrams` and `connections` count what it gets."""

    def __init__(self, *, udp: Udp = truncated, tcp: Tcp | None = None) -> None:
        self.datagrams = 0
        self.connections = 0
        self._udp = udp
        self._tcp = tcp
        self._tasks = Tasks()

    @property
    def address(self) -> str:
        """`host:port`, the notation of the configuration."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        tcp, udp = open_sockets("127.0.0.1", 0)
        self.port = int(tcp.getsockname()[1])
        self._server = await asyncio.start_server(self._connected, sock=tcp)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=udp)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._transport.close()
        await self._tasks.stop()
        await self._server.wait_closed()

    def answer(self, query: bytes, peer: tuple[str, int]) -> None:
        """Answer one datagram."""
        self.datagrams += 1
        for each in self._udp(query):
            self._transport.sendto(each, peer)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.start(self._serve(reader, writer), "hostile dns, TCP")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(asyncio.IncompleteReadError, ConnectionError),
        ):
            length = int.from_bytes(await reader.readexactly(2))
            query = await reader.readexactly(length)
            if self._tcp:
                await self._tcp(query, writer)
                await writer.drain()
            await reader.read()  # until the client closes


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: HostileDns) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.answer(data, addr)
