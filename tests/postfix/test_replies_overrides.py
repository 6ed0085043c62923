"""Exceptions and trial: what is answered at once, for how long, and by which keys."""

import logging
from typing import Final

import pytest

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.postfix.answers import AnswerRules
from postfix_mta_sts.postfix.protocol import tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, STRICT, ReplyFormat
from postfix_mta_sts.resolver.fairness import Client, Owner
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source
from tests.support.exceptions import HOUR, configured, exception
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask, make_reply_cache
from tests.support.resolvers import look_up, make_resolver, settled, wait_for_all, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, signed

GET: Final = b"get good.test\n"
PIN: Final = ("mx9.good.test", "*.pin.test")
PINNED: Final = b"59:OK secure match=mx9.good.test:.pin.test servername=hostname,"


def table(*exceptions: PolicyException) -> Exceptions:
    """Exceptions that commands have added."""
    return Exceptions(added=configured(*exceptions))


def on_trial(_: str) -> ReplyFormat:
    """The format of a map that is on trial."""
    return ReplyFormat(trial=True)


def framed(key: str) -> bytes:
    """A request in the map `postfix`."""
    text = f"postfix {key}".encode()
    return b"%d:%b," % (len(text), text)


def silent() -> Surroundings:
    """A domain with an enforced policy, whose DNS says nothing."""
    around = Surroundings()
    around.publish()
    around.dns.hold()
    around.dane.hold()
    return around


AT_ONCE: Final = [
    (exception(use=Use.IGNORE), NOT_FOUND),
    (exception(use=Use.MAY), b"6:OK may,"),
    (exception(use=Use.ENCRYPT), b"10:OK encrypt,"),
    (exception(use=Use.PIN, mx=PIN), PINNED),
]


@pytest.mark.parametrize(("found", "reply"), AT_ONCE)
async def test_a_dead_dns_does_not_delay_an_exception(found: PolicyException, reply: bytes) -> None:
    """Without DANE it needs nothing that is looked up; nor is mail held for a dead DNS."""
    cache = make_reply_cache(silent(), exceptions=table(found), defer=True)
    assert cache.reply(REQUEST) == reply


async def test_a_dead_dns_does_not_delay_a_trial() -> None:
    """Nothing is held, whatever `dns.on_failure` says; by both protocols."""
    assert make_reply_cache(silent(), reply_format=on_trial, defer=True).reply(REQUEST) == NOT_FOUND
    cache = make_reply_cache(silent(), tcp_table, on_trial, defer=True)
    assert cache.reply(GET) == b"500 not%20found\n"


async def test_an_exception_that_ignores_dane_waits_for_nothing() -> None:
    """Otherwise the verdict decides first, and is waited for, until it is known."""
    around = silent()
    ignores, respects = (exception(use=Use.MAY, ignores_dane=each) for each in (True, False))
    assert make_reply_cache(around, rule=STRICT, exceptions=table(ignores)).reply(REQUEST) == (
        b"6:OK may,"
    )
    cache = make_reply_cache(around, rule=STRICT, exceptions=table(respects))
    assert not isinstance(cache.reply(REQUEST), bytes)
    assert cache.reply(framed("good.test:587")) == b"6:OK may,"  # DANE has no say there


async def test_a_verdict_that_is_known_is_enough() -> None:
    """The policy has expired, and the DNS is dead: the exception is answered without a look-up."""
    around = Surroundings(verdicts={GOOD: signed(HostState.ABSENT, ttl=80_000)})
    around.publish(max_age=600)
    resolver = make_resolver(around)
    resolver.use_dane(around.look_up_dane)
    await look_up(resolver)
    around.now += 2 * HOUR
    around.dns.hold()
    around.dane.hold()
    cache = make_reply_cache(
        around, resolver=resolver, rule=STRICT, exceptions=table(exception(use=Use.MAY))
    )
    assert await ask(cache) == b"6:OK may,"
    await resolver.close()


