"""Exceptions: which one is in force for a domain, and what is no exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.exceptions import (
    MX_LIMIT,
    NO_EXCEPTIONS,
    REASON_LIMIT,
    Exceptions,
    InvalidExceptionError,
    Scope,
    Use,
    parse_exception,
    parse_scope,
    scopes_of,
)
from tests.support.exceptions import HOUR, configured, exception
from tests.support.surroundings import GOOD, START

BELOW = parse_domain("mail.eu.good.test")


def test_a_wildcard_has_all_names_below_a_domain_and_not_itself() -> None:
    """At any depth; the `*` of a certificate is one label."""
    found = Exceptions(added=configured(exception("*.good.test")))
    assert found.in_force(BELOW, START) is not None
    assert found.in_force(parse_domain("a.good.test"), START) is not None
    assert found.in_force(GOOD, START) is None
    assert found.in_force(parse_domain("notgood.test"), START) is None


def test_a_domain_has_not_the_names_below_it() -> None:
    """They may have their own policies (RFC 8461 §3.4)."""
    found = Exceptions(added=configured(exception("good.test")))
    assert found.in_force(BELOW, START) is None


def test_the_longest_scope_counts_and_the_next_one_after_its_end() -> None:
    """Also if the shorter one is in the configuration: a command can be for one domain."""
    longest = exception("mail.eu.good.test", 1, Use.MAY)
    middle = exception("*.eu.good.test", 2, Use.ENCRYPT)
    shortest = exception("*.good.test", None, Use.IGNORE, added_at=None)
    found = Exceptions(configured(shortest), configured(longest, middle))
    for seconds, expected in ((0, longest), (1, middle), (2, shortest)):
        assert found.in_force(BELOW, START + seconds) is expected
    assert found.next_change(BELOW, START) == START + 1
    assert found.next_change(BELOW, START + 1) == START + 2
    assert found.next_change(BELOW, START + 2) is None


def test_the_configuration_counts_before_a_command_until_its_end() -> None:
    """A file that an administrator has reviewed is not outdone by a command that was forgotten."""
    ours = exception(lasts=HOUR, use=Use.ENFORCE, added_at=None)
    theirs = exception(use=Use.MAY)
    found = Exceptions(configured(ours), configured(theirs))
    assert found.in_force(GOOD, START) is ours
    assert found.in_force(GOOD, START + HOUR) is theirs


def test_none_is_in_force() -> None:
    """Without exceptions nothing is looked for."""
    assert NO_EXCEPTIONS.in_force(GOOD, START) is None
    assert NO_EXCEPTIONS.next_change(GOOD, START) is None
    assert Exceptions(added=configured(exception(lasts=0))).in_force(GOOD, START) is None


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("*.Example.com.", "*.example.com"),
        ("b\u00fccher.test", "xn--bcher-kva.test"),
        ("*.B\u00dcCHER.test", "*.xn--bcher-kva.test"),
        ("XN--BCHER-KVA.test", "xn--bcher-kva.test"),
        ("bu\u0308cher\u3002test", "xn--bcher-kva.test"),
    ],
)
def test_a_scope_is_written_as_people_write_a_domain(text: str, scope: str) -> None:
    """In the normal form in which the domain of a key is compared with it."""
    assert parse_scope(text) == scope


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "*", "*.", "*.*.example.com", "a.*.example.com", "*example.com", ".example.com",
        "[example.com]", "example.com:25", "example.com..", "exa mple.com", "exam\nple.com",
        "192.0.2.1", "[192.0.2.1]", "*.192.0.2.1", "*.2.1", "com", "localhost", "*.com",
        "gro\u1e9e.test", f"{'a' * 64}.test", "a." * 126 + "test", "user@example.com",
        "example.com\x00", "_mta-sts.example.com",
    ],
)  # fmt: skip
def test_no_scope(text: str) -> None:
    """One printable line says so: what is no domain would never be in force."""
    with pytest.raises(InvalidExceptionError) as info:
        parse_scope(text)
    assert str(info.value).isprintable()


def test_a_whole_top_level_domain_needs_a_second_word() -> None:
    """`*.com` is most often meant as `*.example.com`; one label is never a Policy Domain."""
    assert parse_scope("*.com", anyway=True) == "*.com"
    with pytest.raises(InvalidExceptionError, match="one label"):
        parse_scope("com", anyway=True)


@given(st.text(max_size=30))
def test_any_text_as_a_scope(text: str) -> None:
    """It is refused, or it is one of the scopes of a domain, and means the same when read again."""
    try:
        scope = parse_scope(text, anyway=True)
    except InvalidExceptionError as error:
        assert str(error).isprintable()
        return
    assert parse_scope(scope, anyway=True) == scope
    assert scope in scopes_of(parse_domain(scope.replace("*", "a", 1)))


@pytest.mark.parametrize(
    ("use", "mx", "ignores_dane", "reason"),
    [
        (Use.PIN, (), False, "pin needs mx"),
        (Use.IGNORE, ("mx.test",), False, "mx is for pin"),
        (Use.PIN, ("mx.test",), True, "pin cannot ignore DANE"),
        (Use.IGNORE, (), True, "ignore cannot ignore DANE"),
        (Use.ENFORCE, (), True, "enforce cannot ignore DANE"),
        (Use.PIN, ("hostname",), False, "no mx pattern"),
        (Use.PIN, ("mx.test:evil.test",), False, "no mx pattern"),
        (Use.PIN, ("mx.test policy_type=sts",), False, "no mx pattern"),
        (Use.PIN, ("mx.test\n",), False, "no mx pattern"),
        (Use.PIN, (".mx.test",), False, "no mx pattern"),
        (Use.PIN, ("*.*.test",), False, "no mx pattern"),
        (Use.PIN, ("m\u00fc_x.test",), False, "no mx pattern"),
        (Use.PIN, ("192.0.2.1",), False, "no mx pattern"),
        (Use.PIN, ("*.",), False, "no mx pattern"),
        (Use.PIN, tuple(f"mx{n}.test" for n in range(MX_LIMIT + 1)), False, "more than"),
    ],
)
def test_values_that_do_not_fit_together(
    use: Use, mx: tuple[str, ...], *, ignores_dane: bool, reason: str
) -> None:
    """Nothing reaches Postfix that is not an mx pattern, and what cannot be done is refused."""
    with pytest.raises(InvalidExceptionError, match=reason) as info:
        parse_exception(Scope("good.test"), use, "x", None, mx=mx, ignores_dane=ignores_dane)
    assert str(info.value).isprintable()


def test_what_an_exception_keeps() -> None:
    """Patterns once, in normal form and in order; a reason in one printable line."""
    mx = ("MX2.good.test", "*.Good.test.", "mx2.GOOD.test.", "*.m\u00fcx.test")
    made = parse_exception(Scope("good.test"), Use.PIN, " a\nb ", START, mx=mx)
    assert made.mx == ("mx2.good.test", "*.good.test", "*.xn--mx-xka.test")
    assert made.reason == "a\\nb"
    assert made.is_in_force(START - 0.001)
    assert not made.is_in_force(START)


@pytest.mark.parametrize("reason", ["", " \t\n"])
def test_a_reason_is_needed(reason: str) -> None:
    """The next administrator must know why an exception is there."""
    with pytest.raises(InvalidExceptionError, match="a reason is needed"):
        parse_exception(Scope("good.test"), Use.MAY, reason, None)


@given(st.text(min_size=1))
def test_any_reason(reason: str) -> None:
    """It is printable and short in lists and in the log, whatever was pasted."""
    try:
        made = parse_exception(Scope("good.test"), Use.MAY, reason, None)
    except InvalidExceptionError:
        assert not reason.strip()
        return
    assert made.reason.isprintable()
    assert len(made.reason) <= REASON_LIMIT
    assert parse_exception(Scope("good.test"), Use.MAY, made.reason, None) == made
