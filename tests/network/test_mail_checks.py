"""What a check of a domain learns from the DNS, and how much of it is passed on."""

from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network import mail_checks
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.mail_checks import TLSA_LIMIT, MailChecks
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.values import replace
from tests.support.dns import DnsServer, Fault
from tests.support.dns_clients import open_client

GOOD = Domain("good.test")
SECONDS = 60.0
"""Enough for a busy machine."""
ZONE = {
    "good.test MX": ["10 mx1.good.test."],
    "mx1.good.test CNAME": ["real.test."],
    "real.test A": ["192.0.2.1"],
}
TLSA = "_25._tcp.real.test TLSA"


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver."""
    async with DnsServer(ZONE, signed=["."]) as server:
        yield server


@pytest.fixture
async def checks(server: DnsServer) -> AsyncIterator[MailChecks]:
    """Checks that ask that resolver."""
    settings = replace(NetworkSettings.of(Settings(), 443), nameservers=(server.address,))
    async with open_client(server.address) as dns:
        made = MailChecks(dns, LazyDaneClient(replace(settings, dns_timeout=20.0)))
        yield made
        made.close()


async def test_hosts(checks: MailChecks, server: DnsServer) -> None:
    """Without DANE, names and addresses; not the way there, which no verdict needs."""
    found = await checks.look_up_hosts(GOOD, SECONDS, with_dane=False)
    assert found.dane is None
    assert [(each.name, each.addresses) for each in found.hosts.hosts] == [
        ("mx1.good.test", ("192.0.2.1",))
    ]
    assert found.hosts.hosts[0].aliases == ()
    assert not server.queries[TLSA.split(" ", maxsplit=1)[0], "TLSA"]


async def test_dane(checks: MailChecks, server: DnsServer) -> None:
    """With DANE, also the records of each host, as far as a verdict needs them."""
    whole = [f"3 0 0 {number:04x}" + "cd" * 1_000 for number in range(9)]
    server.zone[TLSA] = [*whole, "3 1 1 " + "ab" * 32]
    found = await checks.look_up_hosts(GOOD, SECONDS, with_dane=True)
    assert found.dane
    assert found.dane.mx is MxState.SECURE
    dane = found.hosts.hosts[0].dane
    assert dane
    sizes = [len(each.data) for each in dane.records]
    assert 64 in sizes
    assert 5 < len(sizes) < 11
    assert sum(sizes) <= TLSA_LIMIT


async def test_no_time(checks: MailChecks, server: DnsServer) -> None:
    """What is not finished in time has failed; the check goes on with that."""
    server.zone.clear()
    server.default = Fault.SILENCE
    found = await checks.look_up_hosts(GOOD, 0.05, with_dane=True)
    assert found.hosts.problem
    assert found.dane
    assert found.dane.mx is MxState.FAILED


def test_a_record_that_is_too_long() -> None:
    """It does not hide those behind it."""
    long, short = TlsaRecord(3, 0, 0, "ab" * TLSA_LIMIT), TlsaRecord(3, 1, 1, "ab" * 32)
    assert list(mail_checks._that_fit([long, short])) == [short]
