"""A domain's owner wants the checks of a relay: many connections, without end, anywhere.

The connections are counted at the other side.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from postfix_mta_sts.admin.diagnosis.check import CheckRules, check_domain
from postfix_mta_sts.admin.diagnosis.setup import RECOMMENDED, SmtpSetup
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import checks as checks_module
from postfix_mta_sts.daemon.checks import Checks
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.dane import MAX_HOSTS as DANE_HOSTS
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.mail_checks import MailChecks
from postfix_mta_sts.network.mail_hosts import MAX_HOSTS
from postfix_mta_sts.network.mail_hosts_values import FoundHosts
from postfix_mta_sts.network.messages import LookUpHostsResult, ProbeResults
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import ProbePlan, ProbeResult, TrustFiles
from postfix_mta_sts.postfix.smtp_client.delivery import MAX_TARGETS
from postfix_mta_sts.resolver import check_schedule
from postfix_mta_sts.resolver.check_schedule import CHECKS_AT_ONCE
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.values import replace, to_msgpack
from tests.support.checks import checks_world
from tests.support.daemons import TIMEOUT, until
from tests.support.dns import Records
from tests.support.internet import Internet
from tests.support.policy_host import policy_text
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.surroundings import START

EVIL = Domain("evil.test")
POLICY = parse_policy(policy_text(mx=["*.evil.test"]))
SETUP = SmtpSetup(RECOMMENDED, TrustFiles(), "none")
ENDLESS = b"220-" + b"x" * 100 + b"\r\n"


class Watched:
    """The checks of a network process; keeps what it would send to the daemon."""

    def __init__(self, checks: MailChecks) -> None:
        self._checks = checks
        self.sent = 0
        """Bytes."""

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """See `CheckSources`."""
        found = await self._checks.look_up_hosts(domain, seconds, with_dane=with_dane)
        self.sent += len(to_msgpack(LookUpHostsResult(1, found)))
        return found

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `CheckSources`."""
        results = await self._checks.probe(plan)
        self.sent += len(to_msgpack(ProbeResults(1, results)))
        return results


@asynccontextmanager
async def watched(net: Internet) -> AsyncIterator[Watched]:
    """The checks of a network process, in this one."""
    settings = replace(
        NetworkSettings.of(Settings(), 443), nameservers=(net.dns.address,), dns_timeout=TIMEOUT
    )
    async with open_clients(settings) as (dns, _):
        checks = MailChecks(dns, LazyDaneClient(settings))
        yield Watched(checks)
        checks.close()


async def check(net: Internet, port: int, *, seconds: float = TIMEOUT) -> Check:
    """Check the domain, whose hosts are all on this machine, at this port."""
    rules = CheckRules(look_up_seconds=TIMEOUT, probe_seconds=seconds, port=port)
    async with watched(net) as sources, asyncio.timeout(TIMEOUT):
        made = await check_domain(EVIL, POLICY, "1", sources, SETUP, now=START, rules=rules)
    assert sources.sent < 200_000
    return made


def publish(net: Internet, hosts: int, addresses: int) -> None:
    """Give the domain so many hosts, each with so many addresses."""
    names = [f"mx{number}.evil.test" for number in range(hosts)]
    net.dns.zone["evil.test MX"] = Records([f"10 {name}." for name in names], truncated=True)
    for number, name in enumerate(names):
        found = [f"127.1.{number}.{last}" for last in range(1, addresses + 1)]
        net.dns.zone[f"{name} A"] = Records(found, truncated=True)


@pytest.mark.parametrize("greeting", [b"220 evil.test\r\n", SILENCE])
async def test_hundred_hosts_with_hundred_addresses(net: Internet, greeting: bytes) -> None:
    """A check looks up 50 hosts and connects to 20 addresses at most, whatever they do."""
    publish(net, 100, 100)
    plain = {"": greeting, "EHLO": b"250 evil.test\r\n"}
    async with SmtpHost(host="0.0.0.0", plain=plain) as host:
        made = await check(net, host.port, seconds=1.0)
        assert 0 < host.connections <= MAX_TARGETS
    assert made.result is not CheckResult.DELIVERED
    assert net.dns.queries.total <= 2 * (1 + 2 * MAX_HOSTS)  # over UDP, and again over TCP
    assert MAX_HOSTS >= DANE_HOSTS


async def test_private_addresses(net: Internet) -> None:
    """Addresses count as they do for mail: Postfix would connect to this one, so the check does."""
    net.dns.zone |= {"evil.test MX": ["10 mx.evil.test."], "mx.evil.test A": ["127.0.0.1"]}
    async with SmtpHost(plain={"EHLO": b"250 mx.evil.test\r\n"}) as host:
        made = await check(net, host.port)
    assert host.connections == 1
    assert made.result is CheckResult.HELD


async def test_a_host_that_never_ends(net: Internet) -> None:
    """Replies without end are given up, long before the time of a check is over."""
    publish(net, 1, 1)
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not reader.at_eof():
                writer.write(ENDLESS)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            left.set()
            writer.close()

    server = await asyncio.start_server(talk, "127.1.0.1", 0)
    async with server:
        made = await check(net, server.sockets[0].getsockname()[1])
        await left.wait()
    assert made.result is CheckResult.HELD
    assert len(made.sentence) <= 500


async def test_many_domains_of_one_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share the checks of a day, four at once; each has one, and a restart adds none."""
    monkeypatch.setattr(check_schedule, "CHECKS_A_DAY", 40)
    monkeypatch.setattr(checks_module, "PAUSE", 0.0)
    async with checks_world() as around:
        await around.publish(*(f"d{number}.evil.test" for number in range(200)))
        for number, days in ((40, 0), (40, 0), (80, 1)):  # the second time, after a restart
            around.sources.now += days * DAY
            checks = Checks(around.world, CheckConditions())
            async with background_task(checks.run(), "checks"):
                around.ask()
                asked = around.hosts.asked
                await until(lambda: len(asked) == number and not checks.running)  # noqa: B023
                await until(lambda: checks.waiting > 0)  # noqa: B023
        assert around.hosts.most == CHECKS_AT_ONCE
        assert len(around.hosts.asked) == 80
