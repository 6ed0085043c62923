"""The network client through reloads: running calls finish with their old settings."""

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
from tests.support.dns import DnsServer, Fault
from tests.support.internet import Internet
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")


@asynccontextmanager
async def opened(net: Internet, folder: Path) -> AsyncIterator[NetworkClient]:
    """A network client that uses this Internet."""
    network = NetworkClient(net.hosts.port)
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
    """A running GET is not aborted by reloads."""
    net.hosts.hold()
    async with opened(net, tmp_path) as network:
        running = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        for _ in range(2):
            await network.reconfigure(net.settings(tmp_path))
        net.hosts.release()
        assert (await running).max_age


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
        os.kill(network._generations[-1].process._child.pid, signal.SIGKILL)
        with pytest.raises(OwnFaultError):
            await running
        net.hosts.release()
        assert (await network.fetch(GOOD)).max_age


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
