"""The TLSA records that a caller gets, and their merge with the hosts that `query` shows."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import MAX_HOSTS, DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dane import DaneClient, HostTlsa
from postfix_mta_sts.network.dns_message import Tlsa
from postfix_mta_sts.network.dnssec import DnssecClient
from postfix_mta_sts.network.mail_hosts import with_dane
from postfix_mta_sts.network.mail_hosts_values import HostDane, MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.values import replace
from tests.support.dane_outcomes import UNSIGNED, signed
from tests.support.dns import DnsServer, Fault

GOOD = Domain("good.test")
TIMEOUT = 20.0
"""Seconds for one query: enough for a busy machine."""
DIGEST = "ab" * 32
TLSA, PKIX = f"3 1 1 {DIGEST}", f"1 1 1 {DIGEST}"
RECORD, PKIX_RECORD = Tlsa(3, 1, 1, bytes.fromhex(DIGEST)), Tlsa(1, 1, 1, bytes.fromhex(DIGEST))
TWO_MX = {
    "good.test MX": ["10 mx1.good.test.", "20 mx2.good.test."],
    "mx1.good.test A": ["192.0.2.1"],
    "mx2.good.test CNAME": ["real.good.test."],
    "real.good.test A": ["192.0.2.2"],
}
AT_MX1, AT_REAL = "_25._tcp.mx1.good.test TLSA", "_25._tcp.real.good.test TLSA"


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver; good.test is signed, plain.test is not."""
    async with DnsServer(TWO_MX, signed=["good.test"]) as server:
        yield server


@pytest.fixture
def dane(server: DnsServer) -> DaneClient:
    """A DANE client of that resolver."""
    return DaneClient(DnssecClient([server.address], TIMEOUT))


class TestRecords:
    """The records that `on_tlsa` gets."""

    async def test_each_host(self, dane: DaneClient, server: DnsServer) -> None:
        """The caller gets the secure records of each host, usable or not, and their name."""
        server.zone |= {AT_MX1: [PKIX], AT_REAL: [TLSA]}
        found: list[HostTlsa] = []
        await dane.look_up_dane(GOOD, on_tlsa=found.append)
        assert sorted(found, key=lambda each: each.host) == [
            HostTlsa("mx1.good.test", "mx1.good.test", (PKIX_RECORD,)),
            HostTlsa("mx2.good.test", "real.good.test", (RECORD,)),
        ]

    async def test_no_records(self, dane: DaneClient, server: DnsServer) -> None:
        """Hosts without secure records are not told."""
        server.zone |= {AT_MX1: Fault.SERVFAIL}
        found: list[HostTlsa] = []
        await dane.look_up_dane(GOOD, on_tlsa=found.append)
        assert found == []


class TestHosts:
    """`look_up_hosts`, for which there is no signed MX RRset."""

    async def test_hosts_without_mx(self, dane: DaneClient, server: DnsServer) -> None:
        """Each host has the state that it has behind a signed MX RRset; MX is not queried."""
        server.zone |= {AT_MX1: [TLSA], "mx.plain.test A": ["192.0.2.3"]}
        found: list[HostTlsa] = []
        hosts = await dane.look_up_hosts(["mx1.good.test", "mx.plain.test"], found.append)
        assert [each.state for each in hosts] == [HostState.USABLE, HostState.INSECURE]
        assert found == [HostTlsa("mx1.good.test", "mx1.good.test", (RECORD,))]
        assert server.queries["good.test", "MX"] == 0

    async def test_many_hosts(self, dane: DaneClient) -> None:
        """A limited number of hosts is looked up."""
        hosts = await dane.look_up_hosts([f"mx{n}.gone.test" for n in range(MAX_HOSTS + 5)])
        assert len(hosts) == MAX_HOSTS + 1
        assert hosts[-1].state is HostState.SKIPPED

    async def test_no_answer(self, server: DnsServer) -> None:
        """Hosts that are not finished in time have failed."""
        dane = DaneClient(DnssecClient([server.address], 0.01))
        server.hold()
        (host,) = await dane.look_up_hosts(["mx1.good.test"])
        assert host.state is HostState.FAILED


def hosts_named(*names: str) -> MailHosts:
    """Mail hosts with these names."""
    return MailHosts(tuple(MxHost(name, n) for n, name in enumerate(names)))


class TestMerge:
    """`with_dane`, which is pure."""

    def test_records_and_states(self) -> None:
        """A host gets its state, step, the name of its records and the records."""
        outcome = DaneOutcome(
            MxState.SECURE,
            "MX",
            (Host("mx1", HostState.USABLE, "1 usable"), Host("mx2", HostState.ABSENT, "none")),
        )
        found = with_dane(
            hosts_named("mx1", "mx2"), outcome, [HostTlsa("mx1", "real", (RECORD, PKIX_RECORD))]
        )
        assert found.mx_is_secure
        assert [each.dane for each in found.hosts] == [
            HostDane(
                HostState.USABLE,
                "1 usable",
                "real",
                (TlsaRecord(3, 1, 1, DIGEST), TlsaRecord(1, 1, 1, DIGEST)),
            ),
            HostDane(HostState.ABSENT, "none"),
        ]

    def test_mx_that_is_not_signed(self) -> None:
        """Without more, hosts behind an MX RRset that is not signed were not looked up."""
        hosts = replace(hosts_named("mx1"), mx_is_secure=True)
        assert with_dane(hosts, UNSIGNED) == hosts_named("mx1")

    @pytest.mark.parametrize("outcome", [UNSIGNED, None])
    def test_more_hosts(self, outcome: DaneOutcome | None) -> None:
        """What was found without a signed MX RRset is added."""
        more = [Host("mx1", HostState.USABLE, "1 usable")]
        found = with_dane(hosts_named("mx1"), outcome, [HostTlsa("mx1", "mx1", (RECORD,))], more)
        assert not found.mx_is_secure
        assert found.hosts[0].dane == HostDane(
            HostState.USABLE, "1 usable", "mx1", (TlsaRecord(3, 1, 1, DIGEST),)
        )

    def test_skipped_hosts(self) -> None:
        """All hosts beyond those that were looked up have the step that counts them."""
        outcome = signed(HostState.ABSENT, HostState.SKIPPED)
        found = with_dane(hosts_named("mx0", "mx1", "mx2"), outcome)
        states = [each.dane.state for each in found.hosts if each.dane]
        assert states == [HostState.ABSENT, HostState.SKIPPED, HostState.SKIPPED]

    def test_address_in_place_of_a_name(self) -> None:
        """There is no DANE for an address, though a name of that form was looked up."""
        outcome = DaneOutcome(
            MxState.SECURE, "MX", (Host("192.0.2.1", HostState.GONE, "NXDOMAIN"),)
        )
        assert with_dane(hosts_named("192.0.2.1"), outcome).hosts[0].dane is None

    @given(
        st.lists(st.sampled_from(["mx0", "mx1", "mx2", "192.0.2.1"]), max_size=5),
        st.lists(st.sampled_from(list(HostState)), max_size=3),
        st.lists(st.sampled_from(["mx0", "mx1", "other"]), max_size=3),
    )
    def test_nothing_else_changes(
        self, names: list[str], states: list[HostState], with_records: list[str]
    ) -> None:
        """Whatever was found, hosts keep their order and the rest; a second merge changes none."""
        before = hosts_named(*names)
        tlsa = [HostTlsa(name, name, (RECORD,)) for name in with_records]
        after = with_dane(before, signed(*states), tlsa)
        assert tuple(replace(each, dane=None) for each in after.hosts) == before.hosts
        assert with_dane(after, signed(*states), tlsa) == after
