"""Leases: one relay fetches, the others wait for its policy, and nobody waits for long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet import lease
from postfix_mta_sts.store.fleet.access import StoreAccess
from postfix_mta_sts.store.fleet.clocks import Clocks
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.errors import BusyError, NotReachedError
from postfix_mta_sts.store.fleet.requests import Claim, Done, Held, OfferPolicy, Release
from tests.support.fleet_clients import BUDGET, GOOD, SETTINGS, Fleet, Relay, fleet, settle
from tests.support.fleet_engine import Fault
from tests.support.states import TEXT

WAIT = 2.0
T = TypeVar("T")


async def claimed(relay: Relay, seen: int = 0, wait: float = 0.0, domain: Domain = GOOD) -> Held:
    """The answer to a claim, which does not wait, of a store that works."""
    answer = await relay.ask(Claim(domain, seen, wait, BUDGET))
    assert isinstance(answer, Held), answer
    return answer


def waiting(relay: Relay, seen: int = 0) -> "asyncio.Task[Held]":
    """A claim that waits."""
    return asyncio.create_task(claimed(relay, seen, WAIT))


async def die(world: Fleet, relay: Relay) -> None:
    """End a relay as by `kill -9`: it gives nothing back."""
    world.database.fault = Fault.REFUSE
    await relay.client.close()
    world.database.fault = Fault.NONE


def pair(world: Fleet) -> tuple[Relay, Relay]:
    """Two relays."""
    return world.join("mx1"), world.join("mx2")


async def test_the_first_has_the_lease() -> None:
    """The first relay to ask has it, and may fetch; the second does not."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        assert held.token
        assert held.policy is None
        assert await claimed(other) == Held("", None)


async def test_the_clock_of_the_store_is_set_back() -> None:
    """A lease from before holds nobody up until that time has come again."""
    async with fleet() as world:
        one, other = pair(world)
        assert (await claimed(one)).token
        await die(world, one)
        world.database.now -= 3_600_000_000
        assert (await claimed(other)).token


async def test_the_loser_gets_the_policy() -> None:
    """A relay that waits has the policy of the other a fraction of a second after its offer."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        waiter = waiting(other)
        await world.time.advance(0.9)
        assert not waiter.done()
        assert await one.offer(token=held.token)
        await world.time.advance(0.2)
        answer = waiter.result()
        assert answer.policy is not None
        assert answer.policy.fetched_by == "mx1"


async def test_an_offer_gives_the_lease_back() -> None:
    """After the offer another relay may claim at once: it is asked for the policy of its order."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        assert await one.offer(token=held.token)
        seen = (await other.look()).policy
        assert seen is not None
        assert (await claimed(other, seen.order)).token


async def test_a_policy_that_is_known_ends_no_wait() -> None:
    """A relay that has seen a policy waits for another one."""
    async with fleet() as world:
        one, other = pair(world)
        assert await one.offer()
        seen = (await other.look()).policy
        assert seen is not None
        assert (await claimed(one, seen.order)).token
        waiter = waiting(other, seen.order)
        await world.time.advance(1.0)
        assert not waiter.done()
        assert await one.offer(policy_id="id2")
        await world.time.advance(0.3)
        policy = waiter.result().policy
        assert policy is not None
        assert policy.policy_id == "id2"


async def test_nobody_waits_longer_than_said() -> None:
    """A relay whose wait is over has neither lease nor policy, and fetches for itself."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        waiter = waiting(other)
        await world.time.advance(WAIT - 0.01)
        assert not waiter.done()
        await world.time.advance(0.01)
        assert waiter.result() == Held("", None)


async def test_a_slow_store_does_not_end_the_wait() -> None:
    """A relay waits for the other as long as each answer comes in time, whatever they take."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2", budget=0.25)
        held = await claimed(one)
        world.database.takes = 0.1
        waiter = asyncio.create_task(other.ask(Claim(GOOD, 0, WAIT, 0.25)))
        await world.time.advance(1.5)
        assert not waiter.done()
        assert await one.offer(token=held.token)
        await world.time.advance(0.5)
        answer = waiter.result()
        assert isinstance(answer, Held)
        assert answer.policy


async def test_a_lease_is_renewed_until_it_is_given_back() -> None:
    """A relay that fetches for a minute keeps its lease; a release gives it to the next."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        await world.time.advance(60.0)
        assert not (await claimed(other)).token
        assert await one.ask(Release(GOOD, held.token)) == Done()
        assert (await claimed(other)).token
        world.called()
        await world.time.advance(0.9)
        assert not world.called()


async def test_no_lease_is_renewed_for_ever() -> None:
    """A lease that nobody gives back ends after two minutes."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        await world.time.advance(119.0)
        assert not (await claimed(other)).token
        await world.time.advance(5.0)
        world.called()
        await world.time.advance(10.0)
        assert not world.called()
        assert (await claimed(other)).token


async def test_a_relay_that_stops_gives_its_leases_back() -> None:
    """After a restart of a relay no other waits for it."""
    async with fleet() as world:
        one, other = pair(world)
        domains = [Domain(f"d{number}.test") for number in range(10)]
        for domain in domains:
            await claimed(one, domain=domain)
        await one.client.close()
        for domain in domains:
            assert (await claimed(other, domain=domain)).token


async def test_a_relay_stops_while_the_store_hangs() -> None:
    """Leases that cannot be given back hold nothing up."""
    async with fleet() as world:
        one, _ = pair(world)
        for number in range(10):
            await claimed(one, domain=Domain(f"d{number}.test"))
        world.database.fault = Fault.HANG
        await one.client.close()
        assert not world.called("open", "read", "claim", "release")


