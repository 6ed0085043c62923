"""Send one query to one name server, and receive its response.

Each exchange has sockets of its own: no other query can suffer from what it receives, its source
port is random, and its sockets are closed when it ends. What it receives is bounded in octets and
in datagrams; its time is limited by the caller.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dns_message import (
    DnsResponse,
    OtherQueryError,
    Question,
    ReferralError,
)
from postfix_mta_sts.network.dns_name import MalformedError
from postfix_mta_sts.network.own_faults import own_fault

MAX_ANSWER: Final = 16 * 1024
"""Octets of a response over TCP. The largest sound one is a TXT RRset of a few KiB."""
MAX_DATAGRAMS: Final = 50
"""Datagrams read for one query. If none of them is its response, the query is sent over TCP, which
is harder to flood and to forge."""

_DATAGRAM: Final = MAX_ANSWER
"""Octets; some servers send more than `dns_message.PAYLOAD`, which is what they are asked for."""

Outcome: TypeAlias = DnsResponse | DiscoveryError
"""A response, which may report an error; or why there is none: `DnsFailureError`, or
`OwnFaultError` if this process can open no socket."""
OnEnd: TypeAlias = Callable[["Exchange", DnsResponse | Exception], None]


class Exchange:
    """Queries `server`, over TCP if the answer does not fit into a datagram, or with `tcp`.

    `on_end` gets the outcome, once, after this constructor has returned; not after `close`: a
    response, a `DiscoveryError`, or `ConnectionError` if the server cannot be reached. Any other
    exception is a bug of this program.
    """

    __slots__ = (
        "_handle",
        "_loop",
        "_on_end",
        "_others",
        "_query",
        "_question",
        "_sock",
        "server",
        "way",
    )

    def __init__(
        self,
        question: Question,
        server: TcpAddress,
        on_end: OnEnd,
        *,
        edns: bool = True,
        tcp: bool = False,
    ) -> None:
        self.server = server
        self.way = ""
        """What an error says of the way: " over TCP", where a firewall may let only UDP pass."""
        self._question = question
        self._query = question.wire(edns=edns)
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._others = 0
        """Datagrams that were not the response."""
        self._handle: asyncio.Handle | asyncio.Task[None] | None = None
        """What runs later: the end of an exchange that cannot begin, or the one over TCP."""
        try:
            if tcp:
                self._send_by_tcp()
            else:
                self._send()
        except (OSError, OwnFaultError) as error:
            self._handle = self._loop.call_soon(self._end, _failure(error))

    def look(self) -> None:
        """Take the datagrams that have come, but were not announced yet by the event loop."""
        while self._sock and self._receive():
            pass

    def close(self) -> None:
        """End the exchange without an outcome."""
        self._close_socket()
        if self._handle:
            self._handle.cancel()
            self._handle = None  # it refers to this exchange

    def _send(self) -> None:
        """Send the query from a random port that receives from this server only."""
        self._sock = sock = _open(self.server, socket.SOCK_DGRAM)
        sock.connect(_socket_address(self.server))
        sock.send(self._query)
        self._loop.add_reader(sock.fileno(), self._receive)

    def _receive(self) -> bool:
        """Take the next datagram; return whether there was one."""
        try:
            response = self._next_response()
        except BlockingIOError:
            return False
        except OtherQueryError:
            self._others += 1
            if self._others == MAX_DATAGRAMS:
                self._send_by_tcp()
        except Exception as error:  # noqa: BLE001 (the top of a callback: the caller gets an error)
            self._end(_failure(error))
        else:
            if response.truncated:
                self._send_by_tcp()
            else:
                self._end(response)
        return True

    def _next_response(self) -> DnsResponse:
        if self._sock is None:
            raise BlockingIOError
        return self._question.read(self._sock.recv(_DATAGRAM))

    def _send_by_tcp(self) -> None:
        self.way = " over TCP"
        self._close_socket()
        self._handle = self._loop.create_task(self._exchange_by_tcp())

    async def _exchange_by_tcp(self) -> None:
        try:
            response = self._question.read(await _answer_by_tcp(self._query, self.server))
        except Exception as error:  # noqa: BLE001 (the top of a task: the caller gets an error)
            self._end(_failure(error, self.way))
        else:
            is_whole = not response.truncated
            cut = DnsFailureError("a truncated answer from the name server")
            self._end(response if is_whole else cut)

    def _end(self, outcome: DnsResponse | Exception) -> None:
        self._close_socket()
        self._handle = None
        self._on_end(self, outcome)

    def _close_socket(self) -> None:
        if self._sock:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None


async def _answer_by_tcp(query: bytes, server: TcpAddress) -> bytes:
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, _socket_address(server))
        await loop.sock_sendall(sock, len(query).to_bytes(2) + query)
        length = int.from_bytes(await _receive(sock, 2))
        if length > MAX_ANSWER:
            raise DnsFailureError(f"an answer of {length} bytes from the name server")
        return await _receive(sock, length)


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


def _socket_address(server: TcpAddress) -> tuple[str, int] | tuple[str, int, int, int]:
    """The address for connect(2), with the index of the zone that a link-local address has."""
    host, _, zone = server.host.partition("%")
    return (host, server.port, 0, _index(zone)) if zone else (host, server.port)


def _index(zone: str) -> int:
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        return int(zone) if zone.isdecimal() else 0  # 0: connect(2) fails


def _failure(error: Exception, way: str = "") -> Exception:
    """The error for `OnEnd`; for `way` see `Exchange`."""
    match error:
        case DiscoveryError():
            return error.with_traceback(None)  # else a cycle: it refers to this exchange
        case ReferralError():
            return DnsFailureError("the name server answers for its own zones only")
        case MalformedError():
            return DnsFailureError("a malformed answer from the name server")
        case OSError() | EOFError():
            return ConnectionError(f"no name server can be reached{way}")
    return error
