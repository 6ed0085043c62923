"""Request bytes → reply bytes; what was answered before needs no second thought."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, STRICT, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire, WireError
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Answer, Counters, Source
from postfix_mta_sts.store import LastAsked
from tests.support.surroundings import GOOD, SILENT, Surroundings, found, signed

REQUEST = b"17:postfix good.test,"
SECURE = b"49:OK secure match=mx1.good.test servername=hostname,"
NOT_FOUND = b"9:NOTFOUND ,"


def answers_in(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    defer: bool = False,
    rule: DaneRule | None = None,
    counters: Counters | None = None,
) -> ReplyCache:
    """Answers with a resolver of their own in these surroundings; with a `rule`, of DANE too."""
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100)
    resolver.use_dane(around.look_up_dane if rule else None)
    return ReplyCache(
        wire,
        reply_format,
        resolver,
        lambda: around.now,
        entries=100,
        defer=defer,
        rule=rule,
        counters=counters,
    )


async def answered(answers: ReplyCache, request: bytes = REQUEST) -> bytes:
    """The reply, as the server gets it."""
    reply = answers.cached(request) or answers.reply(request)
    return reply if isinstance(reply, bytes) else reply.reply(await reply.result)


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


async def test_another_key_of_the_same_domain() -> None:
    """Is answered at once from the domain's state."""
    around = Surroundings()
    around.publish()
    answers = answers_in(around)
    await answered(answers)
    assert answers.reply(b"22:postfix [GOOD.test]:25,") == SECURE
    assert around.queries.total == 1


@pytest.mark.parametrize("key", [b".good.test", b"[192.0.2.1]", b"localhost", b"", b"\xff.test"])
async def test_keys_without_a_policy_domain(key: bytes) -> None:
    """NOTFOUND at once, and no look-up of any kind (D17, D19)."""
    around = Surroundings()
    answers = answers_in(around)
    request = b"%d:postfix %b," % (8 + len(key), key)
    assert answers.reply(request) == NOT_FOUND
    assert around.queries.total == 0


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


async def test_a_policy_that_may_not_be_kept() -> None:
    """max_age 0: applied to the look-up that fetched it, and fetched again for the next."""
    around = Surroundings()
    around.publish(max_age=0)
    answers = answers_in(around)
    assert [await answered(answers), await answered(answers)] == [SECURE, SECURE]
    assert around.gets.total == 2


async def test_dress_by_map_name() -> None:
    """The map name chooses the dress; replies do not mix."""
    around = Surroundings()
    around.publish()
    reply_formats = {"QUERYwithTLSRPT": ReplyFormat(tlsrpt=True)}
    answers = answers_in(around, reply_format=lambda name: reply_formats.get(name, PLAIN))
    assert b"policy_type=sts" in await answered(answers, b"25:QUERYwithTLSRPT good.test,")
    assert await answered(answers, b"15:QUERY good.test,") == SECURE
    assert b"policy_type=sts" in await answered(answers, b"25:QUERYwithTLSRPT good.test,")


async def test_dns_failure() -> None:
    """Not found, unless the administrator would rather wait (D20, promise 1)."""
    around = Surroundings()
    around.records[GOOD] = DnsFailureError("SERVFAIL from the name server")
    assert await answered(answers_in(around)) == NOT_FOUND
    deferred = await answered(answers_in(around, defer=True))
    assert deferred == b"70:TEMP MTA-STS: DNS failure for good.test: SERVFAIL from the name server,"


async def test_not_known_in_time() -> None:
    """Not found, and not remembered."""
    around = Surroundings()
    around.dns.hold()
    resolver = Resolver(around.sources(), lookup_timeout=0, entries=100)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=9)
    assert await answered(answers) == NOT_FOUND
    assert answers.cached(REQUEST) is None
    await resolver.close()


async def test_what_is_no_request() -> None:
    """A frame without a request is the server's to refuse."""
    with pytest.raises(WireError):
        answers_in(Surroundings()).reply(b"7:postfix,")


async def test_a_policy_too_long_for_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    """Is deferred, as enforce wants it, and logged."""
    around = Surroundings()
    mx = "".join(f"mx: mx{n}.good.test\n" for n in range(400))
    text = f"version: STSv1\nmode: enforce\nmax_age: 600\n{mx}"
    around.records[GOOD] = found()
    around.policies[GOOD] = parse_policy(text.encode())
    assert (await answered(answers_in(around, tcp_table), b"get good.test\n"))[:4] == b"400 "
    assert [r.levelno for r in caplog.records if r.levelno > logging.INFO] == [logging.ERROR]
    assert (await answered(answers_in(around))).count(b":mx") == 399


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


HALF_SILENT = DaneOutcome(
    MxState.SECURE, "MX: signed", (Host("mx1.good.test", HostState.FAILED, "TLSA: no answer"),)
)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (signed(), b"12:OK dane-only,"),
        (signed(HostState.UNUSABLE), SECURE),
        (signed(HostState.ABSENT), SECURE),
        (SILENT, SECURE),
        (HALF_SILENT, b"53:TEMP DANE: DNS failure for good.test: TLSA: no answer,"),
    ],
)
async def test_dane_before_the_policy(outcome: DaneOutcome, reply: bytes) -> None:
    """A policy is told where DANE has nothing to say, and is not overridden where it has."""
    around = Surroundings(verdicts={GOOD: outcome})
    around.publish()
    answers = answers_in(around, rule=STRICT)
    assert await answered(answers) == reply
    assert answers.cached(REQUEST) == reply


async def test_dane_is_about_mx_hosts() -> None:
    """A name in brackets, or another port, is no way on which a verdict was found."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    answers = answers_in(around, rule=STRICT)
    assert await answered(answers) == b"12:OK dane-only,"
    assert await answered(answers, b"19:postfix [good.test],") == SECURE
    assert await answered(answers, b"21:postfix good.test:587,") == SECURE


@pytest.mark.parametrize(
    ("outcome", "reply"), [(signed(), b"12:OK dane-only,"), (SILENT, b"TEMP MTA-STS: DNS failure")]
)
async def test_dane_before_a_dns_that_does_not_say(outcome: DaneOutcome, reply: bytes) -> None:
    """A DANE domain whose TXT record cannot be had is a DANE domain all the same."""
    around = Surroundings(verdicts={GOOD: outcome})
    around.records[GOOD] = DnsFailureError("no answer")
    answers = answers_in(around, defer=True, rule=STRICT)
    assert reply in await answered(answers)


async def test_another_rule() -> None:
    """From the change on, what was remembered too is answered by the new rule."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    answers = answers_in(around, rule=STRICT)
    for rule, reply in (
        (STRICT, b"12:OK dane-only,"),
        (DaneRule("dane"), b"7:OK dane,"),
        (DaneRule("yield"), NOT_FOUND),
        (None, SECURE),
    ):
        answers.reconfigure(defer=False, rule=rule, entries=100)
        assert answers.cached(REQUEST) is None
        assert await answered(answers) == reply
    assert (around.judged[GOOD], around.gets[GOOD]) == (1, 1)
