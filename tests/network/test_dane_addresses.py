"""The addresses of an MX host: which address family is queried, waited for, and believed."""

import asyncio
from typing import cast

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dane import DaneClient
from postfix_mta_sts.network.dns_message import Mx, RecordType, Tlsa
from postfix_mta_sts.network.dnssec import DnssecAnswer, DnssecClient

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])

HOST = "mx1.good.test"
FOUND = DnssecAnswer(("192.0.2.1",), secure=True, exists=True, name=HOST, ttl=3600)
NODATA: DnssecAnswer[str] = DnssecAnswer((), secure=True, exists=True, name=HOST, ttl=60)
NXDOMAIN: DnssecAnswer[str] = DnssecAnswer((), secure=True, exists=False, name=HOST, ttl=60)
UNSIGNED: DnssecAnswer[str] = DnssecAnswer((), secure=False, exists=True, name=HOST, ttl=60)
FAILED = DnsFailureError("SERVFAIL from the name server")
OWN = OwnFaultError("no socket: Too many open files")
TLSA = DnssecAnswer(
    (Tlsa(3, 1, 1, bytes(32)),), secure=True, exists=True, name=f"_25._tcp.{HOST}", ttl=3600
)
MX = DnssecAnswer((Mx(10, HOST),), secure=True, exists=True, name="good.test", ttl=3600)

Answer = DnssecAnswer[str] | Exception


class FakeDns:
    """Answers the queries for good.test; `never` and `late` are families."""

    def __init__(
        self, four: Answer, six: Answer, *, never: str = "", late: str = "", timeout: float = 3600.0
    ) -> None:
        self.timeout = timeout
        self.asked: list[str] = []
        self._answers = {"A": four, "AAAA": six}
        self._never = never
        self._late = late
        self._other_asked = asyncio.Event()

    async def mx(self, _: str) -> DnssecAnswer[Mx]:
        """One host."""
        return MX

    async def tlsa(self, _: str) -> DnssecAnswer[Tlsa]:
        """One usable record."""
        return TLSA

    async def addresses(self, _: str, kind: RecordType) -> DnssecAnswer[str]:
        """The answer that the test wants."""
        self.asked.append(kind.name)
        if kind.name == self._late:
            await self._other_asked.wait()
        self._other_asked.set()
        if kind.name == self._never:
            await asyncio.Event().wait()
        answer = self._answers[kind.name]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def look_up(dns: FakeDns) -> DaneOutcome:
    """The outcome of a DANE look-up."""
    client = DaneClient(cast("DnssecClient", dns))
    async with asyncio.timeout(20):
        return await client.look_up_dane(Domain("good.test"))


async def state(four: Answer, six: Answer) -> HostState:
    """What the look-up says of the host."""
    (host,) = (await look_up(FakeDns(four, six))).hosts
    return host.state


async def test_one_family_is_enough() -> None:
    """AAAA is queried only if A does not decide."""
    for answer in (FOUND, NXDOMAIN, UNSIGNED):
        dns = FakeDns(answer, FOUND)
        await look_up(dns)
        assert dns.asked == ["A"]


@pytest.mark.parametrize(
    ("four", "six", "expected"),
    [
        (NODATA, FOUND, HostState.USABLE),
        (NODATA, NODATA, HostState.GONE),
        (NODATA, FAILED, HostState.FAILED),
        (FAILED, FOUND, HostState.USABLE),
        (FAILED, NODATA, HostState.FAILED),
        (FAILED, NXDOMAIN, HostState.GONE),
        (FAILED, UNSIGNED, HostState.INSECURE),
        (FAILED, FAILED, HostState.FAILED),
        (OWN, FOUND, HostState.USABLE),
    ],
)
async def test_both_families(four: Answer, six: Answer, expected: HostState) -> None:
    """The answer that decides counts; else a failure of either leaves it open."""
    assert await state(four, six) is expected


@pytest.mark.parametrize(("four", "six"), [(FAILED, OWN), (OWN, FAILED), (OWN, NODATA)])
async def test_a_fault_of_this_program_says_nothing(four: Answer, six: Answer) -> None:
    """It is not taken for a failure of the DNS, which would be remembered."""
    with pytest.raises(OwnFaultError):
        await look_up(FakeDns(four, six))


@pytest.mark.parametrize("answer", [FOUND, NXDOMAIN, UNSIGNED])
async def test_a_late_answer_that_decides(answer: DnssecAnswer[str]) -> None:
    """The other family, which is never answered, is not waited for."""
    dns = FakeDns(answer, FOUND, never="AAAA", late="A", timeout=5.0)
    assert (await look_up(dns)).hosts[0].state is not HostState.FAILED


async def test_a_lost_answer() -> None:
    """If A is not answered, AAAA is queried beside it."""
    dns = FakeDns(FOUND, FOUND, never="A", timeout=0.1)
    assert (await look_up(dns)).hosts[0].state is HostState.USABLE
    assert dns.asked == ["A", "AAAA"]


async def test_the_life_of_the_verdict() -> None:
    """The TTL of an answer that is not used does not shorten it."""
    assert (await look_up(FakeDns(NODATA, FOUND))).ttl == FOUND.ttl


async def test_no_task_is_left() -> None:
    """The query that is not needed any more is cancelled."""
    before = asyncio.all_tasks()
    await look_up(FakeDns(FOUND, FOUND, never="A", timeout=0.1))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
