"""The reply to Postfix for a state (design "Reply"; postfix.md "The policy text")."""

import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import (
    DaneOutcome,
    Host,
    HostState,
    MxState,
    Verdict,
    after_verdict,
)
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State, after_discovery, restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    PLAIN,
    DaneRule,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
    compose,
)

DOMAIN = parse_domain("good.test")
TLSRPT = ReplyFormat(tlsrpt=True)
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx1.good.test\r\nmx: *.Good.test\r\nmax_age: 9\r\n"


def reply_for(text: str, reply_format: ReplyFormat) -> Reply:
    """Return the reply for a domain with this policy."""
    policy = parse_policy(text.encode())
    return compose(DOMAIN, restored(policy, PolicyId("a"), 0, 0), reply_format)


def fullest(text: str, reply_format: ReplyFormat) -> str:
    """Return the fullest variant of the reply, which must be a policy."""
    reply = reply_for(text, reply_format)
    assert isinstance(reply, Found)
    return reply.variants[0]


def test_enforce() -> None:
    """Mode enforce becomes level secure, with the patterns in Postfix's form (A1, Q4)."""
    assert fullest(GOOD, PLAIN) == "secure match=mx1.good.test:.good.test servername=hostname"


def test_old_postfix() -> None:
    """A map can leave out servername=, for Postfix before 3.4."""
    old = ReplyFormat(servername=False)
    assert fullest(GOOD, old) == "secure match=mx1.good.test:.good.test"


def test_tlsrpt() -> None:
    """The reply with TLSRPT attributes is exactly what Postfix 3.10 was seen to accept (L8, L9)."""
    assert fullest(GOOD, TLSRPT) == (
        "secure match=mx1.good.test:.good.test servername=hostname policy_type=sts "
        "policy_domain=good.test mx_host_pattern=mx1.good.test mx_host_pattern=*.good.test "
        "{ policy_string = version: STSv1 } { policy_string = mode: enforce } "
        "{ policy_string = mx: mx1.good.test } { policy_string = mx: *.Good.test } "
        "{ policy_string = max_age: 9 }"
    )


def test_variants_lose_the_least_important_first() -> None:
    """The shorter variants have no policy strings, then no TLSRPT attributes."""
    reply = reply_for(GOOD, TLSRPT)
    assert isinstance(reply, Found)
    full, attributes, secure = reply.variants
    assert full.startswith(attributes + " { policy_string")
    assert attributes.startswith(secure + " policy_type=sts")
    assert secure == fullest(GOOD, PLAIN)


def test_patterns_are_sent_once_in_order() -> None:
    """Duplicates are left out; case does not matter."""
    text = GOOD.replace("max_age", "mx: MX1.good.test\nmx: a.test\nmax_age")
    assert "match=mx1.good.test:.good.test:a.test " in fullest(text, PLAIN)


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_modes_that_are_not_enforced(mode: str) -> None:
    """Modes testing and none leave the administrator's own level in force (A2, A3)."""
    assert reply_for(GOOD.replace("enforce", mode), TLSRPT) is NOT_FOUND


def test_enforce_testing() -> None:
    """A map can treat testing as enforce, but never none."""
    strict = ReplyFormat(enforce_testing=True)
    assert fullest(GOOD.replace("enforce", "testing"), strict) == fullest(GOOD, PLAIN)
    assert reply_for(GOOD.replace("enforce", "none"), strict) is NOT_FOUND


def test_absence() -> None:
    """A domain without a policy is not found (C4)."""
    absent = after_discovery(None, NoRecordError("NXDOMAIN"), 0)
    assert isinstance(absent, State)
    assert compose(DOMAIN, absent, TLSRPT) is NOT_FOUND


@pytest.mark.parametrize("value", ["a}b", "{a", "a{ policy_failure = x }b", "\u0085", "\u009b31m"])
def test_lines_that_could_break_out_are_not_sent(value: str) -> None:
    """A line with a brace or a control character is not sent as policy_string."""
    line = fullest(GOOD + f"x: {value}\n", TLSRPT)
    assert line == fullest(GOOD, TLSRPT)


def test_tabs_are_sent_as_blanks() -> None:
    """A policy may have a TAB after the colon, which would split the attribute."""
    assert "{ policy_string = mode: enforce }" in fullest(
        GOOD.replace("mode: ", "mode:\t").replace("enforce", "enforce\t"), TLSRPT
    )


