"""The client of the shared store: what one relay gives, the others get, by their own clocks."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store.fleet.requests import (
    Done,
    Due,
    FindDue,
    History,
    NoteUses,
    OfferPolicy,
    ReadHistory,
    Unavailable,
)
from tests.support.fleet_clients import GOOD, fleet
from tests.support.states import TEXT, WEEK


async def test_a_policy_of_another_relay() -> None:
    """What one relay has offered another finds, with its age by the clock of the store."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2")
        assert (await other.look()).policy is None
        assert await one.offer(age=10.0)
        await world.time.advance(5.0)
        seen = await other.look()
        assert seen.policy is not None
        assert seen.policy.policy.text == TEXT
        assert (seen.policy.policy_id, seen.policy.fetched_by) == (PolicyId("id1"), "mx1")
        assert seen.policy.age == pytest.approx(15.0)
        assert seen.refused == ""


async def test_an_older_fetch_does_not_replace() -> None:
    """A policy that was fetched before the one in the store is not kept."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2")
        assert await one.offer(policy_id="new", age=10.0)
        assert not await other.offer(policy_id="old", age=20.0)
        assert await other.offer(policy_id="newest", age=5.0)
        seen = await one.look()
        assert seen.policy is not None
        assert seen.policy.policy_id == "newest"


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0, 1e9, -1e9])
async def test_the_clock_of_a_relay_counts_for_nothing(ahead: float) -> None:
    """A relay whose clock is wrong gives and gets the same ages as the others."""
    async with fleet() as world:
        right, wrong = world.join("mx1"), world.join("mx2", ahead=ahead)
        assert await wrong.offer(policy_id="a", age=10.0)
        assert not await right.offer(policy_id="b", age=11.0)
        assert await right.offer(policy_id="c", age=9.0)
        assert not await wrong.offer(policy_id="d", age=9.5)
        for relay in (right, wrong):
            seen = await relay.look()
            assert seen.policy is not None
            assert seen.policy.policy_id == "c"
            assert seen.policy.age == pytest.approx(9.0)


async def test_a_relay_whose_clock_was_set_back_gives_nothing() -> None:
    """A policy from the future of its own relay has no age that could be compared."""
    async with fleet() as world:
        relay = world.join()
        assert not await relay.offer(age=-1.0)
        assert (await relay.look()).policy is None


@pytest.mark.parametrize("ahead", [-DAY, 0.0, DAY])
async def test_an_age_by_a_clock_that_was_set_back(ahead: float) -> None:
    """A policy whose age was not measured is as old as the clock of the store says, at least."""
    async with fleet() as world:
        relay = world.join(ahead=ahead)
        offer = OfferPolicy(GOOD, TEXT, "id1", HOUR, 60.0, is_measured=False)
        assert await relay.ask(offer) == Done()
        seen = await relay.look()
        assert seen.policy is not None
        assert seen.policy.age == pytest.approx(HOUR + max(0.0, -ahead))
        assert (seen.policy.fetched_by, seen.policy.given_by) == (None, "mx1")
        history = await relay.ask(ReadHistory(GOOD))
        assert isinstance(history, History)


async def test_an_offer_that_waits_for_its_turn_gets_older() -> None:
    """A policy lives no longer for the time that the store took to say what time it is."""
    async with fleet() as world:
        relay = world.join()
        start = world.time.monotonic()
        world.database.takes = 3.0
        assert await relay.offer(age=10.0)
        world.database.takes = 0.0
        took = world.time.monotonic() - start
        assert took >= 3.0
        seen = await relay.look()
        assert seen.policy is not None
        assert seen.policy.age == pytest.approx(10.0 + took)
        history = await relay.ask(ReadHistory(GOOD))
        assert isinstance(history, History)
        assert history.entries[0].seen_to == pytest.approx(start - 10.0)
        at = {"asked": start - 1.0, "due": start + 3600.0}
        noted = {"asked": world.database.asked[GOOD], "due": world.database.due[GOOD]}
        assert {each: noted[each] / 1e6 for each in noted} == pytest.approx(at)


async def test_a_policy_ends() -> None:
    """A policy lives for max_age from its fetch; one that has ended is not given."""
    async with fleet() as world:
        relay = world.join()
        assert await relay.offer(age=100.0)
        await world.time.advance(WEEK - 101.0)
        assert (await relay.look()).policy is not None
        await world.time.advance(2.0)
        assert (await relay.look()).policy is None
        assert not await relay.offer(age=WEEK + 1.0)


async def test_history() -> None:
    """The fleet knows the policies that a domain has had, the newest first, by each one's clock."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2", ahead=500.0)
        start = world.time.monotonic()
        assert await one.offer(policy_id="id1")
        await world.time.advance(100.0)
        assert await other.offer(policy_id="id1")
        await world.time.advance(100.0)
        assert await other.offer(GOOD, TEXT.replace("enforce", "none"), "id2")
        found = await other.ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert [(e.policy_id, e.mode) for e in found.entries] == [
            ("id2", "none"),
            ("id1", "enforce"),
        ]
        times = [(e.seen_from - start - 500.0, e.seen_to - start - 500.0) for e in found.entries]
        assert times == [pytest.approx((200.0, 200.0)), pytest.approx((0.0, 100.0))]
        assert (await one.ask(ReadHistory(Domain("other.test")))) == History(())


