"""DNS and HTTPS may be changed while they are at work: what was begun is ended as it was begun."""

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
from postfix_mta_sts.network.dns import FAILURES_TOLD
from tests.support.dns import DnsServer, Fault
from tests.support.internet import Internet
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")


@asynccontextmanager
async def asking(net: Internet, folder: Path) -> AsyncIterator[NetworkClient]:
    """A network that leads there."""
    network = NetworkClient(net.hosts.port)
    await network.reconfigure(net.settings(folder))
    try:
        yield network
    finally:
        await network.close()


async def test_asks(net: Internet, tmp_path: Path) -> None:
    """The id comes from the DNS, the policy from the Policy Host."""
    async with asking(net, tmp_path) as network:
        assert (await network.discover(GOOD)).policy_id == "id1"
        assert list((await network.fetch(GOOD)).mx) == ["mx1.good.test"]


async def test_another_name_server(net: Internet, tmp_path: Path) -> None:
    """After a change the new name server is asked, and the old one no more."""
    async with DnsServer() as other, asking(net, tmp_path) as network:
        other.zone["_mta-sts.good.test TXT"] = ['"v=STSv1; id=other;"']
        changes = {"dns": {"nameservers": [other.address]}}
        await network.reconfigure(net.settings(tmp_path, changes))
        assert (await network.discover(GOOD)).policy_id == "other"
    assert net.queries("good.test") == 0


async def test_proof(net: Internet, tmp_path: Path) -> None:
    """What DNSSEC proves, and whether anything does, is asked of the newest name servers."""
    net.dns.zone[". SOA"] = ["a. b. 1 2 3 4 5"]
    async with DnsServer(net.dns.zone, signed=["."]) as other, asking(net, tmp_path) as network:
        assert [str(each) for each in await network.not_validating()] == [net.dns.address]
        assert (await network.look_up_dane(GOOD)).kind is DaneKind.INSECURE
        await network.reconfigure(net.settings(tmp_path, {"dns": {"nameservers": [other.address]}}))
        assert (await network.not_validating(), network.untrusted) == ((), ())
        assert (await network.look_up_dane(GOOD)).kind is DaneKind.NONE


async def test_silent(net: Internet, tmp_path: Path) -> None:
    """A DNS that answers nothing is called silent; of other name servers that is not known yet."""
    net.vanish(Fault.SERVFAIL)
    async with asking(net, tmp_path) as network:
        unanswered = [network.unanswered]
        for _ in range(FAILURES_TOLD):
            with pytest.raises(DnsFailureError):
                await network.discover(GOOD)
        unanswered.append(network.unanswered)
        await network.reconfigure(net.settings(tmp_path))
        unanswered.append(network.unanswered)
    assert unanswered == [False, True, False]


async def test_what_was_begun_is_ended(net: Internet, tmp_path: Path) -> None:
    """A GET under way is not broken off by changes, however many."""
    net.hosts.hold()
    async with asking(net, tmp_path) as network:
        begun = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        for _ in range(2):
            await network.reconfigure(net.settings(tmp_path))
        net.hosts.release()
        assert (await begun).max_age


async def test_a_change_that_fails(net: Internet, tmp_path: Path) -> None:
    """A CA file that cannot be used leaves everything as it was."""
    settings = net.settings(tmp_path)
    async with asking(net, tmp_path) as network:
        assert (await network.discover(GOOD)).ttl
        net.ca_file.write_text("no certificate")
        with pytest.raises(OSError, match="no certificate"):
            await network.reconfigure(settings)
        assert (await network.fetch(GOOD)).max_age


async def test_a_file_that_was_good(net: Internet, tmp_path: Path) -> None:
    """A process that is begun anew needs no CA file: what was in it when it was good holds."""
    net.hosts.hold()
    async with asking(net, tmp_path) as network:
        net.ca_file.unlink()  # before the first process can have read it
        begun = asyncio.create_task(network.fetch(GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        os.kill(network._generations[-1].process._child.pid, signal.SIGKILL)
        with pytest.raises(OwnFaultError):
            await begun
        net.hosts.release()
        assert (await network.fetch(GOOD)).max_age


async def test_other_authorities(net: Internet, tmp_path: Path) -> None:
    """After a change the new CAs are trusted, and no others."""
    other = tmp_path / "other"
    other.mkdir()
    changes = {"https": {"ca_file": str(Authority().write(other))}}
    async with asking(net, tmp_path) as network:
        await network.reconfigure(net.settings(tmp_path, changes))
        with pytest.raises(CertificateError):
            await network.fetch(GOOD)


async def test_close_amid_work(net: Internet, tmp_path: Path) -> None:
    """At the end nothing is waited for, neither of the old network nor of the new one."""
    net.hosts.hold()
    async with asking(net, tmp_path) as network:
        begun = [asyncio.create_task(network.fetch(GOOD))]
        await net.hosts.gets.reached("mta-sts.good.test")
        await network.reconfigure(net.settings(tmp_path))
        begun.append(asyncio.create_task(network.fetch(GOOD)))
        await net.hosts.gets.reached("mta-sts.good.test", 2)
    done = await asyncio.gather(*begun, return_exceptions=True)
    assert all(isinstance(outcome, BaseException) for outcome in done)
