"""An in-process authoritative DNS server, UDP and TCP on one port, with faults on demand.

    async with DnsServer({
        "_mta-sts.good.test TXT": ['"v=STSv1;" " id=1;"'],  # zone file notation: two strings
        "mta-sts.good.test A": Records(["127.0.0.1"], ttl=60),
        "_mta-sts.alias.test CNAME": ["_mta-sts.good.test."],
        "_mta-sts.broken.test TXT": Fault.SERVFAIL,
    }) as dns:
        DnsClient([dns.address]) ...
        assert dns.queries["_mta-sts.good.test", "TXT"] == 1

A name that has only other types in the zone gets NODATA, a name that is missing gets `default`.
`dns.zone` may be changed while the server runs. It answers like a validating resolver: names at or
below a name in `dns.signed` have the AD bit, unless a name in `dns.unsigned` is closer.
"""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.support.ports import free_port
from tests.support.tally import Gate, Tally
from tests.support.tasks import Tasks

# dnspython imports the code of a type at its first use, which fails in a test without descriptors.
for _type in ("A", "AAAA", "CNAME", "MX", "SOA", "TLSA", "TXT"):
    import_module(f"dns.rdtypes.{'IN' if _type in {'A', 'AAAA'} else 'ANY'}.{_type}")

MINIMUM_TTL = 3600
"""The minimum of the SOA record in negative answers: how long they may be cached."""
_MAX_CHAIN = 16  # CNAMEs followed, so that a loop ends


class Fault(enum.Enum):
    """A response without records."""

    NXDOMAIN = enum.auto()
    NODATA = enum.auto()
    SERVFAIL = enum.auto()
    REFUSED = enum.auto()
    SILENCE = enum.auto()
    GARBAGE = enum.auto()
    """The id of the query, followed by bytes that are not a DNS message."""
    TRUNCATED = enum.auto()
    """The TC bit over UDP and over TCP: there is no complete answer."""


@dataclass(frozen=True, slots=True)
class Records:
    """An RRset, with its data in zone file notation."""

    data: Sequence[str]
    ttl: int = 300
    truncated: bool = False
    """Over UDP only the TC bit is sent, so that the client must use TCP."""


Zone = dict[str, Sequence[str] | Records | Fault]
"""`"name TYPE"`, the name without a final dot, → the response."""


