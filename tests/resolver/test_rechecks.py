"""What is due is checked behind the reply."""

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.lifecycle import DAY, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.recheck_queue import CONCURRENCY, QUEUE_LIMIT
from tests.support.resolvers import looked_up, resolver_in, settled
from tests.support.surroundings import GOOD, START, Surroundings, policy


async def test_recheck_behind_the_reply() -> None:
    """What is due is served at once and checked behind; the new id is there for the next."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    first = await looked_up(resolver)
    around.publish(policy_id="b", mx="mx9.good.test")
    around.now += 300
    known = resolver.cached(GOOD)
    assert known
    assert known.state is first
    await settled(resolver)
    assert (await looked_up(resolver)).policy == policy(mx="mx9.good.test")
    assert known.state is not first


async def holding(around: Surroundings, number: int) -> list[Domain]:
    """Domains whose policies are on file, as many as that."""
    domains = [parse_domain(f"d{n}.test") for n in range(number)]
    for domain in domains:
        around.publish(domain)
        await around.store.save(domain, restored(policy(), PolicyId("a"), START, START + DAY), 0)
    return domains


async def test_what_is_on_file_is_rechecked_one_after_the_other() -> None:
    """All look-ups are answered before; each domain is rechecked once, however often asked for."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around)
    for domain in [*domains, *domains]:
        assert (await looked_up(resolver, domain)).policy
    assert resolver.under_way < 20
    await around.queries.total_reached(20)
    assert [around.queries[domain] for domain in domains] == [1] * 20
    assert not resolver._rechecks
    await settled(resolver, domains[-1])
    await resolver.close()


async def test_rechecks_under_way_are_bounded() -> None:
    """Silent name servers hold up to so many; when one is done, the next begins."""
    around = Surroundings()
    around.dns.hold()
    domains = await holding(around, CONCURRENCY + 2)
    resolver = resolver_in(around, entries=1_000)
    for domain in domains:
        await looked_up(resolver, domain)
    await around.queries.total_reached(CONCURRENCY)
    assert (resolver.under_way, len(resolver._rechecks)) == (CONCURRENCY, 2)
    around.dns.release()
    await around.queries.total_reached(CONCURRENCY + 2)
    await resolver.close()


async def test_a_look_up_is_not_behind_the_rechecks() -> None:
    """Who has nothing to be served asks the network at once, also where a recheck was due."""
    around = Surroundings()
    domains = await holding(around, 3)
    resolver = resolver_in(around)
    for domain in domains:
        await looked_up(resolver, domain)
    around.now += 604_800
    state = await looked_up(resolver, domains[2])
    assert state.fetched_at == around.now
    await resolver.close()


async def test_what_was_evicted_is_not_rechecked() -> None:
    """It is due again when it is next asked for."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around, entries=2)
    for domain in domains:
        await looked_up(resolver, domain)
    await around.queries.reached(domains[19])
    assert not resolver._rechecks
    assert around.queries[domains[17]] == 0
    await looked_up(resolver, domains[17])
    await around.queries.reached(domains[17])
    await resolver.close()


async def test_what_is_fresh_again_is_not_rechecked() -> None:
    """A renewal was faster than the queue."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around)
    for domain in domains:
        await looked_up(resolver, domain)
    await resolver.renew(domains[18])
    assert domains[18] in resolver._rechecks
    await around.queries.reached(domains[19])
    assert around.queries[domains[18]] == 1
    await resolver.close()


async def test_the_queue_is_bounded() -> None:
    """Who finds no room in it is served all the same."""
    around = Surroundings()
    resolver = resolver_in(around, entries=QUEUE_LIMIT * 2)
    state = restored(policy(), PolicyId("a"), START, START + DAY)
    for n in range(QUEUE_LIMIT + 2):
        domain = parse_domain(f"d{n}.test")
        await around.store.save(domain, state, 0)
        assert await resolver.look_up(domain)
    assert len(resolver._rechecks) <= QUEUE_LIMIT
    await resolver.close()
