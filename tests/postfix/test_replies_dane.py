"""Replies to look-ups of domains with a DANE verdict."""

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.answers import AnswerRules
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask, make_reply_cache
from tests.support.surroundings import GOOD, UNANSWERED, Surroundings, signed

TLSA_UNANSWERED = DaneOutcome(
    MxState.SECURE, "MX: signed", (Host("mx1.good.test", HostState.FAILED, "TLSA: no answer"),)
)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (signed(), b"12:OK dane-only,"),
        (signed(HostState.UNUSABLE), SECURE),
        (signed(HostState.ABSENT), SECURE),
        (UNANSWERED, SECURE),
        (TLSA_UNANSWERED, b"53:TEMP DANE: DNS failure for good.test: TLSA: no answer,"),
    ],
)
async def test_dane_takes_precedence_over_the_policy(outcome: DaneOutcome, reply: bytes) -> None:
    """A domain with usable TLSA records is answered by DANE, any other by its policy."""
    around = Surroundings(verdicts={GOOD: outcome})
    around.publish()
    cache = make_reply_cache(around, rule=STRICT)
    assert await ask(cache) == reply
    assert cache.cached(REQUEST) == reply


async def test_dane_applies_to_mx_hosts_only() -> None:
    """A next-hop in brackets or with a port other than 25 is not what the verdict is about."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    cache = make_reply_cache(around, rule=STRICT)
    assert await ask(cache) == b"12:OK dane-only,"
    assert await ask(cache, b"19:postfix [good.test],") == SECURE
    assert await ask(cache, b"21:postfix good.test:587,") == SECURE


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [(signed(), b"12:OK dane-only,"), (UNANSWERED, b"TEMP MTA-STS: DNS failure")],
)
async def test_dane_takes_precedence_over_a_failed_txt_query(
    outcome: DaneOutcome, reply: bytes
) -> None:
    """A DANE domain is answered by DANE even if mail is deferred on DNS failures."""
    around = Surroundings(verdicts={GOOD: outcome})
    around.records[GOOD] = DnsFailureError("no answer")
    cache = make_reply_cache(around, defer=True, rule=STRICT)
    assert reply in await ask(cache)


async def test_a_new_rule() -> None:
    """After `reconfigure` cached replies are made again by the new rule, without a look-up."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    cache = make_reply_cache(around, rule=STRICT)
    for rule, reply in (
        (STRICT, b"12:OK dane-only,"),
        (DaneRule("dane"), b"7:OK dane,"),
        (DaneRule("yield"), NOT_FOUND),
        (None, SECURE),
    ):
        cache.reconfigure(AnswerRules(rule))
        assert cache.cached(REQUEST) is None
        assert await ask(cache) == reply
    assert (around.dane_queries[GOOD], around.gets[GOOD]) == (1, 1)
