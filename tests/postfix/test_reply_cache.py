"""What was answered before needs no second thought; and it is counted."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Answer, Counters, Source
from postfix_mta_sts.store import LastAsked
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, answered, answers_in
from tests.support.surroundings import GOOD, Surroundings


async def test_the_second_time_from_memory() -> None:
    """The same request finds the same bytes, with neither parsing nor waiting."""
    around = Surroundings()
    around.publish()
    answers = answers_in(around)
    assert answers.cached(REQUEST) is None
    first = await answered(answers)
    assert first == SECURE
    assert answers.cached(REQUEST) is first
    assert (around.queries.total, around.gets.total) == (1, 1)


async def test_absences_share_one_reply() -> None:
    """However many domains have none."""
    answers = answers_in(Surroundings())
    replies = {id(await answered(answers, b"15:postfix a%d.test," % n)) for n in range(9)}
    assert len(replies) == 1


async def test_memory_ends_with_the_recheck() -> None:
    """From then on the state is looked at again, which checks behind the reply."""
    around = Surroundings()
    around.publish()
    answers = answers_in(around)
    await answered(answers)
    around.now += 299
    assert answers.cached(REQUEST)
    around.now += 1
    assert answers.cached(REQUEST) is None
    assert answers.reply(REQUEST) == SECURE
    await around.queries.reached(GOOD, 2)


async def test_memory_ends_with_the_state() -> None:
    """A policy that was replaced is told to no one any more, at once (C10)."""
    around = Surroundings()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=9)
    await answered(answers)
    around.now += 60
    around.publish(policy_id="b", mode="none")
    assert answers.cached(REQUEST) == SECURE
    await resolver.renew(GOOD)
    assert answers.cached(REQUEST) is None
    assert await answered(answers) == NOT_FOUND


async def test_memory_is_bounded() -> None:
    """The least recently used reply goes first."""
    around = Surroundings()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=2)
    requests = [b"15:postfix a%d.test," % n for n in range(3)]
    await answered(answers, requests[0])
    await answered(answers, requests[1])
    await answered(answers, requests[0])
    await answered(answers, requests[2])
    assert [answers.cached(r) is not None for r in requests] == [True, False, True]


async def test_forget() -> None:
    """After a jump of the clock nothing is repeated unseen."""
    answers = answers_in(Surroundings())
    await answered(answers)
    answers.clear()
    assert answers.cached(REQUEST) is None


async def test_evicted_from_the_resolver() -> None:
    """A reply whose state is out of memory is looked up again: it could no longer be replaced."""
    around = Surroundings()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=1)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=9)
    await answered(answers)
    await resolver.look_up(parse_domain("other.test"))
    assert answers.cached(REQUEST) is None
    assert await answered(answers) == SECURE
    assert around.gets.total == 1


async def test_answers_are_counted() -> None:
    """By what was told and where it came from; those from memory as soon as they are counted."""
    around, counters = Surroundings(), Counters()
    around.publish()
    around.records[parse_domain("silent.test")] = DnsFailureError("SERVFAIL")
    answers = answers_in(around, counters=counters, defer=True)
    for request in (REQUEST, REQUEST, b"18:postfix other.test,", b"19:postfix silent.test,"):
        await answered(answers, request)
    await answered(answers, b"22:postfix [GOOD.test]:25,")
    await answered(answers, b"17:postfix localhost,")
    for _ in range(3):
        assert answers.cached(REQUEST)
    await answers.count()
    assert counters.answers == {
        (Answer.FOUND, Source.NETWORK): 1,
        (Answer.FOUND, Source.MEMORY): 5,
        (Answer.NOT_FOUND, Source.NETWORK): 1,
        (Answer.TRY_AGAIN, Source.NETWORK): 1,
        (Answer.NOT_FOUND, Source.NONE): 1,
    }
    assert sum(counters.waited) == 3
    assert answers.entries == 4


@pytest.mark.parametrize("end", ["recheck", "forget", "evicted", "replaced"])
async def test_no_answer_is_lost_to_the_count(end: str) -> None:
    """Whatever ends a reply's time in memory, how often it was given is counted, once."""
    around, counters = Surroundings(), Counters()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9)
    answers = ReplyCache(
        socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=1, counters=counters
    )
    await answered(answers)
    resolver.usage.take()
    for _ in range(7):
        assert answers.cached(REQUEST)
    match end:
        case "recheck":
            around.now += 300
            assert answers.cached(REQUEST) is None
        case "forget":
            answers.clear()
        case "evicted":
            await answered(answers, b"18:postfix other.test,")
        case "replaced":
            answers.reply(REQUEST)
    await answers.count()
    assert counters.answers[Answer.FOUND, Source.MEMORY] == 7 + (end == "replaced")
    assert resolver.usage.take()[GOOD].times == 7 + (end == "replaced")


async def test_counting_gives_way() -> None:
    """Between a thousand entries and the next, others have their turn."""
    around, counters = Surroundings(), Counters()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9)
    answers = ReplyCache(
        socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=9_999, counters=counters
    )
    await resolver.look_up(GOOD)
    requests = [b"%d:m%d good.test," % (len(b"m%d good.test" % n), n) for n in range(2_000)]
    for request in requests:
        answers.reply(request)
        answers.cached(request)
    counting = asyncio.create_task(answers.count())
    await asyncio.sleep(0)
    assert counters.answers[Answer.NOT_FOUND, Source.MEMORY] == 2_000 + 1_000
    await counting
    assert counters.answers[Answer.NOT_FOUND, Source.MEMORY] == 2_000 + 2_000


async def test_times_asked_are_told_to_the_resolver() -> None:
    """Of domains that have a policy, also of what it never saw."""
    around = Surroundings()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=9)
    for request in (REQUEST, REQUEST, REQUEST, *[b"18:postfix other.test,"] * 2):
        await answered(answers, request)
    around.now += 59
    await answers.count()
    assert resolver.usage.take() == {GOOD: LastAsked(around.now, 3)}
    await answers.count()
    assert resolver.usage.take() == {}
