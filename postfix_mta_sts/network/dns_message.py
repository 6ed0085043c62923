r"""DNS messages: encode a question, decode the response, with dnspython.

This is the only file that imports dnspython. It reads the answer to the question and no more than
DANE needs, into types of its own. It does not send messages; `dnssec` does.

Names are lower case and printable ASCII: any octet that is not a letter, a digit, `-` or `_` is
written as `\DDD` (RFC 4343 §2.1). They have no final dot; the root is `.`.
"""

import enum
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TLSA import TLSA

MAX_TTL: Final = 2**31 - 1
"""Seconds; a higher TTL counts as zero (RFC 2181 §8)."""

NOERROR: Final = 0
NXDOMAIN: Final = 3
"""The two rcodes that are answers (RFC 1035 §4.1.1)."""

_PAYLOAD: Final = 1232  # octets: passes through IPv6 without fragmentation
_HEADER: Final = 12  # octets
_QUESTION = struct.Struct("!HH")  # type and class, after the name
_RECORD = struct.Struct("!HHIH")  # and TTL, and length

# Some resolvers set AD in a response only if the query has DO; for others AD in the query is
# enough (RFC 6840 §5.7).
_FLAGS: Final = dns.flags.RD | dns.flags.AD
_QUERY: Final = dns.message.make_query(
    dns.name.root, dns.rdatatype.A, want_dnssec=True, payload=_PAYLOAD, flags=_FLAGS
).to_wire()
"""A query for the root; other queries differ in id, name and type. Making one takes 60 µs."""


class MalformedError(ValueError):
    """The bytes are not a DNS message, or do not answer the question."""


class NameTooLongError(ValueError):
    """The name is too long for a DNS message (RFC 1035 §2.3.4)."""


class RecordType(enum.IntEnum):
    """The record types that can be queried."""

    A = 1
    CNAME = 5
    SOA = 6
    MX = 15
    AAAA = 28
    TLSA = 52


@dataclass(frozen=True, slots=True)
class Mx:
    """An MX record; the host `.` means that the domain takes no mail (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


Record: TypeAlias = str | Mx | Tlsa
"""An address, the target of a CNAME, the text of a SOA record, or one of the above."""


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


class Question:
    """A query for one RRset; `ident` is its id, which must be unpredictable.

    Raises `NameTooLongError`.
    """

    def __init__(self, name: str, kind: RecordType, ident: int) -> None:
        self.kind = kind
        self._name = _name(name)
        self._query = dns.message.QueryMessage(ident)
        rrset = dns.rrset.RRset(self._name, dns.rdataclass.IN, dns.rdatatype.RdataType(kind))
        self._query.question = [rrset]

    def wire(self) -> bytes:
        """Encode the query, which requests DNSSEC."""
        return b"".join(
            [
                self._query.id.to_bytes(2),
                _QUERY[2:_HEADER],
                self._name.to_wire() or b"",
                _QUESTION.pack(self.kind, dns.rdataclass.IN),
                _QUERY[_HEADER + 1 + _QUESTION.size :],
            ]
        )

    def read(self, wire: bytes) -> DnsResponse:
        """Decode a response to this question; raises `MalformedError`."""
        try:
            return self._read(wire)
        except (dns.exception.DNSException, struct.error) as error:
            raise MalformedError("not a DNS message, or one that contradicts itself") from error

    def _read(self, wire: bytes) -> DnsResponse:
        message = self._message(wire)
        rcode = int(message.rcode())
        if message.flags & dns.flags.TC:
            return DnsResponse(rcode, truncated=True)
        if rcode not in {NOERROR, NXDOMAIN}:  # the rest of an error response has no meaning
            return DnsResponse(rcode)
        chain = message.resolve_chaining()
        if message.errors:
            records = self._tlsa_despite_errors(wire, chain.canonical_name)
        else:
            records = [_record(rdata) for rdata in chain.answer or ()]
        return DnsResponse(
            rcode,
            authentic=bool(message.flags & dns.flags.AD),
            name=_text(chain.canonical_name),
            records=tuple(records),
            ttl=chain.minimum_ttl if records or _has_soa(message) else 0,
        )

    def _message(self, wire: bytes) -> dns.message.QueryMessage:
        message = dns.message.from_wire(wire, continue_on_error=True)
        if isinstance(message, dns.message.QueryMessage) and self._query.is_response(message):
            return message
        raise MalformedError("not the answer to this query")

    def _tlsa_despite_errors(self, wire: bytes, name: dns.name.Name) -> Sequence[Record]:
        """The TLSA records of a message that dnspython refuses for the length of a digest.

        DANE must see such a record as unusable. Any other record that is refused is malformed.
        """
        if self.kind is RecordType.TLSA and (records := _tlsa(wire, name)):
            return records
        raise MalformedError("a record that cannot be read")


def _tlsa(wire: bytes, name: dns.name.Name) -> Sequence[Tlsa]:
    """Decode the TLSA records at `name` in the answer section, without checking their data."""
    records = []
    at = _HEADER + dns.name.from_wire(wire, _HEADER)[1] + _QUESTION.size
    for _ in range(int.from_bytes(wire[6:8])):  # ANCOUNT
        owner, size = dns.name.from_wire(wire, at)
        kind, rdclass, _, length = _RECORD.unpack_from(wire, at + size)
        start = at + size + _RECORD.size
        at = start + length
        if at > len(wire):
            raise MalformedError("a record ends after the message")
        if (owner, kind, rdclass) == (name, dns.rdatatype.TLSA, dns.rdataclass.IN):
            usage, selector, matching = struct.unpack_from("!3B", wire[:at], start)
            records.append(Tlsa(usage, selector, matching, wire[start + 3 : at]))
    return records


def _has_soa(message: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in message.authority)


def _record(rdata: dns.rdata.Rdata) -> Record:
    match rdata:
        case MX():
            return Mx(rdata.preference, _text(rdata.exchange))
        case TLSA():
            return Tlsa(rdata.usage, rdata.selector, rdata.mtype, rdata.cert)
        case CNAME():
            return _text(rdata.target)
    return rdata.to_text()


def _text(name: dns.name.Name) -> str:
    return ".".join(map(_label_text, name.labels[:-1])) or "."


def _label_text(label: bytes) -> str:
    return re.sub(rb"[^a-z0-9_-]", lambda m: b"\\%03d" % m[0][0], label.lower()).decode("ascii")


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel) as error:
        raise NameTooLongError("a label or the name is too long, or a label is empty") from error
