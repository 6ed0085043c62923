"""Faults that last, and clocks that jump: the whole daemon through the life of a policy.

The clock is the test's own; DNS, HTTPS and the file are real, and are made to fail.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Clock, RunningDaemon, daemon
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
    """An Internet in which good.test has a policy for a week; its record is asked for each time."""
    async with internet(tmp_path) as net:
        net.publish("good.test", ok(policy_text(max_age=MAX_AGE)), ttl=0)
        yield net


@pytest.fixture
def clock() -> Clock:
    """The daemon's clock."""
    return Clock()


def kill(net: Internet, *parts: str) -> None:
    """Let parts of the network be dead from now on."""
    if "https" in parts:
        net.hosts.answers["mta-sts.good.test"] = reply(503)
    if "dns" in parts:
        net.vanish(Fault.SILENCE)


async def behind() -> None:
    """Wait for the attempts that go on behind a reply."""
    while tasks := [t for t in asyncio.all_tasks() if t.get_name().startswith("attempt ")]:
        await asyncio.wait(tasks)


def fetched_at(running: RunningDaemon) -> float:
    """When the policy on file was fetched."""
    with contextlib.closing(sqlite3.connect(running.store)) as db:
        [(found,)] = db.execute("SELECT fetched_at FROM policies WHERE domain = 'good.test'")
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("dead", [("dns",), ("https",), ("dns", "https")], ids="+".join)
async def test_dead_for_the_whole_life_of_a_policy(
    net: Internet, tmp_path: Path, clock: Clock, dead: tuple[str, ...]
) -> None:
    """It is served to its last moment, restarts or not, and then as though there were none."""
    end = clock.now + MAX_AGE
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == SECURE
    kill(net, *dead)
    for _ in range(3):
        async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
            for _ in range(4):
                clock.now += MAX_AGE / 13
                assert await running.ask("good.test") == SECURE
                await behind()
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        assert await running.ask("good.test") == SECURE
        await behind()
        clock.now = end - 0.001
        assert [await running.ask("good.test") for _ in range(2)] == [SECURE] * 2
        clock.now = end
        assert await running.ask("good.test") == NOT_FOUND
    assert fetched_at(running) == end - MAX_AGE


async def test_back_from_the_dead(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """A network that comes back is noticed within the time for which a silence is believed."""
    zone = dict(net.dns.zone)
    net.vanish(Fault.SERVFAIL)
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == NOT_FOUND
        net.dns.zone.update(zone)
        assert await running.ask("good.test") == NOT_FOUND
        clock.now += 30
        assert await running.ask("good.test") == SECURE


async def test_policy_host_back_from_the_dead(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """A Policy Host that failed is left in peace for five minutes, then asked again."""
    good = net.hosts.answers["mta-sts.good.test"]
    kill(net, "https")
    async with daemon(net, tmp_path, clock=clock) as running:
        assert await running.ask("good.test") == NOT_FOUND
        net.hosts.answers["mta-sts.good.test"] = good
        clock.now += 299
        await running.ask("good.test")
        await behind()
        assert net.gets("good.test") == 1
        clock.now += 1
        await running.ask("good.test")
        await behind()
        assert await running.ask("good.test") == SECURE
    assert net.gets("good.test") == 2


async def test_clock_a_day_ahead(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """After a jump within the policy's life it is served at once, and renewed behind the reply."""
    async with daemon(net, tmp_path, clock=clock) as running:
        await running.ask("good.test")
        clock.now += DAY
        net.hosts.hold()
        assert await running.ask("good.test") == SECURE
        net.hosts.release()
        await behind()
        assert fetched_at(running) == clock.now
    assert net.gets("good.test") == 2


async def test_clock_a_year_ahead_for_a_while(net: Internet, tmp_path: Path, clock: Clock) -> None:
    """A clock that is set wrong, and right again, costs no policy, be the network dead or not."""
    async with daemon(net, tmp_path, clock=clock, changes={"dns": {"timeout": "2s"}}) as running:
        await running.ask("good.test")
        kill(net, "dns", "https")
        clock.now += YEAR
        assert await running.ask("good.test") == NOT_FOUND
        await behind()
        clock.now -= YEAR
        # By another key: what was said under the first may be repeated until the refresher has
        # noticed the jump, a minute at most.
        assert await running.ask("[good.test]") == SECURE
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        assert await running.ask("good.test") == SECURE


@pytest.mark.parametrize("restarted", [False, True])
async def test_clock_a_year_behind(
    net: Internet, tmp_path: Path, clock: Clock, *, restarted: bool
) -> None:
    """A policy from the future is served, and fetched again, for its age cannot be told."""
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
        await behind()
        assert fetched_at(running) == clock.now
    assert net.gets("good.test") == 2


async def test_clock_a_year_behind_while_all_is_dead(
    net: Internet, tmp_path: Path, clock: Clock
) -> None:
    """A machine that starts in the past, without a network, still keeps its policies."""
    async with daemon(net, tmp_path, clock=clock) as running:
        await running.ask("good.test")
    kill(net, "dns", "https")
    clock.now -= YEAR
    async with daemon(net, tmp_path, clock=clock, changes=QUICK) as running:
        for _ in range(3):
            assert await running.ask("good.test") == SECURE
            await behind()
            clock.now += HOUR
