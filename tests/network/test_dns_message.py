"""DNS messages: encoded questions, decoded responses, and malformed ones."""

import struct

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network.dns_message import (
    MAX_TTL,
    DnsResponse,
    Mx,
    Question,
    RecordType,
    Tlsa,
)
from postfix_mta_sts.network.dns_name import MalformedError

MX = Question("good.test", RecordType.MX, 4711)
TLSA = Question("good.test", RecordType.TLSA, 4711)
FLAGS = dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.AD
HEADER = struct.Struct("!6H")
GOOD = b"\x04good\x04test\x00"
ASKED = GOOD + struct.pack("!HH", RecordType.MX, 1)
ASKED_TLSA = GOOD + struct.pack("!HH", RecordType.TLSA, 1)


def answered(question: Question, *rrsets: dns.rrset.RRset) -> dns.message.Message:
    """A response to a question, made by dnspython."""
    response = dns.message.make_response(dns.message.from_wire(question.wire()))
    response.flags = dns.flags.Flag(FLAGS)
    response.answer = list(rrsets)
    return response


def raw(answer: bytes = b"", *, count: int = 1, flags: int = FLAGS, asked: bytes = ASKED) -> bytes:
    """A response made from raw bytes."""
    return HEADER.pack(4711, flags, 1, count, 0, 0) + asked + answer


def record(owner: bytes, kind: int, data: bytes, ttl: int = 300, rdclass: int = 1) -> bytes:
    """A record made from raw bytes; `rdclass` is its class."""
    return owner + struct.pack("!HHIH", kind, rdclass, ttl, len(data)) + data


LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda labels: sum(len(label) + 1 for label in labels) < 255
)
NAMES = LABELS.map(lambda labels: dns.name.Name([*labels, b""]))
TTLS = st.integers(0, MAX_TTL)


class TestQuestion:
    """Encoding a question."""

    def test_decoded_by_dnspython(self) -> None:
        """The query has one question, RD, AD, and EDNS with DO."""
        query = dns.message.from_wire(Question("Good.test", RecordType.TLSA, 4711).wire())
        (question,) = query.question
        assert (query.id, question.name, question.rdtype) == (
            4711,
            dns.name.from_text("good.test."),
            dns.rdatatype.TLSA,
        )
        assert query.flags == dns.flags.RD | dns.flags.AD
        assert (query.edns, query.ednsflags, query.payload) == (0, dns.flags.DO, 1232)

    @pytest.mark.parametrize("kind", RecordType)
    def test_kinds(self, kind: RecordType) -> None:
        """The numbers of the types are those of the registry."""
        assert int(dns.rdatatype.from_text(kind.name)) == int(kind)

    def test_root(self) -> None:
        """The root can be queried."""
        query = dns.message.from_wire(Question(".", RecordType.SOA, 1).wire())
        assert query.question[0].name == dns.name.root

    @given(LABELS)
    def test_any_name(self, labels: list[bytes]) -> None:
        """A name from a response is lower-case printable ASCII and can be queried."""
        asked = Question("good.test", RecordType.CNAME, 4711)
        target = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        wire = raw(record(b"\xc0\x0c", 5, target), asked=GOOD + struct.pack("!HH", 5, 1))
        (text,) = asked.read(wire).records
        assert isinstance(text, str)
        assert text.isascii()
        assert text.isprintable()
        again = dns.message.from_wire(Question(text, RecordType.A, 1).wire()).question[0].name
        assert again.labels == (*(label.lower() for label in labels), b"")

    def test_without_dnssec(self) -> None:
        """The query has RD, and EDNS without DO; or no EDNS at all."""
        asked = Question("good.test", RecordType.TXT, 4711, dnssec=False)
        query = dns.message.from_wire(asked.wire())
        assert query.flags == dns.flags.RD
        assert (query.edns, query.ednsflags, query.payload) == (0, 0, 1232)
        assert dns.message.from_wire(asked.wire(edns=False)).edns == -1


