"""Outward: a Policy Host and an MX host on loopback, which answer, refuse, or lack STARTTLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.collect_outward import OutwardLook, Ports
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.admin.doctor.snapshot import Outward
from postfix_mta_sts.mtasts.domain import parse_domain
from tests.support.dns import Fault
from tests.support.internet import AS_IT_IS, Changes, Internet, internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.ports import free_port
from tests.support.smtp_host import SmtpHost

GOOD: Final = parse_domain("good.test")
NOW: Final = 1_800_000_000.0
BUDGET: Final = 60.0
"""Seconds: enough for a busy machine."""


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """A local Internet in which good.test has a policy."""
    async with internet(tmp_path) as net:
        net.publish("good.test")
        yield net


@asynccontextmanager
async def looked(
    net: Internet,
    folder: Path,
    *,
    smtp: int,
    https: int = 0,
    budget: float = BUDGET,
    changes: Changes = AS_IT_IS,
) -> AsyncIterator[tuple[Outward, list[str]]]:
    """What was found of good.test, and what was not seen."""
    sight = Sight(is_root=True, budget=budget)
    ports = Ports(https or net.hosts.port, smtp)
    look = OutwardLook(sight, GOOD, net.settings(folder, changes), ports, lambda: NOW)

    async def ehlo() -> str:
        return "relay.test"

    found = await look.run(ehlo)
    yield found, [f"{each.what}: {each.reason}" for each in sight.unseen]


async def test_all_is_well(net: Internet, tmp_path: Path) -> None:
    """Both are reached; the MX host is greeted by the name of Postfix, and gets no mail."""
    async with SmtpHost() as host, looked(net, tmp_path, smtp=host.port) as (found, unseen):
        assert found == Outward(GOOD, has_starttls=True, has_enforced_policy=True)
        assert unseen == []
        assert host.commands == ["EHLO relay.test", "QUIT"]


@pytest.mark.parametrize("seconds", [-600, 0, 900])
async def test_clock(net: Internet, tmp_path: Path, seconds: int) -> None:
    """The Policy Host says what time it is, also with a status that has no policy."""
    date = formatdate(NOW - seconds, usegmt=True)
    net.publish("good.test", reply(404, date=date))
    async with SmtpHost() as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert found.clock_offset == seconds
        assert not found.has_enforced_policy


@pytest.mark.parametrize("date", ["yesterday", "", "Fri, 99 Nov 2026 00:00:00 GMT"])
async def test_no_clock(net: Internet, tmp_path: Path, date: str) -> None:
    """What is no date says nothing."""
    net.publish(
        "good.test",
        ok(policy_text(mx=["mx1.good.test"])).replace(b"\r\n", f"\r\nDate: {date}\r\n".encode(), 1),
    )
    async with SmtpHost() as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert found == Outward(GOOD, has_starttls=True, has_enforced_policy=True)


async def test_mode_testing(net: Internet, tmp_path: Path) -> None:
    """A policy that is not enforced lets mail pass without STARTTLS."""
    net.publish("good.test", ok(policy_text("testing", mx=["mx1.good.test"])))
    async with SmtpHost() as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert not found.has_enforced_policy


async def test_https_is_blocked(net: Internet, tmp_path: Path) -> None:
    """No connection to the Policy Host."""
    async with (
        SmtpHost() as host,
        looked(net, tmp_path, smtp=host.port, https=free_port()) as (found, unseen),
    ):
        assert found.https_problem == "127.0.0.1: Connection refused"
        assert found.has_starttls
        assert unseen == []


async def test_smtp_is_blocked(net: Internet, tmp_path: Path) -> None:
    """No connection to any MX host."""
    async with looked(net, tmp_path, smtp=free_port()) as (found, unseen):
        assert found.smtp_problem == "127.0.0.1: Connection refused"
        assert (found.has_starttls, found.has_enforced_policy) == (None, True)
        assert unseen == []


async def test_one_host_is_enough(net: Internet, tmp_path: Path) -> None:
    """An MX host that is down is not a firewall."""
    net.dns.zone["good.test MX"] = ["10 mx0.good.test.", "20 mx1.good.test."]
    net.dns.zone["mx0.good.test A"] = ["127.0.0.99"]
    async with SmtpHost() as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert (found.smtp_problem, found.has_starttls) == ("", True)


async def test_without_starttls(net: Internet, tmp_path: Path) -> None:
    """STARTTLS is not among the extensions, as with a firewall that takes it away."""
    plain = {"": b"220 ****\r\n", "EHLO": b"250-mx.test\r\n250 XXXXXXXA\r\n"}
    async with SmtpHost(plain=plain) as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert found.has_starttls is False


async def test_a_greeting_that_refuses(net: Internet, tmp_path: Path) -> None:
    """It was reached; what it would offer is not known."""
    plain = {"": b"554 go away\r\n"}
    async with SmtpHost(plain=plain) as host, looked(net, tmp_path, smtp=host.port) as (found, _):
        assert (found.smtp_problem, found.has_starttls) == ("", None)


async def test_names_without_addresses(net: Internet, tmp_path: Path) -> None:
    """A domain that does not exist says nothing about ports."""
    net.vanish(Fault.NXDOMAIN)
    async with looked(net, tmp_path, smtp=25) as (found, unseen):
        assert found == Outward(GOOD)
        assert unseen == [
            "port 443 of mta-sts.good.test: NXDOMAIN",
            "port 25 of the MX hosts of good.test: NXDOMAIN",
        ]


async def test_dns_is_down(net: Internet, tmp_path: Path) -> None:
    """The same without a name server that answers."""
    net.vanish(Fault.SERVFAIL)
    async with looked(net, tmp_path, smtp=25, budget=2.0) as (found, unseen):
        assert found == Outward(GOOD)
        assert [each.partition(": ")[0] for each in unseen] == [
            "port 443 of mta-sts.good.test",
            "port 25 of the MX hosts of good.test",
        ]


async def test_late(net: Internet, tmp_path: Path) -> None:
    """A Policy Host that is slow after the handshake was reached."""
    net.hosts.hold()
    slow: Changes = {"https": {"timeout": "2s"}}
    async with (
        SmtpHost() as host,
        looked(net, tmp_path, smtp=host.port, changes=slow) as (found, _),
    ):
        assert (found.https_problem, found.has_starttls) == ("", True)
