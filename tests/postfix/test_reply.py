"""What Postfix is told of a state (design "Reply"; postfix.md "The policy text")."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State, after_discovery, restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.reply import NOT_FOUND, PLAIN, Dress, Found, Reply, compose

DOMAIN = parse_domain("good.test")
TLSRPT = Dress(tlsrpt=True)
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx1.good.test\r\nmx: *.Good.test\r\nmax_age: 9\r\n"


def told(text: str, dress: Dress) -> Reply:
    """What is told of a domain with this policy."""
    policy = parse_policy(text.encode())
    return compose(DOMAIN, restored(policy, PolicyId("a"), 0, 0), dress)


def fullest(text: str, dress: Dress) -> str:
    """The fullest variant of the policy that is found."""
    reply = told(text, dress)
    assert isinstance(reply, Found)
    return reply.variants[0]


def test_enforce() -> None:
    """Enforce is a secure level, with the patterns in Postfix's form (A1, Q4)."""
    assert fullest(GOOD, PLAIN) == "secure match=mx1.good.test:.good.test servername=hostname"


def test_old_postfix() -> None:
    """Without servername= for Postfix before 3.4."""
    old = Dress(servername=False)
    assert fullest(GOOD, old) == "secure match=mx1.good.test:.good.test"


def test_tlsrpt() -> None:
    """The TLSRPT dress is to the letter what Postfix 3.10 was seen to take (L8, L9)."""
    assert fullest(GOOD, TLSRPT) == (
        "secure match=mx1.good.test:.good.test servername=hostname policy_type=sts "
        "policy_domain=good.test mx_host_pattern=mx1.good.test mx_host_pattern=*.good.test "
        "{ policy_string = version: STSv1 } { policy_string = mode: enforce } "
        "{ policy_string = mx: mx1.good.test } { policy_string = mx: *.Good.test } "
        "{ policy_string = max_age: 9 }"
    )


def test_variants_lose_the_least_first() -> None:
    """Too long a reply loses its policy strings, then all TLSRPT attributes."""
    reply = told(GOOD, TLSRPT)
    assert isinstance(reply, Found)
    full, attributes, secure = reply.variants
    assert full.startswith(attributes + " { policy_string")
    assert attributes.startswith(secure + " policy_type=sts")
    assert secure == fullest(GOOD, PLAIN)


def test_patterns_are_told_once_in_order() -> None:
    """Repeats are left out, in whatever case they come."""
    text = GOOD.replace("max_age", "mx: MX1.good.test\nmx: a.test\nmax_age")
    assert "match=mx1.good.test:.good.test:a.test " in fullest(text, PLAIN)


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_modes_that_are_not_enforced(mode: str) -> None:
    """Testing and none leave the administrator's own level in force (A2, A3)."""
    assert told(GOOD.replace("enforce", mode), TLSRPT) is NOT_FOUND


def test_enforce_testing() -> None:
    """A map can be told to enforce testing, but never none."""
    strict = Dress(enforce_testing=True)
    assert fullest(GOOD.replace("enforce", "testing"), strict) == fullest(GOOD, PLAIN)
    assert told(GOOD.replace("enforce", "none"), strict) is NOT_FOUND


def test_absence() -> None:
    """A domain without a policy is not found (C4)."""
    absent = after_discovery(None, NoRecordError("NXDOMAIN"), 0)
    assert isinstance(absent, State)
    assert compose(DOMAIN, absent, TLSRPT) is NOT_FOUND


@pytest.mark.parametrize("value", ["a}b", "{a", "a{ policy_failure = x }b", "\u0085", "\u009b31m"])
def test_lines_that_could_break_out_are_not_told(value: str) -> None:
    """A line with a brace or a control character stays out of policy_string."""
    line = fullest(GOOD + f"x: {value}\n", TLSRPT)
    assert line == fullest(GOOD, TLSRPT)


def test_tabs_are_told_as_blanks() -> None:
    """A TAB is legal after the colon, and would split the attribute."""
    assert "{ policy_string = mode: enforce }" in fullest(
        GOOD.replace("mode: ", "mode:\t").replace("enforce", "enforce\t"), TLSRPT
    )


@given(st.binary(max_size=80))
def test_whatever_a_policy_says_the_attributes_are_ours(extra: bytes) -> None:
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
