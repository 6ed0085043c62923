"""The network client through reloads, and through the end of the processes behind it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import CertificateError, DnsFailureError, OwnFaultError
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.network.dns import FAILURES_LIMIT
from postfix_mta_sts.network.process import ProcessError
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.store.fleet.requests import Look, ReadRelays, StoreCondition, Unavailable
from tests.support.dns import DnsServer, Fault
from tests.support.internet import Internet
from tests.support.network_processes import OTHER_VERSION, Programs, children
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")


def kill(network: NetworkClient) -> int:
    """Kill the process in use; return its id."""
    process = network._supervisor.current
    assert process
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    return process.pid


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What is started as the network process."""
    return Programs(monkeypatch)


@asynccontextmanager
async def opened(
    net: Internet, folder: Path, timing: Timing | None = None
) -> AsyncIterator[NetworkClient]:
    """A network client that uses this Internet."""
    network = NetworkClient(net.hosts.port, timing)
    await network.reconfigure(net.settings(folder))
    try:
        yield network
    finally:
        await network.close()


async def test_discover_and_fetch(net: Internet, tmp_path: Path) -> None:
    """The id is looked up in the DNS, the policy fetched from the Policy Host."""
    async with opened(net, tmp_path) as network:
        assert (await network.discover(GOOD)).policy_id == "id1"
        assert list((await network.fetch(GOOD)).mx) == ["mx1.good.test"]


async def test_another_name_server(net: Internet, tmp_path: Path) -> None:
    """After a reload only the new name server is queried."""
    async with DnsServer() as other, opened(net, tmp_path) as network:
        other.zone["_mta-sts.good.test TXT"] = ['"v=STSv1; id=other;"']
        changes = {"dns": {"nameservers": [other.address]}}
        await network.reconfigure(net.settings(tmp_path, changes))
        assert (await network.discover(GOOD)).policy_id == "other"
    assert net.queries("good.test") == 0


async def test_dane(net: Internet, tmp_path: Path) -> None:
    """DANE look-ups and the check for DNSSEC use the newest name servers."""
    net.dns.zone[". SOA"] = ["a. b. 1 2 3 4 5"]
    async with DnsServer(net.dns.zone, signed=["."]) as other, opened(net, tmp_path) as network:
        assert [str(each) for each in await network.not_validating()] == [net.dns.address]
        assert (await network.look_up_dane(GOOD)).kind is DaneKind.INSECURE
        await network.reconfigure(net.settings(tmp_path, {"dns": {"nameservers": [other.address]}}))
        assert (await network.not_validating(), network.untrusted) == ((), ())
        assert (await network.look_up_dane(GOOD)).kind is DaneKind.NONE


async def test_without_a_fleet(net: Internet, tmp_path: Path) -> None:
    """A request to the shared store is answered, and nothing is imported for it."""
    async with opened(net, tmp_path) as network:
        answer = await network.ask_fleet(ReadRelays())
        assert answer == Unavailable("no fleet is configured")
        assert network.fleet_condition == StoreCondition()


async def test_a_shared_store_that_refuses(net: Internet, tmp_path: Path) -> None:
    """Why it does not answer arrives with the answers, until another process takes the calls."""
    async with opened(net, tmp_path) as network:
        assert network.fleet_condition == StoreCondition()
        fleet = {"url": "valkey://127.0.0.1:1", "unsigned": True}
        await network.reconfigure(net.settings(tmp_path, {"fleet": fleet}))
        for _ in range(3):
            assert isinstance(await network.ask_fleet(Look(GOOD, 30.0)), Unavailable)
        assert "127.0.0.1:1" in network.fleet_condition.problem
        assert not network.fleet_condition.is_asked
        await network.reconfigure(net.settings(tmp_path))
        assert network.fleet_condition == StoreCondition()


