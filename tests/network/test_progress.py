"""What a look-up tells before its end: DANE host by host, and a fetch when addresses are known."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.dane import MAX_HOSTS, DaneOutcome, HostState, MxState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import HostNotFoundError
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.network.dane import PENDING, DaneClient
from postfix_mta_sts.network.dnssec import DnssecClient
from postfix_mta_sts.network.timing import Timing
from tests.support.dns import DnsServer, Fault
from tests.support.fetchers import POLICY, Fetchers, FixedAddresses
from tests.support.internet import Internet
from tests.support.policy_host import PolicyHost
from tests.support.proxy import ConnectProxy

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")
TLSA = "3 1 1 " + "ab" * 32
TIMEOUT = 60.0


def publish_hosts(server: DnsServer, number: int) -> None:
    """Give good.test this number of signed MX hosts with TLSA records."""
    server.signed.add(".")
    names = [f"mx{n}.good.test" for n in range(number)]
    server.zone["good.test MX"] = [f"{n} {name}." for n, name in enumerate(names)]
    for name in names:
        server.zone |= {f"{name} A": ["192.0.2.1"], f"_25._tcp.{name} TLSA": [TLSA]}


class TestDane:
    """The progress of one DANE look-up."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[DnsServer]:
        """A validating resolver."""
        async with DnsServer() as server:
            yield server

    async def seen(self, server: DnsServer) -> tuple[list[DaneOutcome], DaneOutcome]:
        """Look up DANE for good.test; what was told before the end, and the end."""
        told: list[DaneOutcome] = []
        dane = DaneClient(DnssecClient([server.address], TIMEOUT))
        return told, await dane.look_up_dane(GOOD, told.append)

    async def test_host_by_host(self, server: DnsServer) -> None:
        """First all hosts are pending, then one less each time; the result has the last one."""
        publish_hosts(server, 3)
        told, outcome = await self.seen(server)
        pending = [[host.step == PENDING for host in each.hosts].count(True) for each in told]
        assert pending == [3, 2, 1]
        assert {host.state for host in told[0].hosts} == {HostState.FAILED}
        assert {(each.mx, each.step) for each in told} == {(MxState.SECURE, outcome.step)}
        assert {host.state for host in outcome.hosts} == {HostState.USABLE}

    async def test_hosts_in_order(self, server: DnsServer) -> None:
        """Each outcome so far has all hosts in order of preference, those left out included."""
        publish_hosts(server, MAX_HOSTS + 2)
        told, outcome = await self.seen(server)
        names = [host.name for host in outcome.hosts]
        assert all([host.name for host in each.hosts] == names for each in told)
        assert told[0].hosts[-1].state is HostState.SKIPPED

    @pytest.mark.parametrize("signed", [True, False])
    async def test_no_hosts(self, server: DnsServer, *, signed: bool) -> None:
        """Without hosts to look up nothing is told before the end."""
        server.zone["good.test MX"] = ["0 ."] if signed else ["10 mx1.good.test."]
        server.signed |= {"."} if signed else set()
        told, outcome = await self.seen(server)
        assert not told
        assert not outcome.hosts


class TestFetch:
    """The progress of one fetch."""

    async def test_addresses_are_known(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """It is told before the Policy Host has answered, and once."""
        told = asyncio.Event()
        host.hold()
        fetch = asyncio.create_task(fetchers().fetch_body(GOOD, on_addresses=told.set))
        await told.wait()
        assert not fetch.done()
        host.release()
        assert await fetch == POLICY

    async def test_no_address(self, fetchers: Fetchers) -> None:
        """Without an address nothing is told."""
        told = asyncio.Event()
        with pytest.raises(HostNotFoundError):
            await fetchers(addresses=FixedAddresses()).fetch(GOOD, told.set)
        assert not told.is_set()

    async def test_proxy(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The proxy looks the addresses up, so it is told even if the proxy is slow."""
        told = asyncio.Event()
        async with ConnectProxy(host.port) as proxy:
            host.hold()
            fetch = asyncio.create_task(fetchers(proxy=proxy.url).fetch(GOOD, told.set))
            await told.wait()
            host.release()
            assert (await fetch).max_age


class TestNetworkClient:
    """The same through the network process."""

    @pytest.fixture
    async def network(self, net: Internet, tmp_path: Path) -> AsyncIterator[NetworkClient]:
        """A network client that uses this Internet."""
        network = NetworkClient(net.hosts.port)
        await network.reconfigure(net.settings(tmp_path))
        yield network
        await network.close()

    async def test_dane(self, net: Internet, network: NetworkClient) -> None:
        """The outcomes so far arrive in order before the result."""
        publish_hosts(net.dns, 2)
        told: list[DaneOutcome | None] = []
        outcome = await network.look_up_dane(GOOD, told.append)
        seen = [each for each in told if each]
        assert [[h.step == PENDING for h in each.hosts].count(True) for each in seen] == [2, 1]
        assert {host.state for host in outcome.hosts} == {HostState.USABLE}

    @pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=str)
    async def test_dane_is_lost(self, net: Internet, tmp_path: Path, sent: signal.Signals) -> None:
        """What a process has found that ends or hangs is taken back: it is no fault of the DNS."""
        publish_hosts(net.dns, 2)
        net.dns.zone["mx0.good.test A"] = Fault.SILENCE
        told: list[DaneOutcome | None] = []
        timing = Timing(ping=0.05, silent_after=2, hung_after=10_000, restart=0.01)
        network = NetworkClient(net.hosts.port, timing)
        await network.reconfigure(net.settings(tmp_path))
        looked_up = asyncio.create_task(network.look_up_dane(GOOD, told.append))
        try:
            async with asyncio.timeout(TIMEOUT):
                while not told:  # noqa: ASYNC110 (nothing tells of it)
                    await asyncio.sleep(0.01)
                assert told[0]
                process = network._supervisor.current
                assert process
                assert process.pid
                os.kill(process.pid, sent)
                while None not in told:  # noqa: ASYNC110 (the same)
                    await asyncio.sleep(0.01)
            if sent is signal.SIGSTOP:
                os.kill(process.pid, signal.SIGCONT)
        finally:
            looked_up.cancel()
            await network.close()

    async def test_fetch(self, net: Internet, network: NetworkClient) -> None:
        """It is told that the addresses are known while the Policy Host is silent."""
        net.hosts.hold()
        told = asyncio.Event()
        fetch = asyncio.create_task(network.fetch(GOOD, told.set))
        await told.wait()
        assert not fetch.done()
        net.hosts.release()
        assert (await fetch).max_age

    async def test_a_callback_that_fails(
        self, network: NetworkClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error in it is logged; the call and all others go on."""

        def fail() -> None:
            raise ZeroDivisionError

        assert (await network.fetch(GOOD, fail)).max_age
        assert (await network.discover(GOOD)).policy_id == "id1"
        assert "ZeroDivisionError" in caplog.text
