"""Rechecks in the background: which domains are rechecked, how many at once, and in which order."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.lifecycle import DAY, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.recheck_queue import QUEUE_LIMIT
from tests.support.resolvers import (
    find_state,
    look_up,
    make_resolver,
    rechecks_paused,
    wait_for_end,
)
from tests.support.surroundings import START, Surroundings, policy


async def test_recheck_after_the_reply() -> None:
    """A state that is due is served at once; the look-up after the recheck gets the new one."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    domain = parse_domain("good.test")
    first = await look_up(resolver)
    around.publish(policy_id="b", mx="mx9.good.test")
    around.now += 300
    entry = resolver.cached(domain)
    assert entry
    assert entry.state is first
    await wait_for_end(resolver)
    assert (await look_up(resolver)).policy == policy(mx="mx9.good.test")
    assert entry.state is not first


async def stored_domains(around: Surroundings, number: int) -> list[Domain]:
    """Domains with a stored policy whose recheck is due."""
    domains = [parse_domain(f"d{n}.test") for n in range(number)]
    for domain in domains:
        around.publish(domain)
        await around.store.save(domain, restored(policy(), PolicyId("a"), START, START + DAY), 0)
    return domains


async def test_stored_policies_are_rechecked_one_after_the_other() -> None:
    """All look-ups are answered before; each domain is rechecked once, however often looked up."""
    around = Surroundings()
    domains = await stored_domains(around, 20)
    resolver = make_resolver(around)
    with rechecks_paused(resolver):
        for domain in [*domains, *domains]:
            assert (await look_up(resolver, domain)).policy
        assert around.queries.total == 0
    assert resolver.under_way < 20
    await around.queries.total_reached(20)
    assert [around.queries[domain] for domain in domains] == [1] * 20
    assert not resolver._rechecks
    await wait_for_end(resolver, domains[-1])
    await resolver.close()


async def test_rechecks_under_way_are_bounded() -> None:
    """They take half of all attempts at most; when one ends, the next recheck starts."""
    around = Surroundings()
    around.dns.hold()
    domains = await stored_domains(around, 22)
    resolver = make_resolver(around, attempts=40)
    for domain in domains:
        await look_up(resolver, domain)
    await around.queries.total_reached(20)
    assert (resolver.under_way, len(resolver._rechecks)) == (20, 2)
    around.dns.release()
    await around.queries.total_reached(22)
    await resolver.close()


async def test_a_look_up_does_not_wait_for_the_recheck_queue() -> None:
    """A domain whose policy has expired is looked up at once, also if it is in the queue."""
    around = Surroundings()
    domains = await stored_domains(around, 3)
    resolver = make_resolver(around)
    with rechecks_paused(resolver):
        for domain in domains:
            await look_up(resolver, domain)
        around.now += 604_800
        assert domains[2] in resolver._rechecks
        state = await look_up(resolver, domains[2])
        assert state.fetched_at == around.now
    await resolver.close()


async def test_evicted_domains_are_not_rechecked() -> None:
    """They are due again when they are next looked up."""
    around = Surroundings()
    domains = await stored_domains(around, 20)
    resolver = make_resolver(around, entries=2)
    with rechecks_paused(resolver):
        for domain in domains:
            await look_up(resolver, domain)
        assert len(resolver._rechecks) == 2
    await around.queries.reached(domains[19])
    assert not resolver._rechecks
    assert around.queries[domains[17]] == 0
    await look_up(resolver, domains[17])
    await around.queries.reached(domains[17])
    await resolver.close()


async def test_domains_renewed_meanwhile_are_not_rechecked() -> None:
    """A recheck is dropped if the state is fresh when its turn comes."""
    around = Surroundings()
    domains = await stored_domains(around, 20)
    resolver = make_resolver(around)
    with rechecks_paused(resolver):
        for domain in domains:
            await look_up(resolver, domain)
        await resolver.renew(domains[18])
        assert domains[18] in resolver._rechecks
    await around.queries.reached(domains[19])
    assert around.queries[domains[18]] == 1
    await resolver.close()


async def test_domains_with_an_attempt_under_way_are_not_rechecked() -> None:
    """A renewal that started meanwhile does the work of the recheck."""
    around = Surroundings()
    domains = await stored_domains(around, 2)
    resolver = make_resolver(around)
    around.dns.hold()
    with rechecks_paused(resolver):
        for domain in domains:
            await look_up(resolver, domain)
        renewal = asyncio.create_task(resolver.renew(domains[0]))
        await around.queries.reached(domains[0])
    await around.queries.reached(domains[1])
    assert not resolver._rechecks
    around.dns.release()
    await renewal
    assert around.queries[domains[0]] == 1
    await resolver.close()


@pytest.mark.usefixtures("uncovered")
async def test_the_queue_is_bounded() -> None:
    """A domain that finds the queue full is served all the same."""
    around = Surroundings()
    resolver = make_resolver(around, entries=QUEUE_LIMIT * 2)
    state = restored(policy(), PolicyId("a"), START, START + DAY)
    with rechecks_paused(resolver):
        for n in range(QUEUE_LIMIT + 2):
            domain = parse_domain(f"d{n}.test")
            await around.store.save(domain, state, 0)
            assert await find_state(resolver, domain)
        assert len(resolver._rechecks) == QUEUE_LIMIT
    await resolver.close()