async def test_dane_decides_before_an_exception() -> None:
    """A domain with DANE stays as it is, on trial, too, unless the administrator names DANE."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    for found in (None, *(each for each, _ in AT_ONCE)):
        rules = table(found) if found else Exceptions()
        for reply_format in (lambda _: PLAIN, on_trial):
            cache = make_reply_cache(
                around, reply_format=reply_format, rule=STRICT, exceptions=rules
            )
            assert await ask(cache) == b"12:OK dane-only,"


async def test_the_end_of_an_exception_needs_no_network() -> None:
    """The policy was looked up behind the reply, and is answered from that second on."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    rules = table(exception(lasts=60))
    cache = make_reply_cache(around, resolver=resolver, exceptions=rules)
    assert cache.reply(REQUEST) == NOT_FOUND
    await settled()
    await wait_for_end(resolver)
    around.dns.hold()
    around.now = START + 59.9
    assert await ask(cache) == NOT_FOUND
    assert cache.cached(REQUEST) == NOT_FOUND
    around.now = START + 60
    assert cache.cached(REQUEST) is None
    assert cache.reply(REQUEST) == SECURE
    assert cache.cached(REQUEST) == SECURE
    await resolver.close()


async def test_a_clock_that_is_set_back_before_the_end() -> None:
    """An exception is in force again: the refresher clears the cache when it sees such a clock."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around, exceptions=table(exception(lasts=60)))
    around.now = START + 61
    assert await ask(cache) == SECURE
    around.now = START + 50
    cache.clear()
    assert await ask(cache) == NOT_FOUND


async def test_another_table_of_exceptions() -> None:
    """It counts from the next request on, in both directions; no cached reply outlives it."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around)
    assert await ask(cache) == SECURE
    for rules, reply in (
        (AnswerRules(exceptions=table(exception("*.test"))), NOT_FOUND),
        (AnswerRules(exceptions=table(exception("*.test"), exception(use=Use.MAY))), b"6:OK may,"),
        (AnswerRules(), SECURE),
    ):
        cache.reconfigure(rules)
        assert cache.cached(REQUEST) is None
        assert await ask(cache) == reply
        assert cache.cached(REQUEST) == reply


async def test_an_exception_while_look_ups_wait() -> None:
    """A look-up that began before it is answered by it."""
    around = silent()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver)
    pending = cache.reply(REQUEST)
    assert not isinstance(pending, bytes)
    cache.reconfigure(AnswerRules(exceptions=table(exception(use=Use.MAY))))
    around.dns.release()
    assert pending.reply(await pending.result) == b"6:OK may,"


