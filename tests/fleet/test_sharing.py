"""What relays share: one fetch for all, and a policy for one that has nothing."""

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import pytest
import pytest_asyncio

from postfix_mta_sts.mtasts.sharing import SAME_FETCH
from postfix_mta_sts.store.fleet.engine import Kind, Name
from tests.fleet.engines import ENGINES, LONG, OVER_TLS, SENTINEL
from tests.fleet.relays import Fleet, Relay, joined, secure
from tests.fleet.stores import PATIENCE, Note, SharedStore
from tests.fleet.world import World
from tests.support.clients import connected
from tests.support.daemons import until

pytestmark = pytest.mark.timeout(300)

CLIENTS: Final = 200
"""At each of three relays."""
WITHIN: Final = 3.0
"""Seconds in which a look-up is answered though the relay that has the lease is stopped."""
EVERY: Final = 0.2
"""Seconds from one look-up to the next at a relay that measures how busy the machine is."""


@pytest.fixture(scope="module")
def patience(patience: Mapping[str, object]) -> Mapping[str, object]:
    """In the long form, none beyond the default: the machine does nothing else."""
    return {} if LONG else patience


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relays(fleet: Fleet, world: World, store: SharedStore) -> list[Relay]:
    """Three relays."""
    return [await _member(fleet, world, store, name) for name in "abc"]


async def _member(
    fleet: Fleet,
    world: World,
    store: SharedStore,
    name: str,
    section: Mapping[str, object] = MappingProxyType({}),
) -> Relay:
    """Start a relay with an empty disk.

    On a busy machine its first look-ups are later than the budget: there it uses the store before.
    """
    relay = fleet.start(name, changes={"fleet": section})
    if not LONG:
        await joined(relay, world, store)
    return relay


async def test_clients_of_three_relays_cost_one_fetch(relays: list[Relay], world: World) -> None:
    """600 clients ask three relays for a new domain: 1 GET, at most 3 queries, all `secure`."""
    (domain,) = world.published()
    start = asyncio.Barrier(CLIENTS * len(relays))

    async def ask(relay: Relay) -> bytes:
        async with connected(relay.socketmap) as client:
            await start.wait()
            return await client.ask(domain)

    askers = [ask(relay) for relay in relays for _ in range(CLIENTS)]
    assert set(await asyncio.gather(*askers)) == {secure(domain).encode()}
    counts = world.counts([domain])
    assert counts.gets[domain] == 1
    assert counts.queries[domain] <= len(relays)


async def test_a_relay_without_anything_knows_what_the_fleet_knows(
    relays: list[Relay], fleet: Fleet, world: World, store: SharedStore
) -> None:
    """A relay with an empty disk answers `secure` while the Policy Host is dead."""
    domains = world.published(50)
    await relays[0].answers(domains)
    await store.has("policy", domains)
    fresh = await _member(fleet, world, store, "fresh")
    with world.without("hosts"):
        replies = await fresh.answers(domains)
    assert replies == {domain: secure(domain) for domain in domains}


async def test_a_relay_knows_it_though_the_dns_is_silent(
    relays: list[Relay], fleet: Fleet, world: World, store: SharedStore
) -> None:
    """A relay with an empty disk answers `secure` while neither DNS nor Policy Host answers."""
    domains = world.published(5)
    await relays[1].answers(domains)
    await store.has("policy", domains)
    fresh = await _member(fleet, world, store, "deaf")
    with world.without("hosts"), world.silent_names():
        replies = await fresh.answers(domains)
    assert replies == {domain: secure(domain) for domain in domains}


async def test_a_relay_knows_it_though_the_record_is_gone(
    relays: list[Relay], fleet: Fleet, world: World, store: SharedStore
) -> None:
    """A relay with an empty disk answers `secure` while there is neither record nor Policy Host."""
    domains = world.published(5)
    await relays[1].answers(domains)
    await store.has("policy", domains)
    world.publish(domains, policy_id="")
    fresh = await _member(fleet, world, store, "late")
    with world.without("hosts"):
        replies = await fresh.answers(domains)
    assert replies == {domain: secure(domain) for domain in domains}


@pytest.mark.parametrize("dead", ["hosts", "hosts-and-names"])
@pytest.mark.parametrize(
    "store",
    [store for store in ENGINES if store != SENTINEL],
    indirect=True,
    scope="module",
)
async def test_a_relay_knows_what_the_store_says_too_late(
    dead: str, relays: list[Relay], fleet: Fleet, world: World, store: SharedStore
) -> None:
    """A store too far away for the budget: a relay with an empty disk answers `secure` from it."""
    domains = world.published(5)
    await relays[1].answers(domains)
    await store.has("policy", domains)
    assert store.late
    far = {**store.over_wire, "budget": "20ms"}
    fresh = await _member(fleet, world, store, f"far-{dead}", far)
    names = world.silent_names() if "names" in dead else contextlib.nullcontext()
    with store.late(0.04), world.without("hosts"), names:
        replies = await fresh.answers(domains)
    assert replies == {domain: secure(domain) for domain in domains}


