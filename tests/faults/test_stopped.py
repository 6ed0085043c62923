"""This process, or the machine, stands still for a while: that says nothing about any host.

The tests change from when on the end of a timeout is noticed too late, or stand still for a
second.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network import dane, own_faults
from postfix_mta_sts.network.dane import DaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_message import Mx
from postfix_mta_sts.network.dnssec import DnssecAnswer, DnssecClient
from tests.support.dns import DnsServer, Fault
from tests.support.fetchers import GOOD, Fetchers, FixedAddresses
from tests.support.policy_host import black_hole

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

TIMEOUT = 0.1
STOPPED = "^this process was stopped for a while$"


@pytest.fixture(autouse=True)
def _each_end_is_noticed_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_faults, "LATE", -3600.0)


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A resolver that does not answer for the addresses of the only MX host."""
    async with DnsServer(signed=["good.test"]) as server:
        server.zone = {"good.test MX": ["10 mx1.good.test."]}
        server.default = Fault.SILENCE
        yield server


@pytest.mark.parametrize("limit", ["timeout", "next_address_time"])
async def test_a_fetch(fetchers: Fetchers, limit: str) -> None:
    """The Policy Host may have answered in time."""
    addresses = FixedAddresses("127.0.0.1", "127.0.0.2")
    with black_hole("0.0.0.0") as port:
        fetcher = fetchers(addresses=addresses, port=port, **{limit: TIMEOUT})
        with pytest.raises(OwnFaultError, match=STOPPED):
            await fetcher.fetch(GOOD)


async def test_a_query(server: DnsServer) -> None:
    """The answer may have been lost while nobody could receive it."""
    with pytest.raises(OwnFaultError, match=STOPPED):
        await DnsClient([server.address], TIMEOUT).discover(GOOD)


async def test_a_dane_look_up(server: DnsServer) -> None:
    """It is not a failure of its hosts, for which mail would wait."""
    client = DaneClient(DnssecClient([server.address], TIMEOUT))
    with pytest.raises(OwnFaultError, match=STOPPED):
        await client.look_up_dane(Domain("good.test"))


async def test_a_dane_look_up_that_has_just_run_out_of_time(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not late itself, but no query takes as long: the process stood still."""
    monkeypatch.setattr(own_faults, "LATE", 0.5)
    client = DaneClient(DnssecClient([server.address], 0.25))
    look_up = asyncio.create_task(client.look_up_dane(Domain("good.test")))
    await server.queries.reached(("mx1.good.test", "A"))
    time.sleep(1.1)  # noqa: ASYNC251 - the process stands still
    with pytest.raises(OwnFaultError, match=STOPPED):
        await look_up


async def test_the_first_query_of_a_dane_look_up(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standstill before the answer takes no time from the look-ups of the hosts."""
    server.zone["mx1.good.test A"] = ["127.0.0.1"]
    server.default = Fault.NXDOMAIN
    monkeypatch.setattr(dane, "LONGEST", 2)
    dns = DnssecClient([server.address], 0.5)
    mx = dns.mx

    async def slow_mx(domain: Domain) -> DnssecAnswer[Mx]:
        answer = await mx(domain)
        time.sleep(1.0)  # noqa: ASYNC251 - the process stands still
        return answer

    monkeypatch.setattr(dns, "mx", slow_mx)
    outcome = await DaneClient(dns).look_up_dane(Domain("good.test"))
    assert [host.state for host in outcome.hosts] == [HostState.ABSENT]
