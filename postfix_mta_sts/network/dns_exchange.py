"""Send one query to one name server, and receive its response.

Each exchange has sockets of its own: no other query can suffer from what it receives, its source
port is random, and its sockets are closed when it ends, also by cancellation. What it receives is
bounded in octets and in datagrams; its time is limited by the caller.
"""

import asyncio
import socket
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dns_message import (
    NOERROR,
    DnsResponse,
    OtherQueryError,
    Question,
)
from postfix_mta_sts.network.dns_name import MalformedError
from postfix_mta_sts.network.own_limits import own_fault

MAX_ANSWER: Final = 16 * 1024
"""Octets of a response over TCP. The largest sound one is a TXT RRset of a few KiB."""
MAX_DATAGRAMS: Final = 50
"""Datagrams read for one query. If none of them is its response, the query is sent over TCP, which
is harder to flood and to forge."""

_DATAGRAM: Final = 4096  # octets; `dns_message.PAYLOAD` is what servers are asked for


async def exchange(question: Question, server: TcpAddress, *, edns: bool = True) -> DnsResponse:
    """Query one server, over TCP if the answer does not fit into a datagram.

    The response may report an error. Raises `DnsFailureError`, or `OwnFaultError` if this process
    can open no socket.
    """
    query = question.wire(edns=edns)
    try:
        response = await _by_udp(question, query, server)
        if response.truncated:
            response = await _by_tcp(question, query, server)
    except (OSError, EOFError) as error:
        raise DnsFailureError("no name server can be reached") from error
    except MalformedError as error:
        raise DnsFailureError("a malformed answer from the name server") from error
    if response.truncated:
        raise DnsFailureError("a truncated answer from the name server")
    return response


async def _by_udp(question: Question, query: bytes, server: TcpAddress) -> DnsResponse:
    """Query by UDP, from a random port that receives from this server only."""
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_DGRAM) as sock:
        sock.connect((server.host, server.port))
        sock.send(query)
        for _ in range(MAX_DATAGRAMS):
            try:
                return question.read(await loop.sock_recv(sock, _DATAGRAM))
            except OtherQueryError:
                continue
    return DnsResponse(NOERROR, truncated=True)


async def _by_tcp(question: Question, query: bytes, server: TcpAddress) -> DnsResponse:
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (server.host, server.port))
        await loop.sock_sendall(sock, len(query).to_bytes(2) + query)
        length = int.from_bytes(await _receive(sock, 2))
        if length > MAX_ANSWER:
            raise DnsFailureError(f"an answer of {length} bytes from the name server")
        return question.read(await _receive(sock, length))


async def _receive(sock: socket.socket, size: int) -> bytes:
    """Receive exactly `size` octets; raises `EOFError`."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < size:
        if not (part := await loop.sock_recv(sock, size - len(received))):
            raise EOFError
        received += part
    return bytes(received)


def _open(server: TcpAddress, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    try:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        if fault := own_fault(error):
            raise fault from error
        raise
