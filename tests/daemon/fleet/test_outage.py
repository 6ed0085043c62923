"""How soon after an outage the shared store has what a relay has fetched meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from postfix_mta_sts.daemon.fleet.calls import FleetCalls
from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.outbox import Outbox
from postfix_mta_sts.daemon.fleet.tasks import EXCEPTIONS_ROUND
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store.fleet.breaker import LONGEST_PAUSE
from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.requests import ReadExceptions, StoreCondition
from tests.support.attempts import CACHED, T
from tests.support.fleet_clients import GOOD, Fleet, fleet
from tests.support.fleet_engine import Fault

POLICY = Name(Kind.POLICY, GOOD)


@asynccontextmanager
async def relay_of(world: Fleet) -> AsyncIterator[Outbox]:
    """The outbox of a relay that asks for the exceptions every two seconds, as all do."""
    client = world.join().client

    def condition() -> StoreCondition:
        return StoreCondition(client.problem)

    clock = world.time.monotonic
    calls = FleetCalls(client.answer, condition, Counters(), clock, is_on=True)
    outbox = Outbox(calls.ask, Fetches(clock, clock), lambda: None, retry=3600)
    calls.on_recovery = outbox.store_is_back

    async def poll() -> None:
        while True:
            await calls.ask(ReadExceptions(0))
            await world.time.sleep(EXCEPTIONS_ROUND)

    polling = asyncio.create_task(poll())
    yield outbox
    polling.cancel()
    await outbox.close()


@pytest.mark.parametrize("seconds", range(60, 200, 7))
async def test_the_end_of_an_outage(seconds: int) -> None:
    """The first poll after the pause shows that the store is back, and the offers follow at once.

    The longest pause of the breaker is a minute: so after a long outage it takes two seconds more.
    """
    async with fleet() as world, relay_of(world) as outbox:
        await world.time.advance(1.0)
        world.database.fault = Fault.REFUSE
        await world.time.advance(4.0)
        outbox.put(GOOD, CACHED, T)
        await world.time.advance(float(seconds))
        assert (outbox.waiting, world.database.record(POLICY)) == (1, None)
        world.database.fault = Fault.NONE
        await world.time.advance(LONGEST_PAUSE + EXCEPTIONS_ROUND)
        assert outbox.waiting == 0
        assert world.database.record(POLICY)
