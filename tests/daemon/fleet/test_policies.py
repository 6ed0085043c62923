"""Looks, claims and leases of attempts, on their way to the network process."""

import asyncio

import pytest

from postfix_mta_sts.daemon.fleet import policies
from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.outbox import Outbox
from postfix_mta_sts.daemon.fleet.policies import FleetPolicies
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Claim,
    Done,
    Held,
    Look,
    OfferPolicy,
    Release,
    Seen,
    Unavailable,
)
from tests.support.attempts import CACHED, T
from tests.support.fleet import AWAY, FakeStore
from tests.support.resolvers import settled
from tests.support.surroundings import GOOD


def open_policies(store: FakeStore) -> FleetPolicies:
    """The fleet as attempts see it, with this store."""
    outbox = Outbox(store.ask, Fetches(lambda: T), lambda: None)
    return FleetPolicies(store.ask, outbox, 0.25, never)


def never(*_args: object) -> None:
    """Take no policy: the fleet is open."""
    raise AssertionError


async def test_requests_and_answers() -> None:
    """Each question is one request, and an offer goes to the outbox."""
    store = FakeStore()
    fleet = open_policies(store)
    assert await fleet.look(GOOD, 0.25) == Seen(None)
    assert await fleet.claim(GOOD, 7, 2.0, 0.2) == Held("token", None)
    fleet.release(GOOD, "token")
    await settled()
    fleet.offer(GOOD, CACHED, T, "other")
    await settled()
    assert store.requests[:3] == [
        Look(GOOD, 0.25),
        Claim(GOOD, 7, 2.0, 0.2),
        Release(GOOD, "token"),
    ]
    assert [type(request) for request in store.requests[3:]] == [OfferPolicy]
    await fleet.close()


async def test_a_store_that_is_away() -> None:
    """The answer is passed on."""
    fleet = open_policies(FakeStore(away=True))
    assert await fleet.look(GOOD, 0.25) == AWAY
    assert await fleet.claim(GOOD, 0, 2.0, 0.25) == AWAY


async def test_an_answer_of_another_kind() -> None:
    """It counts as none: a fault of the network process ends no attempt."""

    async def ask(_request: AnyRequest) -> AnyAnswer:
        return Done()

    fleet = FleetPolicies(ask, Outbox(ask, Fetches(lambda: T), lambda: None), 0.25, never)
    assert isinstance(await fleet.look(GOOD, 0.25), Unavailable)
    assert isinstance(await fleet.claim(GOOD, 0, 2.0, 0.25), Unavailable)


async def test_a_claim_that_is_cancelled_gives_the_lease_back() -> None:
    """The lease may be on its way when nobody waits for it any more."""
    store = FakeStore()
    fleet = open_policies(store)
    store.gate.hold()
    claim = asyncio.create_task(fleet.claim(GOOD, 0, 2.0, 0.25))
    await settled()
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    assert store.of(Release) == []
    store.gate.release()
    await settled()
    assert store.of(Release) == [Release(GOOD, "token")]


@pytest.mark.parametrize("turns", range(1, 10))
async def test_a_claim_that_is_cancelled_at_any_moment(turns: int) -> None:
    """Either the attempt has the lease, or it is given back."""
    store = FakeStore()
    fleet = open_policies(store)
    claim = asyncio.create_task(fleet.claim(GOOD, 0, 2.0, 0.25))
    for _ in range(turns):
        await asyncio.sleep(0)
    claim.cancel()
    await asyncio.wait([claim])
    await settled()
    assert store.of(Release) == [Release(GOOD, "token")] * claim.cancelled()


async def test_a_claim_without_a_lease_is_cancelled() -> None:
    """There is nothing to give back."""
    store = FakeStore(token="")
    fleet = open_policies(store)
    store.gate.hold()
    claim = asyncio.create_task(fleet.claim(GOOD, 0, 2.0, 0.25))
    await settled()
    claim.cancel()
    store.gate.release()
    await settled()
    assert store.of(Release) == []


async def test_a_network_process_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt goes on without the fleet; a lease that comes late is given back."""
    monkeypatch.setattr(policies, "GRACE", 0.0)
    store = FakeStore()
    fleet = open_policies(store)
    store.gate.hold()
    assert isinstance(await fleet.claim(GOOD, 0, 0.0, 0.0), Unavailable)
    store.gate.release()
    await settled()
    assert store.of(Release) == [Release(GOOD, "token")]


async def test_the_end() -> None:
    """What is under way ends, and an attempt goes on: a reload may have switched the fleet off."""
    store = FakeStore()
    fleet = open_policies(store)
    store.gate.hold()
    fleet.release(GOOD, "token")
    claim = asyncio.create_task(fleet.claim(GOOD, 0, 2.0, 0.25))
    await settled()
    await fleet.close()
    assert store.under_way == 0
    assert isinstance(await claim, Unavailable)


async def test_an_attempt_that_goes_on_after_the_end() -> None:
    """The store is not asked, and what is fetched goes to the fleet of the new settings."""
    late: list[object] = []
    store = FakeStore()
    outbox = Outbox(store.ask, Fetches(lambda: T), lambda: None)
    fleet = FleetPolicies(store.ask, outbox, 0.25, lambda *offer: late.append(offer))
    await fleet.close()
    assert isinstance(await fleet.look(GOOD, 0.25), Unavailable)
    assert isinstance(await fleet.claim(GOOD, 0, 2.0, 0.25), Unavailable)
    fleet.release(GOOD, "token")
    fleet.offer(GOOD, CACHED, T, "token")
    await settled()
    assert (store.requests, late) == ([], [(GOOD, CACHED, T)])
    assert asyncio.all_tasks() == {asyncio.current_task()}