KEYS: Final = [
    "good.test", "GOOD.Test", "good.test.", "[good.test]", "[GOOD.test.]", "good.test:25",
    "good.test:587", "[good.test]:submission",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
async def test_every_key_of_a_domain(key: str) -> None:
    """An exception is for the Policy Domain that the key names, as a policy is."""
    cache = make_reply_cache(silent(), exceptions=table(exception(use=Use.MAY)))
    assert cache.reply(framed(key)) == b"6:OK may,"


@pytest.mark.parametrize(
    "key",
    ["B\u00dcCHER.test", "bu\u0308cher.test", "xn--bcher-kva.TEST.", "b\u00fccher\u3002test:25"],
)
async def test_keys_in_u_labels(key: str) -> None:
    """They name the domain of their A-labels, as the exception does, however either is written."""
    found = exception("b\u00fccher.test", use=Use.MAY)
    cache = make_reply_cache(silent(), exceptions=table(found))
    assert cache.reply(framed(key)) == b"6:OK may,"


@pytest.mark.parametrize(
    "key", [".good.test", ".test", "[192.0.2.1]", "192.0.2.1", "localhost", "", "good.test:"]
)
async def test_keys_without_a_policy_domain(key: str) -> None:
    """They are not found as ever: a parent's key must not let more through than the exception."""
    around = Surroundings()
    rules = table(exception("*.test", use=Use.MAY), exception(use=Use.MAY))
    cache = make_reply_cache(around, exceptions=rules)
    assert cache.reply(framed(key)) == NOT_FOUND
    assert around.queries.total == 0


@pytest.mark.parametrize(
    "key", ["xgood.test", "good.test.test", "sub.good.test", "good.testing", "g\u043e\u043ed.test"]
)
async def test_a_name_that_only_looks_like_that_of_an_exception(key: str) -> None:
    """Its own policy counts: a domain below, a longer name, Cyrillic letters."""
    around = Surroundings()
    domain = parse_domain(key)
    around.publish(domain)
    cache = make_reply_cache(around, exceptions=table(exception(use=Use.MAY)))
    assert await ask(cache, framed(key)) == SECURE


async def test_a_key_that_is_not_mapped_on_trial(caplog: pytest.LogCaptureFixture) -> None:
    """It is not found, and no warning says that mail is deferred."""
    caplog.set_level(logging.WARNING)
    counters = Counters()
    cache = make_reply_cache(Surroundings(), reply_format=on_trial, counters=counters)
    assert cache.reply(framed("gro\u1e9e.test")) == NOT_FOUND
    assert counters.answers[Answer.NOT_FOUND, Source.NONE] == 1
    assert caplog.messages == []


async def test_a_pin_is_no_policy_of_the_domain() -> None:
    """It is answered for any policy, and none, and never as one that TLS reports could name."""
    around = Surroundings()
    cache = make_reply_cache(
        around,
        reply_format=lambda _: ReplyFormat(tlsrpt=True),
        exceptions=table(exception(use=Use.PIN, mx=PIN)),
    )
    assert await ask(cache) == PINNED
    around.publish()
    cache.clear()
    assert await ask(cache) == PINNED


async def test_a_pin_too_long_for_the_protocol(caplog: pytest.LogCaptureFixture) -> None:
    """Mail waits, as for such a policy: less than the pin must not be enforced."""
    long = tuple(f"{n}{'a' * 55}.{'.'.join(['a' * 63] * 2)}.{'b' * 40}.test" for n in range(20))
    rules = table(exception(use=Use.PIN, mx=long))
    reply = make_reply_cache(Surroundings(), exceptions=rules).reply(REQUEST)
    assert isinstance(reply, bytes)
    assert b"OK secure match=0a" in reply
    reply = make_reply_cache(Surroundings(), tcp_table, exceptions=rules).reply(GET)
    assert reply == b"400 the%20TLS%20policy%20is%20too%20long%20for%20this%20protocol\n"
    assert [r.levelno for r in caplog.records if r.levelno > logging.INFO] == [logging.ERROR]


async def test_a_fault_of_ours_is_not_reported_where_it_decides_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No warning says that mail went without a policy, if an exception decides."""
    caplog.set_level(logging.WARNING)
    around = Surroundings(verdicts={GOOD: signed(HostState.ABSENT)})
    around.records[GOOD] = OwnFaultError("killed")
    resolver = make_resolver(around, timeout=0)
    resolver.use_dane(around.look_up_dane)
    around.dane.hold()
    for rules in (table(exception(use=Use.MAY)), Exceptions()):
        cache = make_reply_cache(around, resolver=resolver, rule=STRICT, exceptions=rules)
        await ask(cache)
        heard = [m for m in caplog.messages if "look-ups answered before" in m]
        assert len(heard) == (rules == Exceptions())
    await resolver.close()


async def test_look_ups_behind_replies_are_limited() -> None:
    """One for each domain, and not more than the limit: replies do not wait for them."""
    around = silent()
    resolver = make_resolver(around, attempts=20)
    cache = make_reply_cache(around, resolver=resolver, reply_format=on_trial)
    for n in range(40):
        for _ in range(3):
            assert cache.reply(framed(f"d{n}.test")) == NOT_FOUND
    await settled()
    assert resolver.under_way == 10
    around.dns.release()
    await wait_for_all(resolver)
    await settled()
    assert cache.reply(framed("d39.test")) == NOT_FOUND
    await settled()
    assert around.queries.total == 11


async def test_look_ups_behind_replies_of_one_connection() -> None:
    """None ends another: a connection that waits for none asks for many, however slow they are."""
    around = silent()
    resolver = make_resolver(around)
    cache = make_reply_cache(around, resolver=resolver, reply_format=on_trial)
    client = Client(Owner("postfix"), 1)
    for n in range(5):
        assert cache.reply(framed(f"d{n}.test"), client) == NOT_FOUND
    await settled()
    assert resolver.under_way == 5
    around.dns.release()
    await wait_for_all(resolver)