@pytest.mark.parametrize("back", [30.0, HOUR, 365 * DAY])
async def test_a_history_after_the_clock_of_the_store_was_set_back(back: float) -> None:
    """What was fetched before is kept, and what is fetched afterwards is the newest."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2")
        assert await one.offer(policy_id="id1")
        await world.time.advance(100.0)
        assert await one.offer(policy_id="id2")
        world.database.pass_time(-back)
        found = await other.ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert [each.policy_id for each in found.entries] == ["id2", "id1"]
        await world.time.advance(40.0)
        assert await other.offer(policy_id="id3")
        await world.time.advance(1.0)
        assert await one.offer(policy_id="id4", age=0.5)
        found = await one.ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert [each.policy_id for each in found.entries] == ["id4", "id3", "id2", "id1"]
        assert max(each.seen_to for each in found.entries) <= world.time.monotonic()
        assert all(each.seen_from <= each.seen_to for each in found.entries)


async def test_what_is_due() -> None:
    """A domain whose policy no relay has renewed in time is found while it is in use."""
    async with fleet() as world:
        one, other = world.join("mx1"), world.join("mx2")
        assert await one.offer()
        assert await other.ask(FindDue(600.0, 10)) == Due(())
        await world.time.advance(3599.0)
        await one.ask(NoteUses({GOOD: 5.0}))
        await world.time.advance(2.0)
        assert await other.ask(FindDue(600.0, 10)) == Due((GOOD,))
        await world.time.advance(700.0)
        assert await other.ask(FindDue(600.0, 10)) == Due(())


@pytest.mark.parametrize("number", [2, 3, 8])
async def test_relays_add_to_a_history_at_the_same_time(number: int) -> None:
    """Relays that come second read again; of more than three some may be left out."""
    async with fleet() as world:
        relays = [world.join(f"mx{each}") for each in range(number)]
        await asyncio.gather(*(relay.look() for relay in relays))
        offers = (r.offer(policy_id=f"id{each}", age=1.0) for each, r in enumerate(relays))
        await asyncio.gather(*offers)
        found = await relays[0].ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert len({each.policy_id for each in found.entries}) >= min(number, 3)


async def test_an_offer_that_is_done_in_part_is_not_done() -> None:
    """The daemon is told, and offers again: what is there already is no error."""
    async with fleet() as world:
        relay = world.join()
        world.database.broken = {"note_uses"}
        answer = await relay.ask(OfferPolicy(GOOD, TEXT, "id1", 0.0, 60.0, 1.0))
        assert answer == Unavailable("note_uses does not work")
        assert (await relay.look()).policy is not None
        world.database.broken = set()
        await relay.offer()
