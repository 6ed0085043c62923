"""TLSRPT records are asked for once, and again when they are old."""

from collections import Counter

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, NoRecordError
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt, parse_tlsrpt
from postfix_mta_sts.postfix.tlsrpt import records as records_module
from postfix_mta_sts.postfix.tlsrpt.records import ABSENT, LONGEST, SHORTEST, TlsrptRecords

GOOD = parse_domain("good.test")
TEXT = "v=TLSRPTv1; rua=mailto:tlsrpt@good.test"


class Dns:
    """Answers with a record of this TTL, or fails; and a clock."""

    def __init__(self, ttl: int = 300, error: DiscoveryError | None = None) -> None:
        self.ttl = ttl
        self.error = error
        self.now = 1000.0
        self.asked = Counter[Domain]()
        self.records = TlsrptRecords(self.find, lambda: self.now)

    async def find(self, domain: Domain) -> FoundTlsrpt:
        """Answer."""
        self.asked[domain] += 1
        if self.error:
            raise self.error
        return FoundTlsrpt(parse_tlsrpt([TEXT.encode()]), self.ttl)


@pytest.mark.parametrize(
    ("ttl", "life"), [(300, 300.0), (0, SHORTEST), (2**31 - 1, LONGEST), (60, 60.0)]
)
async def test_a_record_is_kept_for_its_ttl(ttl: int, life: float) -> None:
    """Within limits."""
    dns = Dns(ttl)
    assert [await dns.records.find(GOOD) for _ in range(3)] == [TEXT] * 3
    dns.now += life - 1
    await dns.records.find(GOOD)
    assert dns.asked[GOOD] == 1
    dns.now += 1
    await dns.records.find(GOOD)
    assert dns.asked[GOOD] == 2


@pytest.mark.parametrize("error", [NoRecordError("NXDOMAIN"), DnsFailureError("no answer")])
async def test_an_absence_is_kept(error: DiscoveryError) -> None:
    """Most domains have none; and a DNS that fails is not asked for each look-up."""
    dns = Dns(error=error)
    assert [await dns.records.find(GOOD) for _ in range(3)] == [None] * 3
    assert dns.asked[GOOD] == 1
    dns.now += ABSENT
    dns.error = None
    assert await dns.records.find(GOOD) == TEXT


async def test_the_number_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The domain that was not needed for the longest time leaves first."""
    monkeypatch.setattr(records_module, "LIMIT", 3)
    dns = Dns()
    names = [parse_domain(f"d{n}.test") for n in range(4)]
    for name in (*names[:3], names[0], names[3], names[0], names[1]):
        await dns.records.find(name)
    assert [dns.asked[name] for name in names] == [1, 2, 1, 1]
