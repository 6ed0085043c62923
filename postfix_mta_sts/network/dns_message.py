r"""DNS messages by dnspython: a question → bytes, bytes → what was answered.

Border: what is read is a message's answer to the question, no more than DANE needs, in words of our
own; nothing else knows dnspython.

A name's text is lower case and printable ASCII: whatever is not a letter, a digit, `-` or `_`
stands there as `\DDD` (RFC 4343 §2.1); there is no final dot, and the root is `.`.
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

TTL_MOST: Final = 2**31 - 1
"""Seconds; what is more counts as none (RFC 2181 §8)."""

NOERROR: Final = 0
NXDOMAIN: Final = 3
"""The two that are answers (RFC 1035 §4.1.1)."""

_PAYLOAD: Final = 1232  # octets: what passes through IPv6 without fragments
_HEADER: Final = 12  # octets
_QUESTION = struct.Struct("!HH")  # type and class, after the name
_RECORD = struct.Struct("!HHIH")  # and TTL, and length

# DO is for resolvers that show AD to nobody else, AD for those to whom it suffices (RFC 6840 §5.7).
_FLAGS: Final = dns.flags.RD | dns.flags.AD
_QUERY: Final = dns.message.make_query(
    dns.name.root, dns.rdatatype.A, want_dnssec=True, payload=_PAYLOAD, flags=_FLAGS
).to_wire()
"""For the root: a query differs from it in number, name and type, and takes 60 µs to make anew."""


class MalformedError(ValueError):
    """The bytes are no DNS message, or none that answers the question."""


class NameTooLongError(ValueError):
    """A name that no DNS message can hold (RFC 1035 §2.3.4)."""


class RecordType(enum.IntEnum):
    """The types of records that are asked for."""

    A = 1
    CNAME = 5
    SOA = 6
    MX = 15
    AAAA = 28
    TLSA = 52


@dataclass(frozen=True, slots=True)
class Mx:
    """An MX record; the host `.` stands for none (RFC 7505)."""

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
"""An address, the name that a CNAME leads to, a SOA record's text, or one of the above."""


@dataclass(frozen=True, slots=True)
class DnsResponse:
    """What a name server said."""

    rcode: int
    truncated: bool = False
    authentic: bool = False
    """The AD bit (RFC 4035 §3.2.3)."""
    name: str = "."
    """Where the CNAMEs led."""
    records: tuple[Record, ...] = ()
    """Those at that name."""
    ttl: int = 0
    """The least on the way, or of a negative answer (RFC 2308 §5)."""


class Question:
    """A query for one RRset; `ident` is its number, which nobody must be able to guess.

    Raises `NameTooLongError`.
    """

    def __init__(self, name: str, kind: RecordType, ident: int) -> None:
        self.kind = kind
        self._name = _name(name)
        self._query = dns.message.QueryMessage(ident)
        asked = dns.rrset.RRset(self._name, dns.rdataclass.IN, dns.rdatatype.RdataType(kind))
        self._query.question = [asked]

    def wire(self) -> bytes:
        """The message, which asks for DNSSEC."""
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
        """What was answered to this question; raises `MalformedError`."""
        try:
            return self._read(wire)
        except (dns.exception.DNSException, struct.error) as error:
            raise MalformedError("not a DNS message, or one that contradicts itself") from error

    def _read(self, wire: bytes) -> DnsResponse:
        message = self._message(wire)
        rcode = int(message.rcode())
        if message.flags & dns.flags.TC:
            return DnsResponse(rcode, truncated=True)
        if rcode not in {NOERROR, NXDOMAIN}:  # what else it holds means nothing
            return DnsResponse(rcode)
        chain = message.resolve_chaining()
        if message.errors:
            records = self._refused(wire, chain.canonical_name)
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

    def _refused(self, wire: bytes, name: dns.name.Name) -> Sequence[Record]:
        """The TLSA records, where dnspython refuses one: it demands a digest of the right length.

        Such a record is to be seen, as unusable. What else is refused is malformed.
        """
        if self.kind is RecordType.TLSA and (records := _tlsa(wire, name)):
            return records
        raise MalformedError("a record that cannot be read")


def _tlsa(wire: bytes, name: dns.name.Name) -> Sequence[Tlsa]:
    """The TLSA records that the answer to a question has at `name`, whatever they hold."""
    found = []
    at = _HEADER + dns.name.from_wire(wire, _HEADER)[1] + _QUESTION.size
    for _ in range(int.from_bytes(wire[6:8])):  # ANCOUNT
        owner, size = dns.name.from_wire(wire, at)
        kind, of, _, length = _RECORD.unpack_from(wire, at + size)
        start = at + size + _RECORD.size
        at = start + length
        if at > len(wire):
            raise MalformedError("a record ends after the message")
        if (owner, kind, of) == (name, dns.rdatatype.TLSA, dns.rdataclass.IN):
            usage, selector, matching = struct.unpack_from("!3B", wire[:at], start)
            found.append(Tlsa(usage, selector, matching, wire[start + 3 : at]))
    return found


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
