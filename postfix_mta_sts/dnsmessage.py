r"""DNS messages: a question → bytes, bytes → what was answered (RFC 1035 §4, RFC 6891).

Border: pure, and no more than DANE needs. Not dnspython, whose parser refuses the whole answer
for one TLSA record with a digest of the wrong length: such a record is to be seen, as unusable.

A name's text is lower case and printable ASCII: whatever is not a letter, a digit, `-` or `_`
stands there as `\DDD` (RFC 4343 §2.1); there is no final dot, and the root is `.`.
"""

import enum
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

TTL_MOST: Final = 2**31 - 1
"""Seconds; what is more counts as none (RFC 2181 §8)."""

NOERROR: Final = 0
NXDOMAIN: Final = 3
"""The two that are answers (RFC 1035 §4.1.1)."""

_CHAIN_MOST: Final = 16  # CNAMEs
_PAYLOAD: Final = 1232  # octets: what passes through IPv6 without fragments
_IN: Final = 1
_OPT: Final = 41
_QR, _OPCODE, _TC, _RD, _AD, _RCODE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0020, 0x000F
_DO: Final = 0x8000

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")

_Labels: TypeAlias = tuple[bytes, ...]


class MalformedError(ValueError):
    """The bytes are no DNS message, or none that answers the question."""


class NameTooLongError(ValueError):
    """A name that no DNS message can hold (RFC 1035 §2.3.4)."""


class Kind(enum.IntEnum):
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
"""An address, the name that a CNAME or a SOA record begins with, or one of the above."""


@dataclass(frozen=True, slots=True)
class Response:
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

    def __init__(self, name: str, kind: Kind, ident: int) -> None:
        self.kind = kind
        self.ident = ident
        self._name = _labels(name)

    def wire(self) -> bytes:
        """The message, which asks for DNSSEC.

        DO is for resolvers that show AD to nobody else, AD for those to whom it suffices (RFC
        6840 §5.7).
        """
        name = b"".join(bytes([len(label)]) + label for label in self._name) + b"\0"
        return b"".join(
            [
                _HEADER.pack(self.ident, _RD | _AD, 1, 0, 0, 1),
                name,
                _QUESTION.pack(self.kind, _IN),
                b"\0",
                _RECORD.pack(_OPT, _PAYLOAD, _DO, 0),
            ]
        )

    def read(self, wire: bytes) -> Response:
        """What was answered to this question; raises `MalformedError`."""
        try:
            return self._read(wire)
        except (struct.error, IndexError) as error:
            raise MalformedError("it ends before its end") from error

    def _read(self, wire: bytes) -> Response:
        ident, flags, questions, answers, authorities, more = _HEADER.unpack_from(wire)
        if ident != self.ident or not flags & _QR or flags & _OPCODE:
            raise MalformedError("not the answer to this query")
        rcode = flags & _RCODE
        if not questions and rcode:  # from a server that did not even read it
            return Response(rcode)
        at = self._passed(wire, questions)
        if flags & _TC:
            return Response(rcode, truncated=True)
        found, at = _section(wire, at, answers)
        authority, at = _section(wire, at, authorities)
        additional, _ = _section(wire, at, more)
        for opt in additional.get(((), _OPT), ()):
            rcode |= opt.ttl >> 24 << 4  # RFC 6891 §6.1.3
        if rcode not in {NOERROR, NXDOMAIN}:  # what else it holds means nothing
            return Response(rcode)
        name, rrset, ttl = _followed(wire, found, self._name, self.kind)
        return Response(
            rcode,
            authentic=bool(flags & _AD),
            name=_text(name),
            records=tuple(_record(wire, self.kind, slot) for slot in rrset),
            ttl=ttl if rrset else min(ttl, _negative_ttl(wire, authority)),
        )

    def _passed(self, wire: bytes, questions: int) -> int:
        """Where the question ends, if it is the one that was asked."""
        name, at = _name(wire, _HEADER.size)
        if questions != 1 or (name, *_QUESTION.unpack_from(wire, at)) != (
            self._name,
            self.kind,
            _IN,
        ):
            raise MalformedError("the answer to another question")
        return at + _QUESTION.size


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a record's data stands."""

    ttl: int
    start: int
    end: int


