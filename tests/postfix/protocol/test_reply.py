"""The reply to Postfix for a state (design "Reply"; postfix.md "The policy text")."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.decision import Decision, Knowledge, PolicyStep, from_memory
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, InvalidPolicyError
from postfix_mta_sts.mtasts.lifecycle import State, after_discovery, restored, unknown
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    PLAIN,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
    compose,
)
from postfix_mta_sts.values import replace

DOMAIN = parse_domain("good.test")
TLSRPT = ReplyFormat(tlsrpt=True)
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx1.good.test\r\nmx: *.Good.test\r\nmax_age: 9\r\n"


def reply_for(text: str, reply_format: ReplyFormat) -> Reply:
    """Return the reply for a domain with this policy."""
    state = restored(parse_policy(text.encode()), PolicyId("a"), 0, 0)
    return compose(DOMAIN, Decision.SECURE, from_memory(state), reply_format, 0)


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


NOTHING = Knowledge(None, PolicyStep.ANSWERED)


@pytest.mark.parametrize(
    ("decision", "reply"),
    [
        (Decision.NOT_FOUND, NOT_FOUND),
        (Decision.DANE, Found(("dane",))),
        (Decision.DANE_ONLY, Found(("dane-only",))),
        (Decision.TRY_AGAIN_DANE, TryAgain("DANE: DNS failure for good.test: no answer")),
    ],
)
def test_answers_without_a_policy(decision: Decision, reply: Reply) -> None:
    """Each is the same in every format; a DANE level has no TLSRPT attributes (A5)."""
    for reply_format in (PLAIN, TLSRPT):
        assert compose(DOMAIN, decision, NOTHING, reply_format, 0) == reply


def test_waiting_is_no_answer() -> None:
    """The caller must not ask for a reply before there is one."""
    with pytest.raises(ValueError, match="WAIT"):
        compose(DOMAIN, Decision.WAIT, NOTHING, PLAIN, 0)


UNANSWERED = after_discovery(None, DnsFailureError("SERVFAIL"), 0)
assert isinstance(UNANSWERED, State)


@pytest.mark.parametrize(
    ("knowledge", "reason"),
    [
        (from_memory(UNANSWERED), "DNS failure for good.test: SERVFAIL"),
        (Knowledge(None, PolicyStep.TXT_PENDING), "DNS failure for good.test: no answer in time"),
        (
            Knowledge(None, PolicyStep.UNREAD),
            "the policy of good.test could not be read in time",
        ),
        (Knowledge(None, PolicyStep.OWN_FAULT), "internal error for good.test; see the log"),
    ],
)
def test_why_mail_waits_for_the_policy(knowledge: Knowledge, reason: str) -> None:
    """The reason is what Postfix logs with the deferred mail."""
    reply = compose(DOMAIN, Decision.TRY_AGAIN_POLICY, knowledge, PLAIN, 0)
    assert reply == TryAgain(f"MTA-STS: {reason}")


@pytest.mark.parametrize("value", ["a}b", "{a", "a{ policy_failure = x }b", "\u0085", "\u009b31m"])
def test_lines_that_could_break_out_are_not_sent(value: str) -> None:
    """A line with a brace or a control character is not sent as policy_string."""
    line = fullest(GOOD + f"x: {value}\n", TLSRPT)
    assert line == fullest(GOOD, TLSRPT)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_cannot_fit_are_not_composed(end: str) -> None:
    """16,000 lines would be 400 KiB of text, and 17 ms in which nobody else is answered."""
    few, many = (fullest(GOOD + f"a:b{end}" * number, TLSRPT) for number in (1_000, 12_000))
    assert few.count("policy_string = a:b }") == 1_000
    assert "policy_string" not in many


def test_tabs_are_sent_as_blanks() -> None:
    """A policy may have a TAB after the colon, which would split the attribute."""
    assert "{ policy_string = mode: enforce }" in fullest(
        GOOD.replace("mode: ", "mode:\t").replace("enforce", "enforce\t"), TLSRPT
    )


@pytest.mark.parametrize("blank", ["", " ", "\t", " \t "])
def test_blank_lines_are_left_out(blank: str) -> None:
    """A line of spaces and tabs is no field, as an empty one."""
    assert fullest(f"{GOOD}{blank}\n", TLSRPT) == fullest(GOOD, TLSRPT)


@given(st.binary(max_size=80))
@example(b" ")
def test_the_attributes_are_ours_for_any_policy(extra: bytes) -> None:
    """No text of a policy adds, ends or renames an attribute."""
    try:
        policy = parse_policy(GOOD.encode() + extra)
    except InvalidPolicyError:
        return
    state = restored(policy, PolicyId("a"), 0, 0)
    reply = compose(DOMAIN, Decision.SECURE, from_memory(state), TLSRPT, 0)
    if not isinstance(reply, Found):
        return
    assert not re.search(r"[\x00-\x1f\x7f]", reply.variants[0])
    outside = re.sub(r"\{ policy_string = [^{}]+ \}", "", reply.variants[0]).split()
    names = {word.partition("=")[0] for word in outside}
    assert names <= {"secure", "match", "servername", "policy_type", "policy_domain"} | {
        "mx_host_pattern"
    }


def with_verdict(step: str, *states: HostState) -> Knowledge:
    """What memory holds of a domain with a signed MX RRset and hosts in these states."""
    hosts = tuple(Host(f"mx{n}.good.test", s, step) for n, s in enumerate(states))
    verdict = after_verdict(None, DaneOutcome(MxState.SECURE, "MX: signed", hosts, 300), 0)
    return from_memory(replace(unknown(0), dane=verdict))


def test_a_failure_of_dane_defers_with_its_reason() -> None:
    """The reason is the step that failed (T5)."""
    failed = with_verdict("TLSA of mx", HostState.FAILED)
    reply = compose(DOMAIN, Decision.TRY_AGAIN_DANE, failed, PLAIN, 0)
    assert reply == TryAgain("DANE: DNS failure for good.test: TLSA of mx")


def test_a_long_reason_of_dane_is_cut() -> None:
    """With names of any length in a chain, the reply fits both protocols."""
    failed = with_verdict("x" * 2000, HostState.FAILED)
    reply = compose(DOMAIN, Decision.TRY_AGAIN_DANE, failed, PLAIN, 0)
    assert isinstance(reply, TryAgain)
    assert len(reply.reason) == 500
