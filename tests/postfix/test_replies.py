"""Replies: from the bytes of a request to the bytes of its reply."""

import logging

import pytest

from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.policy import parse_stored_policy
from postfix_mta_sts.postfix.protocol import tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import WireError
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask, make_reply_cache
from tests.support.resolvers import make_resolver
from tests.support.surroundings import GOOD, Surroundings, found


async def test_another_key_of_the_same_domain() -> None:
    """It is answered at once from the state of the domain."""
    around = Surroundings()
    around.publish()
    cache = make_reply_cache(around)
    await ask(cache)
    assert cache.reply(b"22:postfix [GOOD.test]:25,") == SECURE
    assert around.queries.total == 1


@pytest.mark.parametrize("key", [b".good.test", b"[192.0.2.1]", b"localhost", b"", b"\xff.test"])
async def test_keys_without_a_policy_domain(key: bytes) -> None:
    """NOTFOUND at once, without a look-up of any kind (D17, D19)."""
    around = Surroundings()
    cache = make_reply_cache(around)
    request = b"%d:postfix %b," % (8 + len(key), key)
    assert cache.reply(request) == NOT_FOUND
    assert around.queries.total == 0


async def test_a_domain_that_cannot_be_mapped(caplog: pytest.LogCaptureFixture) -> None:
    """Postfix mapped it, so it may have a policy: try again, and one warning a minute (C9)."""
    caplog.set_level(logging.WARNING)
    around = Surroundings()
    cache = make_reply_cache(around)
    key = "gro\u1e9e.test".encode()
    replies = [await ask(cache, b"%d:postfix %b," % (8 + len(key), key)) for _ in range(3)]
    assert all(b":TEMP MTA-STS: not a domain name: U+1E9E is " in each for each in replies)
    text = r"domain without known A-labels, mail is deferred key=gro\u1e9e.test reason="
    assert [text in each for each in caplog.messages] == [True]
    assert around.queries.total == 0


async def test_a_policy_with_max_age_0() -> None:
    """It is used for the look-up that fetched it, and fetched again for the next."""
    around = Surroundings()
    around.publish(max_age=0)
    cache = make_reply_cache(around)
    assert [await ask(cache), await ask(cache)] == [SECURE, SECURE]
    assert around.gets.total == 2


async def test_the_map_name_selects_the_reply_format() -> None:
    """Cached replies of two map names do not mix."""
    around = Surroundings()
    around.publish()
    formats = {"QUERYwithTLSRPT": ReplyFormat(tlsrpt=True)}
    cache = make_reply_cache(around, reply_format=lambda name: formats.get(name, PLAIN))
    assert b"policy_type=sts" in await ask(cache, b"25:QUERYwithTLSRPT good.test,")
    assert await ask(cache, b"15:QUERY good.test,") == SECURE
    assert b"policy_type=sts" in await ask(cache, b"25:QUERYwithTLSRPT good.test,")


async def test_dns_failure() -> None:
    """Not found, or "try again" if the administrator prefers to defer mail (D20)."""
    around = Surroundings()
    around.records[GOOD] = DnsFailureError("SERVFAIL from the name server")
    assert await ask(make_reply_cache(around)) == NOT_FOUND
    deferred = await ask(make_reply_cache(around, defer=True))
    assert deferred == b"70:TEMP MTA-STS: DNS failure for good.test: SERVFAIL from the name server,"


async def test_the_lookup_timeout() -> None:
    """Not found, and not cached."""
    around = Surroundings()
    around.dns.hold()
    resolver = make_resolver(around, timeout=0)
    cache = make_reply_cache(around, resolver=resolver)
    assert await ask(cache) == NOT_FOUND
    assert cache.cached(REQUEST) is None
    await resolver.close()


async def test_a_frame_without_a_request() -> None:
    """The error goes to the server, which refuses the client."""
    with pytest.raises(WireError):
        make_reply_cache(Surroundings()).reply(b"7:postfix,")


async def test_a_policy_too_long_for_the_protocol(caplog: pytest.LogCaptureFixture) -> None:
    """Mail is deferred, as mode enforce requires, and an error is logged."""
    around = Surroundings()
    mx = "".join(f"mx: mx{n}.good.test\n" for n in range(400))
    text = f"version: STSv1\nmode: enforce\nmax_age: 600\n{mx}"
    around.records[GOOD] = found()
    around.policies[GOOD] = parse_stored_policy(text.encode())
    assert (await ask(make_reply_cache(around, tcp_table), b"get good.test\n"))[:4] == b"400 "
    assert [r.levelno for r in caplog.records if r.levelno > logging.INFO] == [logging.ERROR]
    assert (await ask(make_reply_cache(around))).count(b":mx") == 399