class DnsServer:
    """Serves `zone` while entered; `queries` counts by (name in lower case, type)."""

    def __init__(
        self,
        zone: Mapping[str, Sequence[str] | Records | Fault] = {},
        *,
        default: Fault = Fault.NXDOMAIN,
        host: str = "127.0.0.1",
        port: int = 0,
        signed: Iterable[str] = (),
        unsigned: Iterable[str] = (),
    ) -> None:
        self.zone: Zone = dict(zone)
        self.signed = set(signed)
        self.unsigned = set(unsigned)
        self.default = default
        self.host = host
        self.port = port
        self.queries: Tally[tuple[str, str]] = Tally()
        self.tcp_queries: Tally[tuple[str, str]] = Tally()
        self.gate = Gate()
        self.unheld: set[str] = set()
        """Names that are answered while the other responses are held."""
        self._tasks = Tasks()

    @property
    def address(self) -> str:
        """`host:port`, the notation of the configuration."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def hold(self) -> None:
        """Hold all responses until `release`; queries are still counted."""
        self.gate.hold()

    def release(self) -> None:
        """Send the held responses."""
        self.gate.release()

    async def __aenter__(self) -> Self:
        tcp, udp = open_sockets(self.host, self.port)
        self.port = tcp.getsockname()[1]
        self._server = await asyncio.start_server(self._connected, sock=tcp)
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._udp.close()
        await asyncio.sleep(0)  # only then its socket is closed, too
        await self._tasks.stop()
        await self._server.wait_closed()

    def start_answering(self, wire: bytes, peer: tuple[str, int]) -> None:
        """Answer one datagram in a new task."""
        self._tasks.start(self._answer_datagram(wire, peer), "test dns, UDP")

    async def _answer_datagram(self, wire: bytes, peer: tuple[str, int]) -> None:
        if answer := await self._answer(wire, tcp=False):
            self._udp.sendto(answer, peer)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio in Python 3.11 logs an error if one is cancelled.
        self._tasks.start(self._serve(reader, writer), "test dns, TCP")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(asyncio.IncompleteReadError, ConnectionError),
        ):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                if answer := await self._answer(await reader.readexactly(length), tcp=True):
                    writer.write(struct.pack("!H", len(answer)) + answer)

    async def _answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        await self.queries.add((name, kind))
        if tcp:
            await self.tcp_queries.add((name, kind))
        if name not in self.unheld:
            await self.gate.passed()
        return self._response(query, name, kind, tcp=tcp)

    def _response(
        self, query: dns.message.Message, name: str, kind: str, *, tcp: bool
    ) -> bytes | None:
        response = dns.message.make_response(query, recursion_available=True)
        if query.flags & dns.flags.AD and query.ednsflags & dns.flags.DO:
            response.flags |= dns.flags.AD  # removed for the first name that is not signed
        found = self._found(response, name, kind)
        if found is Fault.SILENCE:
            return None
        if found is Fault.GARBAGE:
            return struct.pack("!H", query.id) + b"\xff" * 20
        if isinstance(found, Fault):
            _fail(response, found)
        elif found.truncated and not tcp:
            response.answer.clear()
            response.flags |= dns.flags.TC
        size = 65535 if tcp else query.payload or 512
        return response.to_wire(max_size=size, prefer_truncation=True)

    def _found(self, response: dns.message.Message, name: str, kind: str) -> Records | Fault:
        """Find the records at a name, following CNAMEs, and add them to the response."""
        for _ in range(_MAX_CHAIN):
            if not self._is_signed(name):
                response.flags &= ~dns.flags.AD
            found = self._at(name, kind)
            alias = self._at(name, "CNAME")
            if isinstance(found, Records):
                _put(response, name, kind, found)
            if found is not Fault.NODATA or not isinstance(alias, Records):
                return found
            _put(response, name, "CNAME", alias)
            name = alias.data[0].removesuffix(".").lower()
        return Fault.SERVFAIL

    def _is_signed(self, name: str) -> bool:
        """Whether the closest zone in `signed` or `unsigned` is a signed one."""
        labels = name.split(".") if name != "." else []
        zones = [".".join(labels[n:]) or "." for n in range(len(labels) + 1)]
        nearest = next((z for z in zones if z in self.signed | self.unsigned), "")
        return nearest in self.signed

    def _at(self, name: str, kind: str) -> Records | Fault:
        found = self.zone.get(f"{name} {kind}")
        if found is None:
            known = any(key.startswith(f"{name} ") for key in self.zone)
            return Fault.NODATA if known else self.default
        return found if isinstance(found, (Records, Fault)) else Records(found)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.start_answering(data, addr)


def _put(response: dns.message.Message, name: str, kind: str, records: Records) -> None:
    owner = dns.name.from_text(name)
    rdata = [_rdata(kind, text) for text in records.data]
    response.answer.append(dns.rrset.from_rdata_list(owner, records.ttl, rdata))


def _rdata(kind: str, text: str) -> dns.rdata.Rdata:
    r"""The data of a record; `\# LENGTH HEX` is not checked (RFC 3597 §5)."""
    if not text.startswith(r"\#"):
        return dns.rdata.from_text("IN", kind, text)
    data = bytes.fromhex("".join(text.split()[2:]))
    return dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.from_text(kind), data)


def _fail(response: dns.message.Message, fault: Fault) -> None:
    if fault is Fault.TRUNCATED:
        response.flags |= dns.flags.TC
    elif fault is not Fault.NODATA:
        response.set_rcode(dns.rcode.from_text(fault.name))
    if fault in {Fault.NXDOMAIN, Fault.NODATA}:
        soa = f"ns.test. root.test. 1 7200 900 1209600 {MINIMUM_TTL}"
        response.authority.append(dns.rrset.from_text("test.", MINIMUM_TTL, "IN", "SOA", soa))


def open_sockets(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same port; port 0 selects one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host, port or free_port())
    tcp = socket.socket(family, socket.SOCK_STREAM)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        tcp.bind(address)
        udp.bind(address)
    except OSError:
        tcp.close()
        udp.close()
        raise
    return tcp, udp