class TestResponse:
    """Decoding a response."""

    @given(
        st.lists(st.tuples(st.integers(0, 65535), NAMES), min_size=1, max_size=5, unique=True),
        TTLS,
        st.booleans(),
    )
    def test_mx(self, records: list[tuple[int, dns.name.Name]], ttl: int, secure: bool) -> None:  # noqa: FBT001 (hypothesis passes it by position)
        """Any MX RRset that dnspython encodes, with compressed names, is decoded."""
        rrset = dns.rrset.from_text_list(
            "good.test.", ttl, "IN", "MX", [f"{n} {name}" for n, name in records]
        )
        response = answered(MX, rrset)
        if not secure:
            response.flags &= ~dns.flags.AD
        read = MX.read(response.to_wire(max_size=65535))
        hosts = [r.host for r in read.records if isinstance(r, Mx)]
        names = [
            dns.message.from_wire(Question(h, RecordType.A, 1).wire()).question[0].name
            for h in hosts
        ]
        assert {r.preference for r in read.records if isinstance(r, Mx)} == {n for n, _ in records}
        assert set(names) == {name for _, name in records}
        assert (read.rcode, read.name, read.ttl) == (0, "good.test", ttl)
        assert read.authentic == secure

    @given(st.lists(st.binary(max_size=255), min_size=1, max_size=4))
    def test_txt(self, strings: list[bytes]) -> None:
        """The character-strings of a TXT record are joined."""
        data = b"".join(bytes((len(each),)) + each for each in strings)
        wire = raw(record(b"\xc0\x0c", 16, data), asked=GOOD + struct.pack("!HH", 16, 1))
        read = Question("good.test", RecordType.TXT, 4711, dnssec=False).read(wire)
        assert read.records == (b"".join(strings),)
        for damaged in (data + b"\1", b""):
            wire = raw(record(b"\xc0\x0c", 16, damaged), asked=GOOD + struct.pack("!HH", 16, 1))
            with pytest.raises(MalformedError):
                Question("good.test", RecordType.TXT, 4711).read(wire + b"\xff" * 300)

    @given(st.lists(st.binary(min_size=3, max_size=80), min_size=1, max_size=4, unique=True))
    def test_tlsa(self, each: list[bytes]) -> None:
        """Any TLSA RRset is decoded, also with digests of the wrong length."""
        records = [record(b"\xc0\x0c", 52, data) for data in each]
        wire = raw(b"".join(records), count=len(each), asked=ASKED_TLSA)
        expected = {Tlsa(data[0], data[1], data[2], data[3:]) for data in each}
        assert set(TLSA.read(wire).records) == expected

    def test_short_digest(self) -> None:
        """A digest of the wrong length is found behind a CNAME; other names and classes are not."""
        alias = b"\x01b\x04test\0"
        bad, good = b"\3\1\1" + b"a" * 31, b"\3\1\1" + b"a" * 32
        answer = [
            record(b"\xc0\x0c", 5, alias, ttl=60),
            record(b"\1B\4Test\0", 52, bad),
            record(alias, 52, good, rdclass=3),
            record(b"\4evil\0", 52, good),
        ]
        read = TLSA.read(raw(b"".join(answer), count=len(answer), asked=ASKED_TLSA))
        assert (read.name, read.records) == ("b.test", (Tlsa(3, 1, 1, b"a" * 31),))
        assert 0 < read.ttl <= 60

    @given(st.data())
    def test_tlsa_that_is_cut_off(self, data: st.DataObject) -> None:
        """An answer that is cut off is malformed, also if it has a refused record."""
        short = record(b"\xc0\x0c", 52, b"\3\1\1short")
        whole = raw(
            short + record(b"\xc0\x0c", 52, b"\3\1\0" + b"a" * 60), count=2, asked=ASKED_TLSA
        )
        with pytest.raises(MalformedError):
            TLSA.read(whole[: data.draw(st.integers(0, len(whole) - 1))])

    @pytest.mark.parametrize("rest", [b"\3", b""], ids=["one octet", "empty"])
    def test_tlsa_too_short(self, rest: bytes) -> None:
        """A TLSA record with fewer than three octets is malformed."""
        with pytest.raises(MalformedError):
            TLSA.read(raw(record(b"\xc0\x0c", 52, rest), asked=ASKED_TLSA))

    def test_refused_record_without_tlsa(self) -> None:
        """A refused record without TLSA records is malformed and not an absence."""
        with pytest.raises(MalformedError):
            TLSA.read(raw(record(b"\xc0\x0c", 1, b"12345"), asked=ASKED_TLSA))

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (RecordType.A, "192.0.2.1"),
            (RecordType.AAAA, "2001:db8::1"),
            (RecordType.CNAME, "b.test"),
        ],
    )
    def test_others(self, kind: RecordType, text: str) -> None:
        """Addresses and CNAMEs are decoded as text."""
        asked = Question("good.test", kind, 1)
        rrset = dns.rrset.from_text(
            "good.test.", 300, "IN", kind.name, f"{text}." if kind is RecordType.CNAME else text
        )
        assert asked.read(answered(asked, rrset).to_wire()).records == (text,)

    def test_chain(self) -> None:
        """CNAMEs are followed in any order, and told; the TTL is the lowest."""
        chain = [
            dns.rrset.from_text("c.test.", 50, "IN", "MX", "10 mx.test."),
            dns.rrset.from_text("good.test.", 70, "IN", "CNAME", "B.test."),
            dns.rrset.from_text("other.test.", 1, "IN", "MX", "10 evil.test."),
            dns.rrset.from_text("b.test.", 60, "IN", "CNAME", "c.test."),
        ]
        read = MX.read(answered(MX, *chain).to_wire())
        assert (read.name, read.records, read.ttl) == ("c.test", (Mx(10, "mx.test"),), 50)
        assert read.aliases == ("b.test", "c.test")

    def test_signatures_are_skipped(self) -> None:
        """RRSIG records are skipped."""
        rrsig = dns.rrset.from_text(
            "good.test.", 300, "IN", "RRSIG",
            "MX 13 2 300 20300101000000 20200101000000 1 good.test. AAAA",
        )  # fmt: skip
        rrset = dns.rrset.from_text("good.test.", 300, "IN", "MX", "10 mx.test.")
        assert MX.read(answered(MX, rrsig, rrset).to_wire()).records == (Mx(10, "mx.test"),)

    @pytest.mark.parametrize(("ttl", "minimum", "holds"), [(900, 60, 60), (60, 900, 60)])
    def test_absence(self, ttl: int, minimum: int, holds: int) -> None:
        """The TTL of an absence is the lower of the SOA's TTL and its minimum (RFC 2308 §5)."""
        response = answered(MX)
        soa = f"ns.test. root.test. 1 2 3 4 {minimum}"
        response.authority = [dns.rrset.from_text("test.", ttl, "IN", "SOA", soa)]
        read = MX.read(response.to_wire())
        assert (read.records, read.ttl, read.authentic) == ((), holds, True)

    def test_absence_without_soa(self) -> None:
        """An absence without a SOA record has TTL 0."""
        assert MX.read(raw(count=0)).ttl == 0

    def test_ttl_too_high(self) -> None:
        """A TTL with its highest bit set counts as 0 (RFC 2181 §8)."""
        wire = raw(record(b"\xc0\x0c", RecordType.MX, b"\0\0\0", ttl=2**31))
        assert MX.read(wire) == DnsResponse(
            0, authentic=True, name="good.test", records=(Mx(0, "."),)
        )

    def test_truncated(self) -> None:
        """The records of a truncated answer are not decoded."""
        assert MX.read(raw(b"\xff", flags=FLAGS | dns.flags.TC)) == DnsResponse(0, truncated=True)

    @pytest.mark.parametrize("rcode", [1, 2, 4, 5])
    def test_errors(self, rcode: int) -> None:
        """An error response is decoded with or without its question."""
        assert MX.read(raw(b"\0", count=0, flags=FLAGS | rcode)) == DnsResponse(rcode)
        assert MX.read(HEADER.pack(4711, FLAGS | rcode, 0, 0, 0, 0)) == DnsResponse(rcode)

    def test_extended_error(self) -> None:
        """The upper bits of the rcode are in the OPT record (RFC 6891 §6.1.3)."""
        opt = b"\0" + struct.pack("!HHIH", 41, 1232, 1 << 24, 0)
        wire = HEADER.pack(4711, FLAGS, 1, 0, 0, 1) + ASKED + opt
        assert MX.read(wire) == DnsResponse(16)

    @pytest.mark.parametrize(
        "wire",
        [
            b"",
            raw()[:11],
            raw()[:20],
            b"\0\0" + raw()[2:],
            raw(flags=FLAGS & ~dns.flags.QR),
            raw(flags=FLAGS | 0x2800),
            raw(count=0, asked=GOOD + struct.pack("!HH", 1, 1)),
            raw(count=0, asked=GOOD + struct.pack("!HH", 15, 3)),
            raw(count=0, asked=b"\x04evil\x04test\0\0\x0f\0\1"),
            HEADER.pack(4711, FLAGS, 0, 0, 0, 0),
            HEADER.pack(4711, FLAGS, 2, 0, 0, 0) + ASKED * 2,
        ],
    )
    def test_not_the_answer(self, wire: bytes) -> None:
        """Truncated messages and those that answer something else are malformed."""
        with pytest.raises(MalformedError):
            MX.read(wire)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            record(b"\xc0\x0c", 15, b"\0\0\0")[:-1],
            record(b"\xc0\x0c", 15, b"\0\0\xc0\xff"),
            b"\xc0\x1b" + record(b"", 15, b"\0\0\0"),
            record(b"\xc0\x0c", 15, b"\0\0" + b"\x40" + b"a" * 64 + b"\0"),
            record(b"\xc0\x0c", 15, b"\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0"),
            record(b"\xc0\x0c", 5, b"\xc0\x0c"),
            record(b"\xc0\x0c", 15, b"\0\0\0\0"),
            record(b"\xc0\x0c", 6, b"\0\0" + b"\0" * 19),
        ],
        ids=["none", "cut off", "forward", "itself", "label", "name", "CNAME", "MX", "SOA"],
    )
    def test_malformed(self, answer: bytes) -> None:
        """A record that cannot be decoded, or an endless chain, makes the message malformed."""
        with pytest.raises(MalformedError):
            MX.read(raw(answer))

    @pytest.mark.parametrize("kind", [RecordType.A, RecordType.AAAA])
    def test_address_of_another_length(self, kind: RecordType) -> None:
        """An address of the wrong length is malformed."""
        asked = Question("good.test", kind, 4711)
        wire = raw(record(b"\xc0\x0c", kind, b"12345"), asked=GOOD + struct.pack("!HH", kind, 1))
        with pytest.raises(MalformedError):
            asked.read(wire)

    def test_nxdomain_with_an_answer(self) -> None:
        """NXDOMAIN with records is malformed."""
        wire = raw(record(b"\xc0\x0c", 15, b"\0\0\0"), flags=FLAGS | 3)
        with pytest.raises(MalformedError):
            MX.read(wire)

    @given(st.binary(max_size=200), st.integers(0, 3), st.sampled_from(RecordType))
    def test_any_bytes(self, rest: bytes, count: int, kind: RecordType) -> None:
        """Any bytes after a good question are decoded or malformed; nothing else is raised."""
        asked = Question("good.test", kind, 4711)
        try:
            read = asked.read(raw(rest, count=count, asked=GOOD + struct.pack("!HH", kind, 1)))
        except MalformedError:
            return
        assert 0 <= read.ttl <= MAX_TTL
        assert read.name.isascii()
        assert read.name.isprintable()

    @given(st.binary(max_size=120))
    def test_only_bytes(self, wire: bytes) -> None:
        """Random bytes are malformed; by chance they can be an error response."""
        try:
            assert MX.read(wire).rcode
        except MalformedError:
            return

    @given(st.data())
    def test_damage(self, data: st.DataObject) -> None:
        """A good answer with a changed octet is decoded or malformed."""
        rrset = dns.rrset.from_text("good.test.", 300, "IN", "MX", "10 mx.good.test.", "20 b.test.")
        wire = bytearray(answered(MX, rrset).to_wire())
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        try:
            MX.read(bytes(wire))
        except MalformedError:
            return
