"""Next-hops as Postfix writes them, and the keys that it looks up."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.postfix.smtp_client.next_hop import parse_next_hop, policy_keys
from postfix_mta_sts.postfix.smtp_client.values import NextHop


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("x.test", NextHop("x.test", "x.test")),
        ("x.test.", NextHop("x.test", "x.test")),
        ("X.Test", NextHop("X.Test", "x.test")),
        ("bücher.test", NextHop("bücher.test", "xn--bcher-kva.test")),
        ("localdomain", NextHop("localdomain", "localdomain")),
        ("a_b.x.test", NextHop("a_b.x.test", "a_b.x.test")),
        ("x.test:587", NextHop("x.test:587", "x.test", 587)),
        ("x.test:submission", NextHop("x.test:submission", "x.test", 587)),
        ("x.test:smtps", NextHop("x.test:smtps", "x.test", 465)),
        ("x.test:", NextHop("x.test:", "x.test")),
        ("[mx.x.test]", NextHop("[mx.x.test]", "mx.x.test", has_mx=False)),
        ("[mx.x.test.]:25", NextHop("[mx.x.test]:25", "mx.x.test", has_mx=False)),
        ("[mx.x.test]:587", NextHop("[mx.x.test]:587", "mx.x.test", 587, has_mx=False)),
        ("[127.0.0.1]", NextHop("[127.0.0.1]", "127.0.0.1", has_mx=False)),
        ("[IPv6:::1]", NextHop("[IPv6:::1]", "::1", has_mx=False)),
        ("[ipv6:FD00::1]:26", NextHop("[ipv6:FD00::1]:26", "fd00::1", 26, has_mx=False)),
        ("[::1]", NextHop("[::1]", "::1", has_mx=False)),
        ("127.0.0.1", NextHop("127.0.0.1", "127.0.0.1", has_mx=False)),
    ],
)  # fmt: skip
def test_forms(key: str, expected: NextHop) -> None:
    """Every form of a next-hop is read."""
    assert parse_next_hop(key) == expected


@pytest.mark.parametrize(
    "key",
    ["", ".", "x..", "a b", "x..test", "-x.test", "[x.test", "x.test]", "[]", "::1", "a, b",
     "1.2.3", "x.test:0", "x.test:65536", "x.test:nntp", "[IPv6:127.0.0.1]", "[IPv6:x.test]",
     "[fe80::1%lo]", f"{'a' * 64}.test", "x.test:٢٥", "u@x.test", "a.test:25:25"],
)  # fmt: skip
def test_nonsense(key: str) -> None:
    """What smtp(8) does not take is an error for people."""
    with pytest.raises(InvalidDomainError) as caught:
        parse_next_hop(key)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("sub.a.x.test", ("sub.a.x.test", ".a.x.test", ".x.test", ".test")),
        ("Nf.X.test.", ("Nf.X.test", ".X.test", ".test")),
        ("bücher.test", ("bücher.test", ".test")),
        ("localdomain", ("localdomain",)),
        ("[mx.x.test]", ("[mx.x.test]",)),
        ("[mx.x.test]:587", ("[mx.x.test]:587",)),
        ("x.test:25", ("x.test:25",)),
        ("[IPv6:::1]", ("[IPv6:::1]",)),
        ("127.0.0.1", ("127.0.0.1",)),
    ],
)
def test_keys(key: str, keys: tuple[str, ...]) -> None:
    """Only a plain name has parents; no key is folded."""
    assert policy_keys(parse_next_hop(key)) == keys


def test_key_of_an_unknown_name() -> None:
    """A name that cannot be mapped to A-labels has one key."""
    assert policy_keys(NextHop("a.\u1e9e.test", "x.test")) == ("a.\u1e9e.test",)


@given(st.text() | st.text(st.sampled_from("[]:.-_aA1ü")))
def test_any_text(key: str) -> None:
    """Any text is a next-hop with at least one key, or an error for people."""
    with contextlib.suppress(UserError):
        next_hop = parse_next_hop(key)
        assert next_hop.host.isascii()
        assert next_hop.host == next_hop.host.lower()
        assert policy_keys(next_hop)[0] == next_hop.text
        assert parse_next_hop(next_hop.text) == next_hop