async def test_relays_that_are_due_together_cost_one_fetch(
    fleet: Fleet, world: World, store: SharedStore
) -> None:
    """Three live relays use domains that are due: one of them renews each, by one GET, for all."""
    domains = world.published(5)
    users = [await _member(fleet, world, store, name) for name in "def"]
    for relay in users:
        assert await relay.answers(domains) == {domain: secure(domain) for domain in domains}
    await store.has("policy", domains)
    gets, first = world.counts(domains).gets, fetched_at(users, domains)
    names, rows = [Name(Kind.POLICY, domain) for domain in domains], await store.rows()
    old = {name: rows[name] for name in names}
    # A relay may renew them as soon as it starts, and then must not seem to have the first fetch.
    await until(lambda: time.time() > max(first.values()) + 2 * SAME_FETCH)
    for relay in users:
        relay.stop()
        await relay.make_due(domains)
        relay.start()
    for relay in users:  # one after the other: together, they would wait for the lease for 2 s
        async with asyncio.timeout(PATIENCE):
            while any(
                at <= first[each] + SAME_FETCH for each, at in fetched_at([relay], domains).items()
            ):
                await relay.answers(domains)
                await asyncio.sleep(0.1)
        if relay is users[0]:
            await store.until(lambda rows: all(rows[name] != old[name] for name in old))
    assert world.counts(domains).gets == {domain: gets[domain] + 1 for domain in domains}


def fetched_at(relays: Sequence[Relay], domains: Sequence[str]) -> dict[tuple[str, str], float]:
    """When each relay knows each policy to have been fetched."""
    return {
        (relay.name, domain): relay.ask_control("GET", "policies", domain)["fetched_at"]
        for relay in relays
        for domain in domains
    }


async def test_it_says_which_relay_fetched(
    relays: list[Relay], world: World, store: SharedStore
) -> None:
    """`policy show` names the relay that fetched the policy, or, if it is gone, that gave it."""
    (domain,) = world.published()
    taker, _, fetcher = relays
    await fetcher.answer(domain)
    await store.has("policy", [domain])
    assert await taker.answer(domain) == secure(domain)
    assert world.counts([domain]).gets[domain] == 1
    assert re.search(r"fetched by c at 20\S+ \S+Z, \d+s ago", _shown(taker, domain))
    for relay in (taker, fetcher):
        relay.kill()
    await store.clear()
    taker.start()
    await store.has("policy", [domain])
    assert re.search(
        r"fetched at 20\S+ \S+Z, \d+s ago, given by a$", _shown(taker, domain), re.MULTILINE
    )
    fetcher.start()


def _shown(relay: Relay, domain: str) -> str:
    """What `policy show` says."""
    return relay.command("policy", "show", domain).stdout


@pytest.mark.parametrize("store", OVER_TLS, indirect=True, scope="module")
async def test_a_relay_that_talks_tls_to_the_store(
    relays: list[Relay], fleet: Fleet, world: World, store: SharedStore
) -> None:
    """With the CA in ca_file a relay shares over TLS; with another CA it works for itself."""
    theirs, own, domain = world.published(3)
    await relays[0].answer(theirs)
    await store.has("policy", [theirs])
    relay = await _member(fleet, world, store, "tls", store.over_tls)
    with world.without("hosts"):
        assert await relay.answer(theirs) == secure(theirs)
    assert await relay.answer(own) == secure(own)
    await store.has("policy", [own])
    another_ca = {**store.over_tls, "ca_file": str(world.ca_file)}
    stranger = fleet.start("stranger", changes={"fleet": another_ca})
    assert await stranger.answer(domain) == secure(domain)
    await until(lambda: "TLS" in stranger.command("status").stdout)


async def test_a_relay_that_stops_while_it_has_the_lease_delays_nobody_for_long(
    relays: list[Relay], fleet: Fleet, world: World, store: SharedStore, note: Note
) -> None:
    """The relay that fetches is stopped: the others answer `secure` within three seconds.

    That counts from when the machine lets a relay answer that is alone.
    """
    (domain,) = world.published()
    holder, *others = relays
    alone, fresh = fleet.start("alone", is_member=False), world.published(100)
    await alone.answer(fresh.pop())  # a first look-up takes longer, of a relay and of a zone
    with world.holding():
        lost = asyncio.create_task(holder.answer(domain), name="lost")
        await until(lambda: world.counts([domain]).gets[domain] == 1)
        pause = holder.stopped()
        pause.__enter__()
    asking = asyncio.create_task(_ask_new(alone, fresh), name="alone")
    try:
        start = time.monotonic()
        replies = await asyncio.gather(*(relay.answer(domain) for relay in others))
        took = time.monotonic() - start
    finally:
        pause.__exit__(None, None, None)
        asking.cancel()
    late = max(await asking)
    note(
        f"{store.name}: the holder of the lease is stopped, the others answer in {took:.2f} s,"
        f" a relay alone in {late:.2f} s"
    )
    assert set(replies) == {secure(domain)}
    assert took < WITHIN + late
    assert await lost == secure(domain)
    alone.kill()


async def _ask_new(relay: Relay, domains: list[str]) -> list[float]:
    """Ask for new domains until it is cancelled; return the seconds that each look-up took."""
    took: list[float] = []
    with contextlib.suppress(asyncio.CancelledError):
        for domain in domains:
            start = time.monotonic()
            try:
                assert await relay.answer(domain) == secure(domain)
            finally:  # also of one that is cancelled
                took.append(time.monotonic() - start)
            await asyncio.sleep(EVERY)
    return took