async def test_a_request_to_the_store_is_not_sent_again(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """If the process ends, the store counts as away: a look-up goes on without it."""
    async with opened(net, tmp_path, Timing(restart=0.01)) as network:
        await network.discover(GOOD)
        kill(network)
        answer = await network.ask_fleet(Look(GOOD, 1.0))
        assert isinstance(answer, Unavailable)
        assert "ended" in answer.reason
        assert (await network.discover(GOOD)).policy_id == "id1"


async def test_no_network_process(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """While none can be started, the store is away."""
    programs.usual = OSError("no memory")
    timing = Timing(restart=0.001, give_up_after=0.001)
    async with opened(net, tmp_path, timing) as network:
        assert isinstance(await network.ask_fleet(Look(GOOD, 1.0)), Unavailable)


async def test_unanswered(net: Internet, tmp_path: Path) -> None:
    """A DNS that answers nothing is reported; a reload resets this."""
    net.vanish(Fault.SERVFAIL)
    async with opened(net, tmp_path) as network:
        unanswered = [network.unanswered]
        for _ in range(FAILURES_LIMIT):
            with pytest.raises(DnsFailureError):
                await network.discover(GOOD)
        unanswered.append(network.unanswered)
        await network.reconfigure(net.settings(tmp_path))
        unanswered.append(network.unanswered)
    assert unanswered == [False, True, False]


async def test_running_calls_finish(net: Internet, tmp_path: Path) -> None:
    """A running GET is not aborted by a reload, and not sent again."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        running = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        await network.reconfigure(net.settings(tmp_path))
        net.hosts.release()
        assert (await running).max_age
    assert net.gets("good.test") == 1


async def test_running_calls_are_sent_again(net: Internet, tmp_path: Path) -> None:
    """What a process has not finished when `lookup.timeout` is over, the next one finishes."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        running = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        await network.reconfigure(net.settings(tmp_path, {"lookup": {"timeout": "0.1s"}}))
        await net.hosts.gets.reached("mta-sts.good.test", 2)
        net.hosts.release()
        assert (await running).max_age


async def test_many_reloads(net: Internet, tmp_path: Path) -> None:
    """However many reloads there are, a call is finished, and two processes exist at most."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        running = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        for _ in range(4):
            await network.reconfigure(net.settings(tmp_path))
            assert len(children()) <= 2
        net.hosts.release()
        assert (await running).max_age
    assert not children()


async def test_a_reload_that_fails(net: Internet, tmp_path: Path) -> None:
    """A reload with an unusable CA file fails and changes nothing."""
    settings = net.settings(tmp_path)
    async with opened(net, tmp_path) as network:
        assert (await network.discover(GOOD)).ttl
        net.ca_file.write_text("no certificate")
        with pytest.raises(OSError, match="no certificate"):
            await network.reconfigure(settings)
        assert (await network.fetch(GOOD)).max_age


async def test_a_restart_without_the_ca_file(net: Internet, tmp_path: Path) -> None:
    """A restarted process does not need the CA file: it gets the contents read before."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        net.ca_file.unlink()  # before the first process can have read it
        running = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        kill(network)
        net.hosts.release()
        assert (await running).max_age


async def test_killed_during_calls(
    net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The calls that a killed process has not finished are sent to the next one."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        running = [asyncio.create_task(network.fetch(GOOD)) for _ in range(5)]
        await net.hosts.gets.reached("mta-sts.good.test", 5)
        pid = kill(network)
        net.hosts.release()
        assert len({policy.max_age for policy in await asyncio.gather(*running)}) == 1
        assert network.restarts == 1
        assert not network.problem
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"network process ended status=-9 pid={pid} count=1"]


async def test_killed_twice(net: Internet, tmp_path: Path) -> None:
    """A call that loses two processes fails: it may be the call that kills them."""
    net.hosts.hold()
    async with opened(net, tmp_path, Timing(restart=0.01, restart_limit=0.01)) as network:
        running = asyncio.create_task(network.fetch(GOOD))
        for number in (1, 2):
            await net.hosts.gets.reached("mta-sts.good.test", number)
            kill(network)
        with pytest.raises(OwnFaultError, match="two network processes ended"):
            await running
        net.hosts.release()
        assert (await network.fetch(GOOD)).max_age


async def test_a_reload_without_a_process(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """A process that does not become ready is not switched to; the one before goes on."""
    async with opened(net, tmp_path) as network:
        assert (await network.discover(GOOD)).ttl
        programs.queue(OTHER_VERSION)
        with pytest.raises(ProcessError, match=r"has version 99\.1"):
            await network.reconfigure(net.settings(tmp_path))
        assert (await network.fetch(GOOD)).max_age
        assert network.problem.startswith("a reload was refused: the network process has version")
        assert len(children()) == 1
        await network.reconfigure(net.settings(tmp_path))
        assert (network.problem, network.restarts) == ("", 0)


async def test_other_authorities(net: Internet, tmp_path: Path) -> None:
    """After a reload only the new CAs are trusted."""
    other = tmp_path / "other"
    other.mkdir()
    changes = {"https": {"ca_file": str(Authority().write(other))}}
    async with opened(net, tmp_path) as network:
        await network.reconfigure(net.settings(tmp_path, changes))
        with pytest.raises(CertificateError):
            await network.fetch(GOOD)


async def test_close_cancels_running_calls(net: Internet, tmp_path: Path) -> None:
    """`close` cancels the calls of the old and of the new process."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        tasks = [asyncio.create_task(network.fetch(GOOD))]
        await net.hosts.gets.reached("mta-sts.good.test")
        await network.reconfigure(net.settings(tmp_path))
        tasks.append(asyncio.create_task(network.fetch(GOOD)))
        await net.hosts.gets.reached("mta-sts.good.test", 2)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, BaseException) for outcome in done)
