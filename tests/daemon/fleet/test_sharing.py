"""What shares policies runs while a fleet is configured, and only then."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.daemon.fleet.sharing import PolicySharing
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.requests import Claim, Look
from tests.support.attempts import CACHED, T
from tests.support.fleet import FakeStore
from tests.support.resolvers import look_up, make_resolver, settled, wait_for_end
from tests.support.surroundings import GOOD, Surroundings

OFF = FleetSettings()
ON = FleetSettings(url=parse_store_url("valkey://127.0.0.1"), unsigned=True)
OTHER = FleetSettings(url=parse_store_url("valkey://127.0.0.1/1"), unsigned=True, budget=1.0)


class Relay:
    """A resolver, and what shares its policies."""

    def __init__(self) -> None:
        self.around = Surroundings()
        self.around.publish()
        self.store = FakeStore()
        self.resolver = make_resolver(self.around)
        rows, clock = self.around.store, lambda: self.around.now
        self.sharing = PolicySharing(self.store.ask, self.resolver, rows, clock)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay without a fleet, yet."""
    relay = Relay()
    yield relay
    await relay.resolver.close()
    await relay.sharing.close()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if "fleet" in name or "store" in name]


async def test_no_fleet(relay: Relay) -> None:
    """Nothing runs, and nothing is asked."""
    before = len(asyncio.all_tasks())
    await relay.sharing.reconfigure(OFF)
    await look_up(relay.resolver)
    await wait_for_end(relay.resolver)
    assert (relay.store.requests, relay.sharing.waiting) == ([], 0)
    assert len(asyncio.all_tasks()) == before


async def test_a_fleet(relay: Relay) -> None:
    """A policy that is fetched is looked for before, and given to the fleet behind the reply."""
    await relay.sharing.reconfigure(ON)
    await look_up(relay.resolver)
    await wait_for_end(relay.resolver)
    await settled()
    kinds = [type(request).__name__ for request in relay.store.requests]
    assert kinds == ["Look", "Claim", "OfferPolicy"]
    assert relay.store.requests[0] == Look(GOOD, 0.25)
    relay.store.away = True
    await relay.resolver.refresh(GOOD)
    await settled()
    assert relay.sharing.waiting == 1


async def test_reloads(relay: Relay) -> None:
    """Another store gets what is on file; the same store, or none, gets nothing."""
    await relay.around.store.save(GOOD, CACHED, T)
    await relay.sharing.reconfigure(ON)
    await settled()
    assert set(relay.store.policies) == {GOOD}
    relay.store.policies.clear()
    await relay.sharing.reconfigure(FleetSettings(url=ON.url, unsigned=True, budget=2.0))
    await settled()
    assert not relay.store.policies
    await relay.sharing.reconfigure(OTHER)
    await settled()
    assert set(relay.store.policies) == {GOOD}
    await relay.sharing.reconfigure(OFF)
    relay.store.requests.clear()
    await relay.resolver.refresh(GOOD)
    await settled()
    assert relay.store.requests == []


async def test_what_is_under_way_at_the_end(relay: Relay) -> None:
    """It ends with the fleet, and the attempt goes on without it."""
    await relay.sharing.reconfigure(ON)
    relay.around.https.hold()
    relay.store.claims.hold()
    result = relay.resolver.find(GOOD)
    await settled()
    assert [type(request).__name__ for request in relay.store.requests] == ["Look", "Claim"]
    await relay.sharing.reconfigure(OFF)
    relay.around.https.release()
    state = (await result).state
    assert state
    assert state.policy


@pytest.mark.parametrize(("settings", "given"), [(OTHER, {GOOD}), (OFF, set())], ids=str)
async def test_a_fetch_that_ends_after_a_reload(
    relay: Relay, settings: FleetSettings, given: set[Domain]
) -> None:
    """The store of the new settings gets the policy, though the hand-over is over already."""
    await relay.sharing.reconfigure(ON)
    relay.around.https.hold()
    result = relay.resolver.find(GOOD)
    await settled()
    assert relay.store.of(Claim)
    await relay.sharing.reconfigure(settings)
    await settled()
    relay.around.https.release()
    assert (await result).state
    await settled()
    assert relay.store.policies.keys() == given
    assert not [offer for offer in relay.store.policies.values() if offer.token]