@given(st.binary(max_size=80))
def test_the_attributes_are_ours_for_any_policy(extra: bytes) -> None:
    """No text of a policy adds, ends or renames an attribute."""
    try:
        policy = parse_policy(GOOD.encode() + extra)
    except InvalidPolicyError:
        return
    reply = compose(DOMAIN, restored(policy, PolicyId("a"), 0, 0), TLSRPT)
    if not isinstance(reply, Found):
        return
    assert not re.search(r"[\x00-\x1f\x7f]", reply.variants[0])
    outside = re.sub(r"\{ policy_string = [^{}]+ \}", "", reply.variants[0]).split()
    names = {word.partition("=")[0] for word in outside}
    assert names <= {"secure", "match", "servername", "policy_type", "policy_domain"} | {
        "mx_host_pattern"
    }


def verdict(*states: HostState) -> Verdict:
    """Return the verdict on a domain with a signed MX RRset and hosts in these states."""
    hosts = tuple(Host(f"mx{n}.good.test", s, f"TLSA of mx{n}") for n, s in enumerate(states))
    return after_verdict(None, DaneOutcome(MxState.SECURE, "MX: signed", hosts, 300), 0)


def mx(state: MxState) -> Verdict:
    """Return the verdict after a look-up with this MX RRset and no hosts."""
    return after_verdict(None, DaneOutcome(state, "MX: step", (), 300), 0)


WITH_POLICY = restored(parse_policy(GOOD.encode()), PolicyId("a"), 0, 0)
WITHOUT = after_discovery(None, NoRecordError("NXDOMAIN"), 0)
SECURE = compose(DOMAIN, WITH_POLICY, TLSRPT)
DANE, DANE_ONLY = Found(("dane",)), Found(("dane-only",))
USABLE, UNUSABLE = HostState.USABLE, HostState.UNUSABLE


@pytest.mark.parametrize(
    ("given", "answer", "with_policy", "without"),
    [
        (verdict(USABLE, USABLE), "dane-only", DANE_ONLY, DANE_ONLY),
        (verdict(USABLE, USABLE), "dane", DANE, DANE),
        (verdict(USABLE, USABLE), "yield", NOT_FOUND, NOT_FOUND),
        (verdict(USABLE, HostState.ABSENT), "dane-only", DANE, DANE),
        (verdict(USABLE, HostState.FAILED), "dane-only", DANE, DANE),
        (verdict(USABLE, HostState.ABSENT), "dane", DANE, DANE),
        (verdict(USABLE, HostState.ABSENT), "yield", NOT_FOUND, NOT_FOUND),
        (verdict(UNUSABLE, HostState.ABSENT), "dane-only", SECURE, DANE),
        (verdict(UNUSABLE), "dane", SECURE, DANE),
        (verdict(UNUSABLE), "yield", SECURE, NOT_FOUND),
        (verdict(HostState.ABSENT), "dane-only", SECURE, NOT_FOUND),
        (verdict(), "dane-only", SECURE, NOT_FOUND),
        (mx(MxState.INSECURE), "dane-only", SECURE, NOT_FOUND),
        (mx(MxState.FAILED), "dane-only", SECURE, NOT_FOUND),
        (None, "dane-only", SECURE, NOT_FOUND),
    ],
)
def test_dane(
    given: Verdict | None,
    answer: Literal["dane-only", "dane", "yield"],
    with_policy: Reply,
    without: Reply,
) -> None:
    """DANE takes precedence over a policy; its reply is one word in every format (A5)."""
    rule = DaneRule(answer)
    assert isinstance(WITHOUT, State)
    assert compose(DOMAIN, WITH_POLICY, TLSRPT, given, rule) == with_policy
    assert compose(DOMAIN, WITHOUT, TLSRPT, given, rule) == without


def test_a_failure_of_dane_defers_with_its_reason() -> None:
    """If the MX RRset is signed and later queries fail, mail is deferred (T5)."""
    failure = verdict(HostState.ABSENT, HostState.FAILED)
    told = compose(DOMAIN, WITH_POLICY, PLAIN, failure)
    assert told == TryAgain("DANE: DNS failure for good.test: TLSA of mx1")


def test_on_request_the_policy_decides_after_a_dane_failure() -> None:
    """With on_failure mta_sts no mail is held back for a failure."""
    rule = DaneRule(defer=False)
    assert compose(DOMAIN, WITH_POLICY, TLSRPT, verdict(HostState.FAILED), rule) == SECURE


def test_a_long_reason_of_dane_is_cut() -> None:
    """With names of any length in a chain, the reply fits both protocols."""
    long = DaneOutcome(MxState.SECURE, "MX", (Host("mx", HostState.FAILED, "x" * 2000),), 300)
    told = compose(DOMAIN, WITH_POLICY, PLAIN, after_verdict(None, long, 0))
    assert isinstance(told, TryAgain)
    assert len(told.reason) == 500
