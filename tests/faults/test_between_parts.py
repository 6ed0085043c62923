"""Faults where two parts meet: resolver and store, resolver and name servers."""

import asyncio
from dataclasses import replace

import pytest

from postfix_mta_sts import batching
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import DaneKind, HostState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.lifecycle import DAY, State
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.values import replace as replace_value
from tests.support.faulty_store import FaultyStore
from tests.support.resolvers import find_state, make_resolver, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, policy, signed
from tests.support.tally import Gate

NONE = signed(HostState.ABSENT, ttl=86_400)
ALL = signed(ttl=86_400)


def kind(state: State | None) -> DaneKind | None:
    """The kind of the verdict in a state."""
    return state.dane.kind if state and state.dane else None


async def test_clients_that_leave_while_the_store_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are asked for on connections that close at once do not pile up."""
    monkeypatch.setattr(batching, "WAITING_LIMIT", 50)
    store = FaultyStore()
    store.gate.hold()
    resolver = make_resolver(Surroundings(store=store))
    for number in range(1_000):
        resolver.find(parse_domain(f"d{number}.test")).cancel()
        await asyncio.sleep(0)
    waiting = resolver._store_reads._waiting
    assert len(waiting) <= 60
    store.gate.release()
    while waiting:  # noqa: ASYNC110 (no event to wait for)
        await asyncio.sleep(0)
    await resolver.close()


async def test_look_ups_in_masses_while_the_disk_hangs() -> None:
    """After a read that takes long, others go on beside the network without a wait."""
    store = FaultyStore()
    store.gate.hold()
    around = Surroundings(store=store, read_patience=0.0)
    domains = [parse_domain(f"d{number}.test") for number in range(100)]
    for domain in (GOOD, *domains):
        around.publish(domain)
    resolver = make_resolver(around)
    first = asyncio.create_task(find_state(resolver, GOOD))
    await around.queries.reached(GOOD)
    resolver._sources = replace(around.sources(), read_patience=3600.0)
    others = [asyncio.create_task(find_state(resolver, domain)) for domain in domains]
    async with asyncio.timeout(10):
        await around.queries.total_reached(101)
    store.gate.release()
    states = await asyncio.gather(first, *others)
    assert all(state and state.policy for state in states)
    await resolver.close()


async def test_a_verdict_is_known_while_the_row_is_read() -> None:
    """A look-up whose time ends before the row was read gets the verdict that the cache has."""
    store = FaultyStore()
    around = Surroundings(store=store, verdicts={GOOD: ALL})
    resolver = make_resolver(around, timeout=0.0)
    resolver.use_dane(around.look_up_dane)
    verdict = after_verdict(None, ALL, START)
    resolver._cache.put(GOOD, replace_value(lifecycle.unknown(START), dane=verdict), START)
    flight = resolver._flights.start(GOOD)
    assert flight
    store.gate.hold()
    result = await flight.wait()
    assert result.time_is_up
    assert kind(result.state) is DaneKind.ALL
    await resolver.close()


async def test_a_row_does_not_replace_a_later_verdict() -> None:
    """The row was written before the verdict that the cache has."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    resolver.use_dane(around.look_up_dane)
    before, later = after_verdict(None, NONE, START), after_verdict(None, ALL, START + 60)
    row = lifecycle.restored(policy(), PolicyId("a"), START, START + DAY, before)
    await around.store.save(GOOD, row, START)
    around.now += 60
    unknown = lifecycle.unknown(around.now)
    resolver._cache.put(GOOD, replace_value(unknown, dane=later), around.now)
    state = await find_state(resolver, GOOD)
    assert state
    assert state.policy
    assert kind(state) is DaneKind.ALL
    await resolver.close()


async def with_dane(around: Surroundings, *, asked_of: str = "old") -> Resolver:
    """A resolver that asks these name servers."""
    resolver = make_resolver(around)
    resolver.use_dane(around.look_up_dane, asked_of)
    return resolver


async def test_an_answer_of_the_name_servers_before() -> None:
    """A DANE look-up that began before the name servers changed is repeated at the new ones."""
    around = Surroundings(verdicts={GOOD: NONE})
    around.publish()
    around.dane.hold()
    resolver = await with_dane(around)
    waiting = asyncio.create_task(find_state(resolver, GOOD))
    await around.dane_queries.reached(GOOD)
    answer = around.dane
    around.dane = Gate()
    around.dane.hold()
    resolver.use_dane(around.look_up_dane, "new")
    answer.release()
    for _ in range(20):
        await asyncio.sleep(0)
    around.verdicts[GOOD] = ALL
    around.dane.release()
    assert kind(await waiting) is DaneKind.ALL
    assert around.dane_queries[GOOD] == 2
    await resolver.close()


async def test_a_verdict_of_the_name_servers_before() -> None:
    """An attempt that began with it does not put it back into the cache."""
    around = Surroundings(verdicts={GOOD: NONE})
    around.publish()
    resolver = await with_dane(around)
    await find_state(resolver, GOOD)
    await wait_for_end(resolver)
    around.dns.hold()
    renewal = asyncio.create_task(resolver.renew(GOOD))
    await around.queries.reached(GOOD, 2)
    around.now += 1
    resolver.use_dane(around.look_up_dane, "new")
    for _ in range(20):
        await asyncio.sleep(0)
    around.dns.release()
    await renewal
    around.verdicts[GOOD] = ALL
    assert kind(await find_state(resolver, GOOD)) is DaneKind.ALL
    await resolver.close()


async def test_other_name_servers_while_the_clock_was_ahead() -> None:
    """When the clock is right again, verdicts that are found count."""
    around = Surroundings(verdicts={GOOD: ALL})
    around.publish()
    resolver = await with_dane(around)
    around.now += 400 * DAY
    resolver.use_dane(around.look_up_dane, "new")
    around.now -= 400 * DAY
    await resolver.correct_times()
    await find_state(resolver, GOOD)
    await wait_for_end(resolver)
    entry = resolver.cached(GOOD)
    assert entry
    assert kind(entry.state) is DaneKind.ALL
    await resolver.close()
