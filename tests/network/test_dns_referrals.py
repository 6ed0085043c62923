"""Servers that do not recurse: what they say of names that are not theirs is no answer."""

import struct

import pytest

from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_message import Question, RecordType, ReferralError
from tests.support.dns import DnsServer
from tests.support.dns_clients import GOOD, NAME, RECORD
from tests.support.hostile_dns import TO_QUESTION, HostileDns, record

AA, RA = 0x0400, 0x0080
NS = record(2, b"\x01a\xc0\x0c")
SOA = record(RecordType.SOA, b"\xc0\x0c\xc0\x0c" + struct.pack("!5I", 1, 2, 3, 4, 60))
CNAME = record(RecordType.CNAME, b"\x05other\x04test\0")


def message(
    query: bytes, flags: int, answer: bytes = b"", authority: bytes = b"", rcode: int = 0
) -> bytes:
    """A response to a query, with one record at most in each section."""
    question = query[12 : query.index(0, 12) + 5]
    counts = 1, int(bool(answer)), int(bool(authority)), 0
    return (
        query[:2]
        + struct.pack("!5H", 0x8100 | flags | rcode, *counts)
        + question
        + answer
        + authority
    )


@pytest.mark.parametrize("dnssec", [True, False])
@pytest.mark.parametrize(
    ("flags", "answer", "authority", "is_answer"),
    [
        (0, b"", b"", False),
        (0, b"", NS, False),
        (0, CNAME, NS, False),
        (AA, CNAME, NS, False),
        (AA, CNAME, b"", False),
        (0, b"", SOA, True),
        (AA, b"", SOA, True),
        (AA, b"", b"", True),
        (RA, b"", NS, True),
        (RA, CNAME, b"", True),
        (RA, b"", b"", True),
        (RA | AA, CNAME, b"", True),
    ],
)
def test_absences(
    flags: int, answer: bytes, authority: bytes, *, dnssec: bool, is_answer: bool
) -> None:
    """An absence counts from a server that recurses, with a SOA record, or from the zone's own."""
    question = Question("good.test", RecordType.TXT, 4711, dnssec=dnssec)
    wire = message(question.wire(), flags, answer, authority)
    if is_answer:
        assert question.read(wire).records == ()
    else:
        with pytest.raises(ReferralError):
            question.read(wire)


def test_records() -> None:
    """Records are an answer, and so is NXDOMAIN, whether the server recurses or not."""
    question = Question("good.test", RecordType.TXT, 4711)
    wire = message(question.wire(), 0, record(RecordType.TXT, b"\x01a", TO_QUESTION))
    assert question.read(wire).records == (b"a",)
    assert question.read(message(question.wire(), 0, rcode=3)).records == ()


async def test_the_next_server_answers() -> None:
    """A referral is a failure of this server, and no absence; the next one is asked."""
    async with HostileDns(udp=lambda query: [message(query, 0, authority=NS)]) as hostile:
        with pytest.raises(DnsFailureError, match="answers for its own zones only"):
            await DnsClient([hostile.address], 20.0).look_up_txt(GOOD)
        async with DnsServer({f"{NAME} TXT": [RECORD]}) as server:
            dns = DnsClient([hostile.address, server.address], 20.0)
            assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert hostile.datagrams == 3


async def test_an_absence_of_its_own() -> None:
    """The zone's own server says that there is none."""
    async with HostileDns(udp=lambda query: [message(query, AA, authority=SOA)]) as own:
        with pytest.raises(NoRecordError, match="NODATA"):
            await DnsClient([own.address], 20.0).look_up_txt(GOOD)
