"""Exceptions of three daemons that share a Valkey, by the commands of administrators.

The store is killed, emptied, and given an old document back.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.values import replace
from tests.fleet.redis_servers import Flavour, RedisServer, relay_line, running
from tests.fleet.test_administrators import Relay, relay
from tests.support.internet import internet

KEY = "mta_sts:exceptions:{all}"
SOON = 5.0
"""Seconds after which an exception is in force on all relays, as the command says."""
LONG = 75.0
"""The same after the store was away: its breaker may be open for a minute."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey with a user for relays."""
    yield from running(Flavour.VALKEY, tmp_path / "valkey", [relay_line()])


@pytest.fixture
async def relays(
    server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Sequence[Relay]]:
    """Three relays."""
    async with internet(tmp_path) as net, AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(relay(name, net, tmp_path, server.port, capsys))
            for name in ("mx1", "mx2", "mx3")
        ]


def in_force(relay: Relay) -> Sequence[str]:
    """The exceptions of commands."""
    return sorted(relay.daemon.frontend.exceptions.exceptions.added)


async def until(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait for something that must be so within this time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def add(relay: Relay, domain: str) -> str:
    """Add an exception, and return what the command says of the fleet."""
    words = ("--use", "ignore", "--for", "3d", "--reason", "ticket 4711")
    return (await relay.run("exception", "add", domain, *words)).out


async def test_life(
    server: RedisServer, relays: Sequence[Relay], caplog: pytest.LogCaptureFixture
) -> None:
    """In force on all within 5 s; nothing that happens to the store changes what is in force."""
    caplog.set_level(logging.INFO)
    one, two, three = relays

    def agree(*scopes: str) -> Callable[[], bool]:
        return lambda: all(in_force(each) == list(scopes) for each in relays)

    said = await asyncio.gather(*(add(each, f"d{n}.test") for n, each in enumerate(relays)))
    assert all("on all relays within 5 seconds" in each for each in said)
    await until(SOON, agree("d0.test", "d1.test", "d2.test"))
    listed = await three.run("exception", "list")
    assert "uid 0 on mx1" in listed.out
    assert listed.err == ""
    old = server.admin("GET", KEY)

    assert "on all relays" in (await two.run("exception", "remove", "d0.test")).out
    await until(SOON, agree("d1.test", "d2.test"))

    server.admin("SET", KEY, old)
    await until(SOON, lambda: server.admin("GET", KEY) != old)
    assert agree("d1.test", "d2.test")()
    server.admin("FLUSHALL")
    await until(SOON, lambda: server.admin("GET", KEY) is not None)
    assert agree("d1.test", "d2.test")()

    server.server.kill()
    said = [await add(one, "away1.test"), await add(two, "away2.test")]
    assert all("only on this relay" in each for each in said)
    await one.run("exception", "remove", "d1.test")
    assert in_force(one) == ["away1.test", "d2.test"]
    server.start()
    await until(LONG, agree("away1.test", "away2.test", "d2.test"))
    assert sum(map(_is_warning, caplog.messages)) <= len(relays) * 3  # one for each fault

    async def is_shown() -> bool:
        shown = (await one.json("status", "--fleet"))["relays"]
        versions = {each["exceptions_version"] for each in shown}
        return [each["name"] for each in shown] == ["mx1", "mx2", "mx3"] and len(versions) == 1

    async with asyncio.timeout(LONG):
        while not await is_shown():  # noqa: ASYNC110 (no event)
            await asyncio.sleep(1)


def _is_warning(message: str) -> bool:
    return "older exceptions" in message or "were missing" in message


async def test_reload(relays: Sequence[Relay]) -> None:
    """With `fleet.exceptions: false`, or without a fleet, a relay takes and gives nothing."""
    one, two, three = relays
    settings = three.daemon.settings
    await three.daemon.reload(replace(settings, fleet=replace(settings.fleet, exceptions=False)))
    alone = two.daemon.settings
    await two.daemon.reload(replace(alone, fleet=FleetSettings()))
    assert "fleet" not in await add(three, "three.test")
    assert "fleet" not in await add(two, "two.test")
    await add(one, "one.test")
    await asyncio.sleep(SOON)
    assert [*map(in_force, relays)] == [["one.test"], ["two.test"], ["three.test"]]
    await three.daemon.reload(settings)
    await two.daemon.reload(alone)
    both = ["one.test", "three.test", "two.test"]
    await until(SOON, lambda: all(in_force(each) == both for each in relays))
