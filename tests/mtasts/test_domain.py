"""Domain names have one normal form, and only domain names are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import MAX_LENGTH, parse_domain, parse_host
from postfix_mta_sts.mtasts.errors import InvalidDomainError

KELVIN = "\u212a"
LABEL_63 = "a" * 63


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("good.test", "good.test"),
        ("Nf.LOAD.test", "nf.load.test"),
        ("good.test.", "good.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("b\u00fccher.test", "xn--bcher-kva.test"),
        ("B\u00dcCHER.test", "xn--bcher-kva.test"),
        ("fa\u00df.test", "xn--fa-hia.test"),  # non-transitional: not fass.test
        ("a\u3002test", "a.test"),  # the ideographic full stop is a dot (UTS #46)
        ("a.test\u3002", "a.test"),
        ("i\u2764.test", "xn--i-7iq.test"),  # allowed by UTS #46, not by IDNA2008
        ("\u0661.test.\u0662", "xn--9hb.test.xn--bib"),  # digits, but no IP address
        ("1.2.test", "1.2.test"),
        ("a--b.test", "a--b.test"),
        (f"{LABEL_63}.test", f"{LABEL_63}.test"),
    ],
)
def test_normal_form(text: str, form: str) -> None:
    """Names from people and Postfix become A-labels in lower case, without a final dot."""
    assert parse_domain(text) == form


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ".good.test",
        "good..test",
        "good.test..",
        "-good.test",
        "good-.test",
        "go_od.test",
        "good.test\n",
        "good.test\x00",
        "go od.test",
        "good.test:25",
        "user@good.test",
        "127.0.0.1",
        "1.2.3.4.",
        f"{LABEL_63}a.test",
        ".".join([LABEL_63] * 4),
        "\ud800.test",
        "\u202e.test",
        "\u00fc" * 300,
    ],
)
def test_invalid_domain(text: str) -> None:
    """Any other text is refused, with a reason of one printable line."""
    with pytest.raises(InvalidDomainError) as caught:
        parse_domain(text)
    reason = str(caught.value)
    assert reason.isascii()
    assert reason.isprintable()


@pytest.mark.parametrize(
    "text", ["b\u00fccher.test", f"{KELVIN}.test", "good.test.", "good.test\n", "*.good.test", ""]
)
def test_a_host_of_a_policy_is_ascii(text: str) -> None:
    """A policy names hosts in A-labels; the Kelvin sign does not become the letter k."""
    with pytest.raises(InvalidDomainError):
        parse_host(text)


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """Every parsed domain is in normal form, and stays the same when parsed again."""
    try:
        domain = parse_domain(text)
    except InvalidDomainError:
        return
    assert domain.isascii()
    assert domain == domain.lower()
    assert 0 < len(domain) <= MAX_LENGTH
    assert parse_domain(domain) == domain == parse_host(domain)
