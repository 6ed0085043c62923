"""Large policies, many names, many keys: memory is bounded, and no walk over it blocks the loop."""

import asyncio
from collections.abc import Awaitable

import pytest

from postfix_mta_sts.admin import serialize
from postfix_mta_sts.config.settings import CacheSettings
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import DAY, restored
from postfix_mta_sts.mtasts.policy import parse_policy, parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.protocol.reply import ReplyFormat
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.resolver.fairness import Client, Owner
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.values import replace
from tests.support.clients import request
from tests.support.replies import ask, make_reply_cache
from tests.support.resolvers import OTHER, find_state, look_up, make_resolver
from tests.support.surroundings import GOOD, START, Surroundings, found, policy, signed

KIB = 1024
MIB = 1024 * KIB
TLSRPT = ReplyFormat(tlsrpt=True)


def publish_large(around: Surroundings, domain: Domain, policy_id: str = "a") -> None:
    """Publish a valid policy of 64 KiB; its reply with TLSRPT attributes is as large."""
    head = f"version: STSv1\nmode: enforce\nmx: mx1.{domain}\nmax_age: 604800\n"
    notes = "".join(f"note{n}: {'x' * 100}\n" for n in range(600))
    around.records[domain] = found(policy_id)
    around.policies[domain] = parse_policy((head + notes).encode()[: 64 * KIB])


def caches(around: Surroundings, memory: int) -> tuple[Resolver, ReplyCache]:
    """A resolver and a reply cache with the limits of `cache.memory`."""
    settings = CacheSettings(memory=memory)
    resolver = make_resolver(around, entries=100_000, memory=settings.state_memory)
    cache = make_reply_cache(
        around,
        reply_format=lambda _: TLSRPT,
        resolver=resolver,
        entries=100_000,
        memory=settings.reply_memory,
    )
    return resolver, cache


def bytes_of(resolver: Resolver, cache: ReplyCache) -> int:
    """Bytes that both caches take, by their estimate (`tests/resolver/test_sizes.py`)."""
    return resolver._cache.used + cache._requests.used


async def test_300_names_with_large_policies() -> None:
    """B7: the caches stay within `cache.memory`, and a usual domain in use is not evicted."""
    around = Surroundings()
    around.publish()
    resolver, cache = caches(around, 4 * MIB)
    usual = await ask(cache, request("good.test"))
    most = 0
    for number in range(300):
        domain = parse_domain(f"large{number}.test")
        publish_large(around, domain)
        assert len(await ask(cache, request(domain))) > 60 * KIB
        assert await ask(cache, request("good.test")) is usual
        await cache.count()
        most = max(most, bytes_of(resolver, cache))
    assert 3 * MIB < most <= 4 * MIB
    assert resolver.entries < 50
    assert around.gets[GOOD] == 1


async def test_a_policy_with_too_many_patterns() -> None:
    """It is a failed fetch: the policy in force stays, and one that is stored is honoured."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.records[GOOD] = found("b")
    around.policies[GOOD] = refusal(patterns=201)
    around.now += DAY
    await resolver.renew(GOOD)
    state = await look_up(resolver)
    assert (state.policy, state.failure and state.failure.result) == (
        policy(),
        "sts-policy-invalid",
    )
    stored = parse_stored_policy(with_patterns(201))
    await around.store.save(OTHER, restored(stored, PolicyId("a"), START, START + DAY), 0)
    assert (await look_up(make_resolver(around), OTHER)).policy == stored


def with_patterns(number: int) -> bytes:
    """A policy with this many patterns."""
    patterns = "".join(f"mx: mx{n}.good.test\n" for n in range(number))
    return f"version: STSv1\nmode: enforce\n{patterns}max_age: 604800\n".encode()


def refusal(patterns: int) -> InvalidPolicyError:
    """The error for a policy with this many patterns."""
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(with_patterns(patterns))
    return caught.value


async def test_many_keys_of_one_domain() -> None:
    """B8: `d:1`, `d:2` … share the reply, and only some of them are kept."""
    around = Surroundings()
    publish_large(around, GOOD)
    resolver, cache = caches(around, 64 * MIB)
    replies = [await ask(cache, request(f"good.test:{port}")) for port in range(1, 1_001)]
    assert len({id(reply) for reply in replies}) == 1
    assert bytes_of(resolver, cache) < 64 * KIB * 3 + 100 * 300
    assert cache.entries < 100


async def test_long_keys_are_answered_but_not_kept() -> None:
    """A request may have 10,000 bytes."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around)
    reply = await ask(cache, request("good.test", "m" * 9_000))
    assert reply == await ask(cache, request("good.test"))
    assert cache.entries == 1


async def test_replies_of_older_policies_give_their_bytes_back() -> None:
    """Each key is asked for once, each with another policy: only the newest reply is kept."""
    around = Surroundings()
    resolver, cache = caches(around, 64 * MIB)
    await look_up(resolver)
    for port in range(1, 30):
        publish_large(around, GOOD, f"id{port}")
        await resolver.renew(GOOD)
        assert len(await ask(cache, request(f"good.test:{port}"))) > 60 * KIB
    kept = [made.reply for made in cache._requests._replies.values()]
    assert sorted(map(len, kept))[:-1] == [0] * 28
    assert bytes_of(resolver, cache) < 64 * KIB * 3 + 29 * 300


