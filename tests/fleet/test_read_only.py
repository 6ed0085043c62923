"""What monitoring sees of a store that is read, and takes nothing: that, all the time."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from postfix_mta_sts.admin.client import ControlClient
from tests.e2e.transcript import TIMEOUT
from tests.fleet.relays import Fleet, Relay, secure
from tests.fleet.stores import PATIENCE, SharedStore
from tests.fleet.world import World

pytestmark = pytest.mark.timeout(300)

LOOKS: Final = 60
EVERY: Final = 0.2
"""Seconds between two looks, twelve in all: a relay reads the exceptions every two seconds, and
writes that it is there every ten."""


class Watched:
    """A relay, and the socket for its monitoring."""

    def __init__(self, relay: Relay, readiness: Path) -> None:
        self.relay = relay
        self._readiness = ControlClient(readiness, TIMEOUT)

    async def fleet(self) -> Any:  # noqa: ANN401 (what JSON can be)
        """What `status` says of the shared store."""
        return (await asyncio.to_thread(self.relay.ask_control, "GET", "fleet"))["fleet"]

    async def degraded(self) -> object:
        """What /readyz says with 200."""
        return (await asyncio.to_thread(self._readiness.ask, "GET", "readyz"))["degraded"]

    async def until(self, *, ok: bool) -> None:
        """Wait until the store counts as working, or as failing."""
        async with asyncio.timeout(PATIENCE):
            while (await self.fleet())["ok"] is not ok:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(EVERY)


@pytest.fixture
def watched(fleet: Fleet, place: Path, store: SharedStore) -> Iterator[Watched]:
    """A relay with a socket for monitoring."""
    readiness = place / f"{store.name}.sock"
    changes = {"metrics": {"listen": f"unix:{readiness}"}}
    relay = fleet.start("mx1", changes=changes)
    yield Watched(relay, readiness)
    relay.kill()


@pytest.mark.parametrize("store", ["valkey-8", "postgresql-17"], indirect=True, scope="module")
async def test_it_is_failing_all_the_time(
    watched: Watched, world: World, store: SharedStore
) -> None:
    """`status` and /readyz name it from the same moment on, whatever reads are answered."""
    await watched.until(ok=True)
    assert await watched.degraded() == []
    with store.faults["read-only"]():
        for domain in world.published(4):  # what is fetched is to be written
            assert await watched.relay.answer(domain) == secure(domain)
        await watched.until(ok=False)
        seen = []
        for _ in range(LOOKS):
            seen.append(await watched.fleet())
            assert await watched.degraded() == ["fleet"]
            await asyncio.sleep(EVERY)
        assert {each["ok"] for each in seen} == {False}
        assert len({each["since"] for each in seen}) == 1
        assert all(each["reason"] for each in seen)
        assert not seen[-1]["breaker_open"], "it is read"
    await watched.until(ok=True)
    assert await watched.degraded() == []
