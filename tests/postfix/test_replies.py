"""Request bytes → reply bytes."""

import logging

import pytest

from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import WireError
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, answered, answers_in
from tests.support.surroundings import GOOD, Surroundings, found


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
