"""The name servers to which verdicts belong, and what happens when the system has other ones."""

import asyncio
from collections.abc import Sequence

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.postconf import Postfix
from tests.support.dane_switch import DaneSwitch

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

ONE, TWO = TcpAddress("127.0.0.1", 53), TcpAddress("192.0.2.1", 53)
AUTO, DOES_NOT = Settings(dane=DaneSettings(mode="auto")), Postfix("enabled", "may")
UNANSWERED = DnsFailureError("no answer within 5 s")


class TestIdentity:
    """Verdicts belong to the name servers of which they were asked."""

    async def test_verdicts_belong_to_the_name_servers(self) -> None:
        """The resolver drops verdicts only if other servers are asked, or trusted."""
        switch = DaneSwitch()
        servers = []
        for dns in (DnsSettings(), DnsSettings(timeout=1), DnsSettings(trust_ad=True)):
            settings = Settings(dane=DaneSettings(mode="on"), dns=dns)
            await switch.dane_support.reconfigure(settings)
            servers.append(switch.servers)
        assert servers[0] == servers[1] != servers[2]

    async def test_the_order_of_the_name_servers_is_no_change(self) -> None:
        """Verdicts stay if the same servers are listed otherwise (A4)."""
        switch = DaneSwitch()
        servers = set()
        for listed in ((ONE, TWO), (TWO, ONE), (TWO, TWO, ONE)):
            switch.dane_resolver.nameservers = listed
            await switch.dane_support.update()
            servers.add(switch.servers)
        assert len(servers) == 1

    async def test_servers_that_are_not_known(self) -> None:
        """While a network process starts, they are those of before (A4); at the start, any."""
        switch = DaneSwitch()
        switch.dane_resolver.nameservers = ()
        await switch.dane_support.update()
        assert switch.servers is None
        switch.dane_resolver.nameservers = (ONE,)
        await switch.dane_support.update()
        before = switch.servers
        switch.dane_resolver.nameservers = ()
        await switch.dane_support.update()
        assert switch.servers == before


class TestOtherServers:
    """The system's name servers change (C6)."""

    async def test_checked_soon(self) -> None:
        """Other servers are checked long before the check interval ends, and only once."""
        switch = DaneSwitch(watch_interval=0.0)
        await switch.dane_support.update()
        before = switch.servers
        task = asyncio.create_task(switch.dane_support.run())
        for _ in range(20):
            await asyncio.sleep(0)
        assert switch.dane_resolver.checks.total == 1
        switch.dane_resolver.nameservers = (ONE, TWO)
        await switch.dane_resolver.checks.total_reached(2)
        while switch.servers == before:  # noqa: ASYNC110 (no event to wait for)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert switch.dane_resolver.checks.total == 2
        task.cancel()

    @pytest.mark.parametrize("untrusted", [(), (TWO,)], ids=["silent", "not trusted"])
    async def test_earlier_answers(self, untrusted: Sequence[TcpAddress]) -> None:
        """What the earlier servers answered says nothing about others that do not answer."""
        switch = DaneSwitch()
        switch.dane_resolver.result = [] if untrusted else [ONE]
        await switch.dane_support.update()
        assert switch.dane_support.status.on == bool(untrusted)
        switch.dane_resolver.nameservers, switch.dane_resolver.untrusted = (TWO,), untrusted
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.update()
        status = switch.dane_support.status
        assert (status.on, status.is_final) == (not untrusted, bool(untrusted))

    async def test_silent_servers_take_no_verdict_back(self) -> None:
        """Verdicts are dropped once the other servers have answered, not before (A4)."""
        switch = DaneSwitch()
        await switch.dane_support.update()
        before = switch.servers
        switch.dane_resolver.nameservers = (TWO,)
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.update()
        assert switch.servers == before
        switch.dane_resolver.result = []
        await switch.dane_support.update()
        assert switch.servers != before

    async def test_dane_that_is_off(self) -> None:
        """Where DANE is not wanted, other servers cause one check of the settings, not more."""
        switch = DaneSwitch(AUTO, DOES_NOT, watch_interval=0.0)
        await switch.dane_support.update()
        switch.dane_resolver.nameservers = (TWO,)
        task = asyncio.create_task(switch.dane_support.run())
        for _ in range(40):
            await asyncio.sleep(0)
        assert (switch.asked_postfix, switch.dane_resolver.checks.total) == (2, 0)
        task.cancel()