@pytest.mark.parametrize("given_by", ["offer", "release"])
async def test_a_relay_that_stops_while_it_gives_a_lease_back(given_by: str) -> None:
    """The daemon cancels what it asks for when it stops; the lease is given back all the same."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        world.database.fault = Fault.HANG
        last = OfferPolicy(GOOD, TEXT, "id1", 0.0, 9.0, token=held.token)
        request = last if given_by == "offer" else Release(GOOD, held.token)
        giving = asyncio.create_task(one.ask(request))
        await settle()
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
        world.database.fault = Fault.NONE
        await one.client.close()
        assert (await claimed(other)).token


async def test_the_lease_of_a_relay_that_has_died() -> None:
    """Three seconds after a relay has gone, another has the lease."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        await die(world, one)
        assert not (await claimed(other)).token
        await world.time.advance(3.0)
        assert (await claimed(other)).token


async def test_a_waiting_relay_takes_the_lease_that_ends() -> None:
    """A relay that waits while the lease of a dead one ends fetches at once."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        await die(world, one)
        await world.time.advance(2.0)
        waiter = waiting(other)
        await world.time.advance(1.3)
        assert waiter.result().token


async def test_a_lost_lease_is_no_error() -> None:
    """A relay that stood still has lost its lease: it offers all the same, and takes no other's."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        world.database.leases.clear()
        second = await claimed(other)
        assert second.token
        await world.time.advance(1.0)
        assert await one.offer(token=held.token)
        assert not (await claimed(one, 1)).token


@pytest.mark.parametrize("error", [NotReachedError("connection refused"), BufferError()])
async def test_a_store_that_fails_for_a_moment_ends_no_lease(error: Exception) -> None:
    """One renewal that fails is not the end, even if it fails as nobody expects."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        world.database.unexpected = error
        await world.time.advance(1.0)
        world.database.unexpected = None
        await world.time.advance(10.0)
        assert not (await claimed(other)).token


async def test_a_store_that_fails_ends_the_wait() -> None:
    """A relay that waits while the store stops fetches for itself."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        waiter = asyncio.create_task(other.is_refused(Claim(GOOD, 0, WAIT, BUDGET)))
        await settle()
        world.database.fault = Fault.REFUSE
        await world.time.advance(0.2)
        assert waiter.result()


async def test_a_poll_without_a_turn_does_not_end_the_wait() -> None:
    """A relay that asks too much of a distant store waits on, and has the policy in the end."""

    class Access(StoreAccess):
        calls = 0

        async def write(self, limit: float | None, call: Callable[[Engine], Awaitable[T]]) -> T:
            self.calls += 1
            if self.calls in (2, 3):
                raise BusyError("no answer")
            return await super().write(limit, call)

    async with fleet() as world:
        one = world.join()
        held = await claimed(one)
        clocks = Clocks(world.time.monotonic, world.time.monotonic, world.time.sleep)
        busy = Access(SETTINGS, world.database.open, world.time.monotonic)
        leases = lease.Leases(BUDGET, busy, clocks, lambda *_: None)
        waiter = asyncio.create_task(leases.claim(Claim(GOOD, 0, WAIT, BUDGET)))
        await world.time.advance(0.15)
        assert busy.calls == 3
        assert await one.ask(Release(GOOD, held.token)) == Done()
        await world.time.advance(0.3)
        assert waiter.result().token
        await leases.close()
        await busy.close()


async def test_a_cancelled_claim_holds_nothing() -> None:
    """A claim whose caller has gone asks no more."""
    async with fleet() as world:
        one, other = pair(world)
        await claimed(one)
        waiter = waiting(other)
        await settle()
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        world.called()
        await world.time.advance(0.9)
        assert not world.called()


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.READ_ONLY])
async def test_an_offer_that_fails_ends_the_renewals(fault: Fault) -> None:
    """A relay that has fetched does not keep others waiting, though it could not say so."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        world.database.fault = fault
        assert await one.is_refused(OfferPolicy(GOOD, TEXT, "id1", 0.0, 9.0, token=held.token))
        world.database.fault = Fault.NONE
        await world.time.advance(3.0)
        assert (await claimed(other)).token


async def test_a_cancelled_offer_ends_the_renewals() -> None:
    """The same, if the daemon waits for the offer no more."""
    async with fleet() as world:
        one, other = pair(world)
        held = await claimed(one)
        world.database.fault = Fault.HANG
        offer = asyncio.create_task(one.offer(token=held.token))
        await settle()
        offer.cancel()
        await asyncio.gather(offer, return_exceptions=True)
        world.database.fault = Fault.NONE
        await world.time.advance(3.0)
        assert (await claimed(other)).token


async def test_two_thousand_leases() -> None:
    """More leases than are renewed at once are given all the same, for three seconds."""
    async with fleet() as world:
        relay = world.join()
        domains = [Domain(f"d{number}.test") for number in range(lease.LEASES_LIMIT + 2)]
        held = await asyncio.gather(*(claimed(relay, domain=domain) for domain in domains))
        assert all(each.token for each in held)
        world.called()
        await world.time.advance(1.0)
        for _ in range(10):  # a few renewals at a time
            await settle()
        assert len(world.called()) == lease.LEASES_LIMIT


async def test_fifty_relays_ask_at_the_same_time() -> None:
    """One of fifty has the lease, all others have its policy, and the store had little to do."""
    async with fleet() as world:
        relays = [world.join(f"mx{number}") for number in range(50)]
        claims = [waiting(relay) for relay in relays]
        await settle()
        (winner,) = [number for number, claim in enumerate(claims) if claim.done()]
        await world.time.advance(0.3)
        assert await relays[winner].offer(token=claims[winner].result().token)
        await world.time.advance(0.3)
        answers = [claim.result() for claim in claims]
        assert [bool(each.policy) for each in answers].count(True) == 49
        assert len(world.called("open", "read")) < 49 * 6
