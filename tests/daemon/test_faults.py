"""Lasting failures and clock jumps: the whole daemon during the life of a policy.

The test sets the clock. DNS, HTTPS and the store file are real, and the test makes them fail.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Clock, RunningDaemon, daemon, fetch_times, finish_attempts
from tests.support.dns import Fault
from tests.support.internet import Internet, internet
from tests.support.policy_host import ok, policy_text, reply

MAX_AGE = 604_800
HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "

QUICK = {"dns": {"timeout": "0.2s"}}


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet in which good.test has a policy for a week, and a record with TTL 0."""
    async with internet(tmp_path) as net:
        net.publish("good.test", ok(policy_text(max_age=MAX_AGE)), ttl=0)
        yield net


@pytest.fixture
def clock() -> Clock:
    """The clock of the daemon."""
    return Clock()


def fail(net: Internet, *parts: str) -> None:
    """Let parts of the network fail from now on."""
    if "https" in parts:
        net.hosts.answers["mta-sts.good.test"] = reply(503)
    if "dns" in parts:
        net.vanish(Fault.SILENCE)


def fetched_at(running: RunningDaemon) -> float:
    """When the stored policy was fetched."""
    return fetch_times(running.store)["good.test"]


@pytest.mark.parametrize("failing", [("dns",), ("https",), ("dns", "https")], ids="+".join)
async def test_failure_for_the_whole_life_of_a_policy(
    net: Internet, tmp_path: Path, clock: Clock, failing: tuple[str, ...]
) -> None:
    """The policy is served until it expires, across restarts, and then no longer."""
    end = clock.now + MAX_AGE
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == SECURE
    fail(net, *failing)
    for _ in range(3):
        async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
            for _ in range(4):
                clock.now += MAX_AGE / 13
                assert await running.ask("good.test") == SECURE
                await finish_attempts()
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        assert await running.ask("good.test") == SECURE
        await finish_attempts()
        clock.now = end - 0.001
        assert [await running.ask("good.test") for _ in range(2)] == [SECURE] * 2
        clock.now = end
        assert await running.ask("good.test") == NOT_FOUND
    assert fetched_at(running) == end - MAX_AGE


async def test_dns_works_again(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """A DNS that works again is queried after 30 seconds."""
    zone = dict(net.dns.zone)
    net.vanish(Fault.SERVFAIL)
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == NOT_FOUND
        net.dns.zone.update(zone)
        assert await running.ask("good.test") == NOT_FOUND
        clock.now += 30
        assert await running.ask("good.test") == SECURE


async def test_policy_host_works_again(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """After a failed GET the Policy Host is asked again after five minutes."""
    good = net.hosts.answers["mta-sts.good.test"]
    fail(net, "https")
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == NOT_FOUND
        net.hosts.answers["mta-sts.good.test"] = good
        clock.now += 299
        await running.ask("good.test")
        await finish_attempts()
        assert net.gets("good.test") == 1
        clock.now += 1
        await running.ask("good.test")
        await finish_attempts()
        assert await running.ask("good.test") == SECURE
    assert net.gets("good.test") == 2


async def test_clock_a_day_ahead(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """After a jump within max_age the policy is served at once, and renewed after the reply."""
    async with daemon(net, tmp_path, clock=clock) as running:
        await running.ask("good.test")
        clock.now += DAY
        net.hosts.hold()
        assert await running.ask("good.test") == SECURE
        net.hosts.release()
        await finish_attempts()
        assert fetched_at(running) == clock.now
    assert net.gets("good.test") == 2


async def test_clock_a_year_ahead_for_a_while(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """A clock that is wrong for a while costs no policy, even if the network fails meanwhile."""
    async with daemon(net, tmp_path, clock=clock, changes={"dns": {"timeout": "2s"}}) as running:
        await running.ask("good.test")
        fail(net, "dns", "https")
        clock.now += YEAR
        assert await running.ask("good.test") == NOT_FOUND
        await finish_attempts()
        clock.now -= YEAR
        # With another key: the reply to the first may come from the cache until the refresher
        # notices the jump, within a minute.
        assert await running.ask("[good.test]") == SECURE
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        assert await running.ask("good.test") == SECURE


@pytest.mark.parametrize("restarted", [False, True])
async def test_clock_a_year_behind(
    net: Internet, tmp_path: Path, clock: Clock, *, restarted: bool
) -> None:
    """A policy from the future is served, and fetched again, because its age is unknown."""
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(daemon(net, tmp_path, clock=clock))
        await running.ask("good.test")
        clock.now -= YEAR
        if restarted:
            await stack.aclose()
            running = await stack.enter_async_context(daemon(net, tmp_path, clock=clock))
        net.hosts.hold()
        assert await running.ask("[good.test]") == SECURE
        net.hosts.release()
        await finish_attempts()
        assert fetched_at(running) == clock.now
    assert net.gets("good.test") == 2


async def test_clock_a_year_behind_without_network(
    net: Internet, tmp_path: Path, clock: Clock
) -> None:
    """A machine that boots with an old date and without network keeps its policies."""
    async with daemon(net, tmp_path, clock=clock) as running:
        await running.ask("good.test")
    fail(net, "dns", "https")
    clock.now -= YEAR
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        for _ in range(3):
            assert await running.ask("good.test") == SECURE
            await finish_attempts()
            clock.now += HOUR
