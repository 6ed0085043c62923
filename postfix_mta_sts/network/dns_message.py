"""DNS messages: encode a question, decode the response.

It reads the answer to the question and no more than this program needs, into types of its own. It
does not send messages; `dns_exchange` does. `dns_name` says how names are written.

The answer to a name that others control is bounded: in octets by `dns_exchange`, in records here.
"""

import enum
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from postfix_mta_sts.network.dns_name import (
    POINTER,
    MalformedError,
    decode_name,
    encode_name,
    parents,
)

MAX_TTL: Final = 2**31 - 1
"""Seconds; a higher TTL counts as zero (RFC 2181 §8)."""
MAX_RECORDS: Final = 500
"""Records of a response; a response with more of them is malformed."""
PAYLOAD: Final = 1232
"""Octets of a datagram that this program asks for: they pass through IPv6 without fragmentation."""

NOERROR: Final = 0
FORMERR: Final = 1
NOTIMP: Final = 4
NXDOMAIN: Final = 3
"""NOERROR and NXDOMAIN are the two rcodes that are answers (RFC 1035 §4.1.1)."""

_MAX_CHAIN: Final = 16  # CNAMEs
_IN: Final = 1  # the class of all records
_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")  # type and class, after the name
_RECORD = struct.Struct("!HHIH")  # type, class, TTL and length, after the name
_QR, _OPCODE, _AA, _TC, _RD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100
_RA, _AD, _RCODE = 0x0080, 0x0020, 0x000F
_DO: Final = 0x8000
_TO_QUESTION: Final = bytes((POINTER, _HEADER.size))
_OPT: Final = 41  # RFC 6891 §6.1.2
_NO_QUESTION: Final = frozenset({1, 2, 4, 5})
"""The rcodes of a response that need not repeat the question."""


class OtherQueryError(MalformedError):
    """The message is not a response to this query: it is late, or forged."""


class ReferralError(MalformedError):
    """The message says only where to ask, or less: its server does not look names up."""


class RecordType(enum.IntEnum):
    """The record types that can be queried."""

    A = 1
    CNAME = 5
    SOA = 6
    MX = 15
    TXT = 16
    AAAA = 28
    TLSA = 52


