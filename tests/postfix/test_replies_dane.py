"""DANE's verdict in the replies."""

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, answered, answers_in
from tests.support.surroundings import GOOD, SILENT, Surroundings, signed

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