_Section: TypeAlias = Mapping[tuple[_Labels, int], Sequence[_Slot]]


def _section(wire: bytes, at: int, count: int) -> tuple[_Section, int]:
    found: dict[tuple[_Labels, int], list[_Slot]] = {}
    for _ in range(count):
        name, at = _name(wire, at)
        kind, of, ttl, length = _RECORD.unpack_from(wire, at)
        start = at + _RECORD.size
        at = start + length
        if at > len(wire):
            raise MalformedError("a record ends after the message")
        if of == _IN or kind == _OPT:
            found.setdefault((name, kind), []).append(_Slot(ttl, start, at))
    return found, at


def _followed(
    wire: bytes, found: _Section, name: _Labels, kind: Kind
) -> tuple[_Labels, Sequence[_Slot], int]:
    """The name at the end of the CNAMEs, what is there, and the least TTL on the way."""
    ttl = TTL_MOST
    for _ in range(_CHAIN_MOST):
        rrset = found.get((name, kind), ())
        links = rrset or found.get((name, Kind.CNAME), ())
        ttl = min([ttl, *(_ttl(slot.ttl) for slot in links)])
        if rrset or not links:
            return name, rrset, ttl
        name, _ = _name(wire, links[0].start)
    raise MalformedError("a chain of CNAMEs without an end")


def _record(wire: bytes, kind: Kind, slot: _Slot) -> Record:
    data = wire[slot.start : slot.end]
    match kind:
        case Kind.A | Kind.AAAA:
            return _address(kind, data)
        case Kind.MX:
            return Mx(int.from_bytes(data[:2]), _text(_name(wire, slot.start + 2)[0]))
        case Kind.TLSA:
            return Tlsa(data[0], data[1], data[2], data[3:])
    return _text(_name(wire, slot.start)[0])


def _address(kind: Kind, data: bytes) -> str:
    if len(data) != (4 if kind is Kind.A else 16):
        raise MalformedError("an address of another length")
    return str(IPv4Address(data) if kind is Kind.A else IPv6Address(data))


def _negative_ttl(wire: bytes, authority: _Section) -> int:
    """How long an absence holds (RFC 2308 §5); 0 where nobody says."""
    soas = [slot for (_, kind), slots in authority.items() if kind == Kind.SOA for slot in slots]
    minima = [int.from_bytes(wire[slot.end - 4 : slot.end]) for slot in soas]
    return min(map(_ttl, [*minima, *(slot.ttl for slot in soas)]), default=0)


def _ttl(seconds: int) -> int:
    return seconds if seconds <= TTL_MOST else 0


def _name(wire: bytes, at: int) -> tuple[_Labels, int]:
    """The name that begins at `at`, in lower case, and where it ends (RFC 1035 §4.1.4)."""
    labels: list[bytes] = []
    left, begun, end = 255, at, 0
    while size := wire[at]:
        if size >= 0xC0:
            end = end or at + 2
            at = int.from_bytes(wire[at : at + 2]) & 0x3FFF
            if at >= begun:  # "a prior occurrence": so that no chain of pointers is without an end
                raise MalformedError("a name that points forward")
            begun = at
            continue
        labels.append(wire[at + 1 : at + 1 + size].lower())
        at += 1 + size
        left -= 1 + size
        if size > 63 or left < 1:
            raise MalformedError("a name that is too long")
    return tuple(labels), end or at + 1


def _text(labels: _Labels) -> str:
    return ".".join(map(_label_text, labels)) or "."


def _label_text(label: bytes) -> str:
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"\\%03d" % m[0][0], label).decode("ascii")


def _labels(text: str) -> _Labels:
    labels = tuple(map(_label, text.split("."))) if text != "." else ()
    if any(not 1 <= len(label) <= 63 for label in labels):
        raise NameTooLongError("a label is too long, or empty")
    if sum(len(label) + 1 for label in labels) > 254:
        raise NameTooLongError("longer than 255 octets")
    return labels


def _label(text: str) -> bytes:
    return re.sub(rb"\\([0-9]{3})", lambda m: bytes([int(m[1])]), text.encode("ascii")).lower()
