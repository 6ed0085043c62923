"""Attacks that try to remove the policy of a domain."""

from pathlib import Path

import pytest

from tests.support.attacks import (
    HOUR,
    SECURE,
    replies_to,
)
from tests.support.daemons import Clock, RunningDaemon, daemon, finish_attempts
from tests.support.dns import Fault, Records
from tests.support.internet import Internet
from tests.support.policy_host import (
    ok,
    policy_text,
    reply,
    silence,
)


class TestDowngrade:
    """An attacker that blocks or changes a part of the network cannot remove a policy."""

    @pytest.fixture
    async def armed(self, net: Internet, running: RunningDaemon, clock: Clock) -> RunningDaemon:
        """A daemon with a policy whose recheck is due."""
        net.publish("good.test", ok(policy_text(mx=["mx1.evil.test"])), ttl=0)
        assert await running.ask("good.test") == b"OK " + SECURE
        clock.now += HOUR
        return running

    async def check_recheck(self, net: Internet, running: RunningDaemon) -> None:
        """Check that the policy is served before, during and after a recheck."""
        before = net.queries("good.test")
        assert (await replies_to(running, "good.test"))[0] == b"OK " + SECURE
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"), before + 1)
        await finish_attempts()
        assert (await replies_to(running, "good.test"))[0] == b"OK " + SECURE

    @pytest.mark.parametrize(
        "fault",
        [Fault.SILENCE, Fault.NXDOMAIN, Fault.NODATA, Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE],
        ids=lambda fault: fault.name.lower(),
    )
    async def test_by_the_dns(self, net: Internet, armed: RunningDaemon, fault: Fault) -> None:
        """A DNS that does not answer, or denies the record, removes nothing."""
        net.dns.zone["_mta-sts.good.test TXT"] = fault
        await self.check_recheck(net, armed)

    @pytest.mark.parametrize(
        "record",
        ["v=STSv1; id=a b;", "v=STSv2; id=2;", "v=spf1 -all", "v=STSv1;", "v=STSv1; id=;"],
    )
    async def test_by_a_broken_record(
        self, net: Internet, armed: RunningDaemon, record: str
    ) -> None:
        """An invalid record removes nothing."""
        net.record("good.test", record, ttl=0)
        await self.check_recheck(net, armed)

    async def test_by_a_second_record(self, net: Internet, armed: RunningDaemon) -> None:
        """A second record beside the right one removes nothing."""
        records = ['"v=STSv1; id=id1;"', '"v=STSv1; id=evil;"']
        net.dns.zone["_mta-sts.good.test TXT"] = Records(records, ttl=0)
        await self.check_recheck(net, armed)

    @pytest.mark.parametrize(
        "answer",
        [
            reply(404),
            reply(410, b"", content_type="text/plain"),
            ok(b""),
            ok(b"version: STSv1\nmode: none\n"),
            ok(b"version: STSv2\nmode: none\nmax_age: 0\n"),
            ok(policy_text("none", mx=[]), content_type="text/html"),
            ok(policy_text(mx=["mx1.evil.test match=victim.test"])),
            ok(policy_text("none", mx=[]), content_length="9999"),
            reply(302, location="https://mta-sts.evil.test/.well-known/mta-sts.txt"),
        ],
        ids=range(9),
    )
    async def test_by_a_broken_policy_under_a_new_id(
        self, net: Internet, armed: RunningDaemon, answer: bytes
    ) -> None:
        """A new id without a valid policy removes nothing."""
        net.publish("good.test", answer, policy_id="new", ttl=0)
        await self.check_recheck(net, armed)
        assert net.gets("good.test") == 2

    async def test_by_a_false_policy_host(self, net: Internet, armed: RunningDaemon) -> None:
        """A policy of mode none from a host without the certificate removes nothing."""
        net.publish("good.test", ok(policy_text("none", mx=[], max_age=0)), "new", ttl=0)
        wrong = net.hosts.authority.issue("mta-sts.evil.test")
        net.hosts.credentials["mta-sts.good.test"] = wrong
        await self.check_recheck(net, armed)
        assert net.gets("good.test") == 1

    async def test_by_an_unanswered_get(self, net: Internet, tmp_path: Path) -> None:
        """A Policy Host that never answers removes nothing, and delays no reply."""
        clock = Clock()
        async with daemon(net, tmp_path, clock=clock) as running:
            net.publish("good.test", ok(policy_text(mx=["mx1.evil.test"])), ttl=0)
            await running.ask("good.test")
            net.publish("good.test", silence, "new", ttl=0)
            clock.now += HOUR
            for _ in range(3):
                assert await running.ask("good.test") == b"OK " + SECURE
                await net.hosts.gets.reached("mta-sts.good.test", 2)

    async def test_by_an_older_policy(
        self, net: Internet, armed: RunningDaemon, clock: Clock
    ) -> None:
        """A replaced policy does not come back under its old id."""
        old = ok(policy_text(mx=["mx1.old.test"], max_age=31557600))
        new = ok(policy_text(mx=["mx1.new.test"]))
        net.publish("other.test", old, "old", ttl=0)
        assert b"match=mx1.old.test " in await armed.ask("other.test")
        net.publish("other.test", new, "new", ttl=0)
        clock.now += HOUR
        await armed.ask("other.test")
        await net.hosts.gets.reached("mta-sts.other.test", 2)
        await finish_attempts()
        for failing_policy_host in (reply(500), silence):
            # The attacker replays the old record, and the Policy Host cannot be reached.
            net.publish("other.test", failing_policy_host, "old", ttl=0)
            clock.now += HOUR
            for _ in range(3):
                assert b"match=mx1.new.test " in await armed.ask("other.test")
        assert b"old" not in b"".join(await replies_to(armed, "other.test"))
