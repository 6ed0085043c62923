"""Cached replies: how long they are valid, and how their uses are counted."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source
from postfix_mta_sts.store import LastAsked
from tests.support.clients import request as make_request
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask, make_reply_cache
from tests.support.resolvers import find_state, make_resolver
from tests.support.surroundings import GOOD, Surroundings


async def test_the_second_reply_comes_from_the_cache() -> None:
    """The same request gets the same object, without parsing or a look-up."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around)
    assert cache.cached(REQUEST) is None
    first = await ask(cache)
    assert first == SECURE
    assert cache.cached(REQUEST) is first
    assert (around.queries.total, around.gets.total) == (1, 1)


async def test_absences_share_one_reply() -> None:
    """All "not found" replies are one object."""
    cache = make_reply_cache(Surroundings())
    replies = {id(await ask(cache, b"15:postfix a%d.test," % n)) for n in range(9)}
    assert len(replies) == 1


async def test_a_reply_is_valid_until_the_recheck() -> None:
    """After that the state is checked again, and a recheck starts in the background."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around)
    await ask(cache)
    around.now += 299
    assert cache.cached(REQUEST)
    around.now += 1
    assert cache.cached(REQUEST) is None
    assert cache.reply(REQUEST) == SECURE
    await around.queries.reached(GOOD, 2)


async def test_a_reply_is_valid_until_the_state_changes() -> None:
    """The reply from a replaced policy is not given again (C10)."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver)
    await ask(cache)
    around.now += 60
    around.publish(policy_id="b", mode="none")
    assert cache.cached(REQUEST) == SECURE
    await resolver.renew(GOOD)
    assert cache.cached(REQUEST) is None
    assert await ask(cache) == NOT_FOUND


async def test_a_reply_whose_state_was_evicted() -> None:
    """It is looked up again: a new state could no longer replace it."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around, entries=1)
    cache = make_reply_cache(around, resolver=resolver)
    await ask(cache)
    await find_state(resolver, parse_domain("other.test"))
    assert cache.cached(REQUEST) is None
    assert await ask(cache) == SECURE
    assert around.gets.total == 1


async def test_the_cache_is_bounded() -> None:
    """The least recently used reply is evicted first."""
    around = Surroundings()
    cache = make_reply_cache(around, entries=2)
    requests = [b"15:postfix a%d.test," % n for n in range(3)]
    await ask(cache, requests[0])
    await ask(cache, requests[1])
    await ask(cache, requests[0])
    await ask(cache, requests[2])
    assert [cache.cached(r) is not None for r in requests] == [True, False, True]


async def test_clear() -> None:
    """After a jump of the clock every reply is made again."""
    cache = make_reply_cache(Surroundings())
    await ask(cache)
    cache.clear()
    assert cache.cached(REQUEST) is None


async def test_replies_of_before_a_clear_do_not_add_up() -> None:
    """A program that adds a thousand exceptions clears the cache as often; memory stays."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver)
    await ask(cache)
    entry = resolver.entry(GOOD)
    assert entry
    size = entry.size
    for _ in range(10):
        cache.clear()
        await ask(cache)
        assert cache.cached(REQUEST) == SECURE
    assert (len(entry.made), entry.size) == (1, size)


async def test_replies_are_counted() -> None:
    """By kind and source; uses of cached replies are added by `count`."""
    around, counters = Surroundings(), Counters()
    around.publish()
    around.records[parse_domain("unanswered.test")] = DnsFailureError("SERVFAIL")
    cache = make_reply_cache(around, counters=counters, defer=True)
    for request in (REQUEST, REQUEST, b"18:postfix other.test,", b"23:postfix unanswered.test,"):
        await ask(cache, request)
    await ask(cache, b"22:postfix [GOOD.test]:25,")
    await ask(cache, b"17:postfix localhost,")
    for _ in range(3):
        assert cache.cached(REQUEST)
    await cache.count()
    assert counters.answers == {
        (Answer.FOUND, Source.NETWORK): 1,
        (Answer.FOUND, Source.MEMORY): 5,
        (Answer.NOT_FOUND, Source.NETWORK): 1,
        (Answer.TRY_AGAIN, Source.NETWORK): 1,
        (Answer.NOT_FOUND, Source.NONE): 1,
    }
    assert sum(counters.waited) == 3
    assert cache.entries == 4


@pytest.mark.parametrize("end", ["recheck", "cleared", "evicted", "replaced"])
async def test_every_use_of_a_reply_is_counted_once(end: str) -> None:
    """Also the uses since the last `count`, however the reply leaves the cache."""
    around, counters = Surroundings(), Counters()
    around.publish()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver, entries=1, counters=counters)
    await ask(cache)
    resolver.usage.take()
    for _ in range(7):
        assert cache.cached(REQUEST)
    match end:
        case "recheck":
            around.now += 300
            assert cache.cached(REQUEST) is None
        case "cleared":
            cache.clear()
        case "evicted":
            await ask(cache, b"18:postfix other.test,")
        case "replaced":
            cache.reply(REQUEST)
    await cache.count()
    assert counters.answers[Answer.FOUND, Source.MEMORY] == 7 + (end == "replaced")
    assert resolver.usage.take()[GOOD].times == 7 + (end == "replaced")


async def test_counting_lets_other_tasks_run() -> None:
    """After a slice of the replies the event loop runs other tasks, also if they were cleared."""
    around, counters = Surroundings(), Counters()
    resolver = make_resolver(around, entries=9_999)
    cache = make_reply_cache(around, resolver=resolver, entries=9_999, counters=counters)
    requests = [make_request(f"d{n}.test") for n in range(3 * SLICE)]
    for request in requests:
        await ask(cache, request)
        cache.cached(request)
    for part in (1, 2, 3):
        counting = asyncio.create_task(cache.count())
        await asyncio.sleep(0)
        assert counters.answers[Answer.NOT_FOUND, Source.MEMORY] == part * SLICE
        counting.cancel()
        cache.clear()
    await cache.count()
    assert cache._requests._cleared == []


async def test_uses_are_reported_to_the_resolver() -> None:
    """`usage` of domains with a policy includes cached replies, which the resolver does not see."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver)
    for request in (REQUEST, REQUEST, REQUEST, *[b"18:postfix other.test,"] * 2):
        await ask(cache, request)
    around.now += 59
    await cache.count()
    assert resolver.usage.take() == {GOOD: LastAsked(around.now, 3)}
    await cache.count()
    assert resolver.usage.take() == {}
