"""Relays with wrong clocks: no older policy wins, and none is given to the store later."""

import time
from collections.abc import Mapping
from typing import Final

import pytest

from postfix_mta_sts.daemon.fleet.handover import SAMPLE
from postfix_mta_sts.store.fleet.engine import Kind, Name
from tests.fleet.relays import Fleet, Relay, joined, secure
from tests.fleet.stores import SharedStore
from tests.fleet.world import World

pytestmark = pytest.mark.timeout(300)

HOUR: Final = 3600


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
async def test_the_clock_of_a_relay_does_not_make_an_older_policy_win(
    offset: int, fleet: Fleet, world: World, store: SharedStore
) -> None:
    """Of two policies the one that was fetched last wins, though a relay's clock is an hour off.

    The other relay keeps the older one on file. It gives the store what it lacks, and this never.
    """
    (first, second) = world.published(2)
    wrong, right = fleet.start("wrong", offset=offset), fleet.start("right")
    pairs = ((wrong, right, first), (right, wrong, second))
    for early, late, domain in pairs:
        assert await early.answer(domain) == secure(domain)
        await store.has("policy", [domain])
        world.publish([domain], mx=("mx2.%",), policy_id="id2")
        assert await late.answer(domain) == secure(domain, "mx2")
        await store.changed("policy", [domain], b"id2")
    only_here = {early: world.published(SAMPLE) for early, _, _ in pairs}
    for early, domains in only_here.items():
        await early.answers(domains)
        await store.has("policy", domains)
    await _handed_over(only_here, store)
    for early in only_here:
        early.kill()
    await _handed_over(only_here, store, is_started=False)
    rows = await store.rows()
    for early, _, domain in pairs:
        assert b"id2" in rows[Name(Kind.POLICY, domain)]
        assert early.ask_control("GET", "policies", domain)["policy"]["id"] == "id1"
    fresh = fleet.start("heir")
    await joined(fresh, world, store)
    with world.without("hosts"):
        for domain in (first, second):
            assert await fresh.answer(domain) == secure(domain, "mx2")
            fetched_at = fresh.ask_control("GET", "policies", domain)["fetched_at"]
            assert abs(time.time() - fetched_at) < 120
    for early, _, domain in pairs:
        early.refresh(domain)
        assert await early.answer(domain) == secure(domain, "mx2")
    for relay in (wrong, right, fresh):
        relay.kill()


async def _handed_over(
    only_here: Mapping[Relay, list[str]], store: SharedStore, *, is_started: bool = True
) -> None:
    """Wait until each relay has looked at all of its policies: it gives back what the store lost.

    A relay that starts looks at all, and one that finds most of a sample missing.
    """
    lost = [domain for domains in only_here.values() for domain in domains]
    await store.write({Name(Kind.POLICY, domain): b"" for domain in lost})
    if not is_started:
        for relay in only_here:
            relay.start()
    await store.changed("policy", lost, b"id1")