async def test_a_reply_that_is_too_large_for_the_memory_is_given() -> None:
    """Once, complete, although neither it nor its domain can be kept."""
    around = Surroundings()
    publish_large(around, GOOD)
    resolver = make_resolver(around, memory=100 * KIB)
    cache = make_reply_cache(around, reply_format=lambda _: TLSRPT, resolver=resolver)
    for _ in range(2):
        assert len(await ask(cache, request("good.test"))) > 60 * KIB
    assert bytes_of(resolver, cache) < 100 * KIB


async def turns(work: Awaitable[object]) -> int:
    """How often the event loop runs other tasks until the work has ended."""
    task = asyncio.ensure_future(work)
    count = 0
    while not task.done():
        await asyncio.sleep(0)
        count += 1
    return count


NAMES = 20 * SLICE
"""Entries, fewer than an administrator may have, so that the test is fast: slices are counted."""


@pytest.fixture
async def full() -> tuple[Resolver, ReplyCache]:
    """Caches with `NAMES` domains, whose verdicts are due and whose replies were used."""
    around = Surroundings()
    resolver = make_resolver(around, entries=2 * NAMES)
    resolver.use_dane(around.look_up_dane, "name servers")
    cache = make_reply_cache(around, resolver=resolver, entries=2 * NAMES)
    around.verdicts[GOOD] = signed()
    verdict = (await look_up(resolver)).dane
    stored = restored(policy(), PolicyId("a"), START, START + DAY, verdict)
    stored = replace(stored, recheck_at=START + DAY)
    for number in range(NAMES):
        domain = Domain(f"d{number}.test")
        resolver._cache.put(domain, stored, START)
        await ask(cache, request(domain))
        cache.cached(request(domain))
    around.now += 3000
    return resolver, cache


async def test_no_walk_over_a_full_cache_blocks_the_loop(
    full: tuple[Resolver, ReplyCache],
) -> None:
    """B10: `SLICE` entries at most in each turn: the tick of a minute, commands, a reload."""
    resolver, cache = full
    assert len(resolver._cache) >= NAMES
    assert await turns(cache.count()) >= NAMES // SLICE
    assert await turns(resolver.states(serialize.fails)) >= NAMES // SLICE
    assert await turns(resolver.renew_verdicts(0.0)) >= NAMES // SLICE
    cache.clear()
    assert await turns(cache.count()) >= NAMES // SLICE
    resolver.use_dane(resolver._context.dane_lookup, "other name servers")
    assert resolver._dropping
    assert await turns(resolver._dropping) >= NAMES // SLICE - 1
    states = [entry.state for part in resolver._cache.slices() for entry in part]
    since = resolver._context.verdicts_since
    assert not any(state.dane.found_at < since for state in states if state and state.dane)
    await resolver.close()


async def test_tarpits_do_not_delay_other_rechecks() -> None:
    """B13: 300 Policy Hosts hold their rechecks; the id change of another domain is noticed."""
    around = Surroundings()
    resolver = make_resolver(around, entries=1_000)
    tarpits = [parse_domain(f"tarpit{number}.test") for number in range(300)]
    for domain in (*tarpits, GOOD):
        around.publish(domain)
        await look_up(resolver, domain)
    around.now += 300
    around.https.hold()
    for domain in tarpits:
        around.records[domain] = found("b")
        assert resolver.cached(domain)
    await around.gets.total_reached(301 + 300)
    around.records[GOOD] = found("b")
    assert resolver.cached(GOOD)
    await around.gets.reached(GOOD, 2)
    await resolver.close()


async def test_tarpits_do_not_delay_other_look_ups_at_the_limit_of_attempts() -> None:
    """Rechecks take half of the attempts at most, however few there are."""
    around = Surroundings()
    resolver = make_resolver(around, attempts=10)
    domains = [parse_domain(f"d{number}.test") for number in range(20)]
    for domain in domains:
        around.publish(domain)
        await look_up(resolver, domain)
    around.now += 300
    around.dns.hold()
    for domain in domains:
        assert resolver.cached(domain)
    await around.queries.total_reached(25)
    waiting = asyncio.ensure_future(find_state(resolver, parse_domain("new.test")))
    await around.queries.reached(parse_domain("new.test"))
    around.records[parse_domain("new.test")] = NoRecordError("NXDOMAIN")
    around.dns.release()
    assert await waiting
    await resolver.close()


async def test_clients_that_take_all_attempts_delay_no_recheck_and_no_renewal() -> None:
    """A client without a quota asks for silent names without end; an id change is noticed (B12)."""
    around = Surroundings()
    resolver = make_resolver(around, attempts=10)
    for domain in (GOOD, OTHER):
        around.publish(domain)
        await look_up(resolver, domain)
    around.now += 300
    around.dns.hold()
    for number in range(20):
        client = Client(Owner("192.0.2.1"), number)
        resolver.find(parse_domain(f"silent{number}.test"), client=client)
    await around.queries.total_reached(12)
    assert resolver.under_way == 10
    assert resolver.cached(GOOD)
    renewal = asyncio.create_task(resolver.renew(OTHER))
    await around.queries.reached(GOOD, 2)
    await around.queries.reached(OTHER, 2)
    assert resolver.under_way == 10
    await resolver.close()
    await renewal