@dataclass(frozen=True, slots=True)
class Mx:
    """An MX record; the host `.` means that the domain takes no mail (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1), of any length: DANE sees one that is wrong as unusable."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Soa:
    """What counts of a SOA record: how long an absence may be cached, in seconds."""

    minimum: int


Record: TypeAlias = str | bytes | Mx | Tlsa | Soa
"""An address or the target of a CNAME, the text of a TXT record, or one of the above."""


@dataclass(frozen=True, slots=True)
class DnsResponse:
    """The response of a name server."""

    rcode: int
    truncated: bool = False
    authentic: bool = False
    """The AD bit (RFC 4035 §3.2.3)."""
    name: str = "."
    """The name that the CNAMEs lead to."""
    records: tuple[Record, ...] = ()
    """The records at that name."""
    ttl: int = 0
    """Seconds: the lowest TTL of the chain, or that of a negative answer (RFC 2308 §5)."""
    aliases: tuple[str, ...] = ()
    """The CNAME chain, from the first target to `name`; empty without a CNAME."""


class Question:
    """A query for one RRset; `ident` is its id, which must be unpredictable.

    `dnssec` asks for the AD bit; only then an absence has a TTL. Raises `NameTooLongError`.
    """

    __slots__ = ("_asked", "_ident", "_name", "dnssec", "kind")

    def __init__(self, name: str, kind: RecordType, ident: int, *, dnssec: bool = True) -> None:
        self.kind = kind
        self._ident = ident
        self.dnssec = dnssec
        wire = encode_name(name)
        self._name, _ = decode_name(wire, 0)
        self._asked = wire.lower() + _QUESTION.pack(kind, _IN)  # a length is no letter

    def wire(self, *, edns: bool = True) -> bytes:
        """Encode the query; without EDNS for a server that does not know it."""
        # Some resolvers set AD in a response only if the query has DO; for others AD in the query
        # is enough (RFC 6840 §5.7).
        flags = _RD | _AD if self.dnssec else _RD
        header = _HEADER.pack(self._ident, flags, 1, 0, 0, int(edns))
        option = b"\0" + _RECORD.pack(_OPT, PAYLOAD, _DO if self.dnssec else 0, 0)
        return header + self._asked + (option if edns else b"")

    def read(self, wire: bytes) -> DnsResponse:
        """Decode a response; raises `MalformedError`, `OtherQueryError` or `ReferralError`.

        A response with another id or another question is ignored: it may be forged (RFC 5452 §9.1).
        """
        try:
            return self._read(wire)
        except MalformedError:
            raise
        except (IndexError, ValueError, struct.error) as error:
            raise MalformedError("not a DNS message, or one that contradicts itself") from error

    def _read(self, wire: bytes) -> DnsResponse:
        if len(wire) < _HEADER.size:
            raise OtherQueryError("shorter than a header")
        ident, flags, questions, *counts = _HEADER.unpack_from(wire)
        if ident != self._ident or not flags & _QR:
            raise OtherQueryError("not a response to this query")
        rcode = flags & _RCODE
        has_question = questions and len(wire) > _HEADER.size  # some copy the count, and no more
        if not has_question and rcode in _NO_QUESTION:
            return DnsResponse(rcode)
        start = _HEADER.size + len(self._asked)
        if flags & _OPCODE or questions != 1:
            raise MalformedError("not the response to a query with one question")
        if wire[_HEADER.size : start].lower() != self._asked:
            raise OtherQueryError("the response to another question")  # RFC 5452 §9.1
        if flags & _TC:
            return DnsResponse(rcode, truncated=True)
        if rcode not in {NOERROR, NXDOMAIN}:  # the rest of an error response has no meaning
            return DnsResponse(rcode)
        sections = _sections(wire, start, counts, self._name, with_authority=self.dnssec)
        response = self._answer(sections, rcode, authentic=bool(flags & _AD))
        if rcode == NOERROR and not response.records and not flags & _RA:
            self._check_absence(wire, start, counts, authoritative=bool(flags & _AA))
        return response

    def _check_absence(
        self, wire: bytes, start: int, counts: Sequence[int], *, authoritative: bool
    ) -> None:
        """Raise `ReferralError` if a server that does not recurse has not said "there is none".

        It has if a SOA record says so (RFC 2308 §2.2), or the zone's own server does, without a
        CNAME to names of which it may know nothing.
        """
        found = _sections(wire, start, counts, self._name, with_authority=True)
        has_soa = any(each.kind == RecordType.SOA for each in found.authority)
        if not has_soa and (found.answer or not authoritative):
            raise ReferralError("no answer, from a server that does not recurse")

    def _answer(self, sections: "_Sections", rcode: int, *, authentic: bool) -> DnsResponse:
        extended = rcode | sections.rcode << 4  # RFC 6891 §6.1.3
        if extended not in {NOERROR, NXDOMAIN}:
            return DnsResponse(extended)
        aliases, found, ttl = self._follow(sections.answer)
        name = aliases[-1] if aliases else self._name
        if found and rcode == NXDOMAIN:
            raise MalformedError("NXDOMAIN with records")
        if not found:
            ttl = min(ttl, _absence_ttl(name, sections.authority))
        records = tuple(each.value for each in found)
        return DnsResponse(
            rcode, authentic=authentic, name=name, records=records, ttl=ttl, aliases=aliases
        )

    def _follow(self, answer: "Sequence[_Parsed]") -> "tuple[tuple[str, ...], list[_Parsed], int]":
        """Follow the CNAMEs; return them, the records at their end, and the lowest TTL."""
        chain: tuple[str, ...] = ()
        name, ttl = self._name, MAX_TTL
        for _ in range(_MAX_CHAIN):
            here = [each for each in answer if each.owner == name]
            found = [each for each in here if each.kind == self.kind]
            aliases = found or [each for each in here if each.kind == RecordType.CNAME]
            ttl = min([ttl, *(each.ttl for each in aliases)])
            if found or not aliases:
                return chain, found, ttl
            name = str(aliases[0].value)
            chain = (*chain, name)
        raise MalformedError("an endless chain of CNAMEs")


class _Parsed(NamedTuple):
    """A record of one of the known types."""

    owner: str
    kind: int
    ttl: int
    value: Record


class _Sections(NamedTuple):
    """What counts of the sections of a response; `rcode` has the upper bits of the rcode."""

    answer: list[_Parsed]
    authority: list[_Parsed]
    rcode: int


def _sections(
    wire: bytes, at: int, counts: Sequence[int], asked: str, *, with_authority: bool
) -> _Sections:
    if sum(counts) > MAX_RECORDS:
        raise MalformedError(f"more than {MAX_RECORDS} records")
    answer: list[_Parsed] = []
    authority: list[_Parsed] = []
    rcode = 0
    records = _records(wire, at, asked)
    for section, count in enumerate(counts):
        for _ in range(count):
            owner, kind, rdclass, ttl, start, end = next(records)
            if section == 2:
                rcode |= ttl >> 24 if kind == _OPT else 0
            elif section and not with_authority:
                continue
            elif rdclass == _IN and (decode := _DECODERS.get(kind)):
                value = decode(wire, start, end)
                parsed = _Parsed(owner, kind, ttl if ttl <= MAX_TTL else 0, value)
                (authority if section else answer).append(parsed)
    return _Sections(answer, authority, rcode)


def _records(wire: bytes, at: int, asked: str) -> Iterator[tuple[str, int, int, int, int, int]]:
    """The records from `at` on: owner, type, class, TTL, start and end of the data."""
    while True:
        is_asked = wire[at : at + 2] == _TO_QUESTION  # nearly always, and 5 µs faster
        owner, at = (asked, at + 2) if is_asked else decode_name(wire, at)
        kind, rdclass, ttl, length = _RECORD.unpack_from(wire, at)
        start = at + _RECORD.size
        at = start + length
        if at > len(wire):
            raise MalformedError("a record ends after the message")
        yield owner, kind, rdclass, ttl, start, at


def _absence_ttl(name: str, authority: Sequence[_Parsed]) -> int:
    """How long an absence may be cached: by the SOA record of the zone (RFC 2308 §5)."""
    zones = parents(name)
    for owner, _, ttl, soa in authority:
        if isinstance(soa, Soa) and owner in zones:
            return min(ttl, soa.minimum)
    return 0


def _ipv4(wire: bytes, start: int, end: int) -> str:
    return socket.inet_ntop(socket.AF_INET, wire[start:end])


def _ipv6(wire: bytes, start: int, end: int) -> str:
    return socket.inet_ntop(socket.AF_INET6, wire[start:end])


def _name_until(wire: bytes, start: int, end: int) -> str:
    name, after = decode_name(wire, start)
    if after != end:
        raise MalformedError("a name that does not fill its record")
    return name


def _mx(wire: bytes, start: int, end: int) -> Mx:
    return Mx(int.from_bytes(wire[start : start + 2]), _name_until(wire, start + 2, end))


def _soa(wire: bytes, start: int, end: int) -> Soa:
    _, at = decode_name(wire, start)
    _, at = decode_name(wire, at)
    if at + 20 != end:  # five numbers
        raise MalformedError("a SOA record of another length")
    return Soa(int.from_bytes(wire[end - 4 : end]))


def _txt(wire: bytes, start: int, end: int) -> bytes:
    """The character-strings, joined (RFC 8461 §3.1); there is at least one (RFC 1035 §3.3.14)."""
    parts: list[bytes] = []
    at = start
    while at < end or not parts:
        after = at + 1 + wire[at]
        if after > end:
            raise MalformedError("a character-string that ends after its record")
        parts.append(wire[at + 1 : after])
        at = after
    return b"".join(parts)


def _tlsa(wire: bytes, start: int, end: int) -> Tlsa:
    if end - start < 3:
        raise MalformedError("a TLSA record without its three numbers")
    return Tlsa(wire[start], wire[start + 1], wire[start + 2], wire[start + 3 : end])


_DECODERS: Final[dict[int, Callable[[bytes, int, int], Record]]] = {
    RecordType.A: _ipv4,
    RecordType.CNAME: _name_until,
    RecordType.SOA: _soa,
    RecordType.MX: _mx,
    RecordType.TXT: _txt,
    RecordType.AAAA: _ipv6,
    RecordType.TLSA: _tlsa,
}
