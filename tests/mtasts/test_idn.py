"""U-labels are mapped as Postfix maps them (fault C9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.idn import LENGTH_LIMIT, to_a_labels
from tests.support.idn_names import NAMES, OLD_NAMES

UNCERTAIN = {name for name in NAMES if "\u1e9e" in name}
"""Postfix maps the capital sharp s as its version of ICU does."""
MAPPED = {name: mapped for name, mapped in NAMES.items() if mapped and name not in UNCERTAIN}


@pytest.mark.parametrize(("name", "mapped"), MAPPED.items(), ids=map(ascii, MAPPED))
def test_as_postfix(name: str, mapped: str) -> None:
    """A name that Postfix can map is mapped to the same A-labels."""
    assert to_a_labels(f"{name}.test").lower() == f"{mapped}.test"


@pytest.mark.parametrize("name", sorted(UNCERTAIN), ids=ascii)
def test_not_mapped_for_sure(name: str) -> None:
    """A name that two versions of Postfix map in two ways is refused, with what to write."""
    assert NAMES[name] != OLD_NAMES[name]
    with pytest.raises(InvalidDomainError, match=r"write ss or U\+00DF"):
        to_a_labels(f"{name}.test")


def test_no_version_has_another_name() -> None:
    """Both versions map the other names alike, or the older one does not know a letter."""
    different = {name for name in NAMES if OLD_NAMES[name] not in {NAMES[name], None}}
    assert different == UNCERTAIN


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("-\u00fc.test", "hyphens in '-\\xfc'"),
        ("\u00fc-.test", "hyphens in '\\xfc-'"),
        ("xn--\u00fc.test", "hyphens in 'xn--\\xfc'"),
        ("\u0301a.test", "'\\u0301a' begins with a mark"),
        ("\u202e.test", "U+202E not allowed"),
        ("\ud800.test", "U+D800 not allowed"),
        ("\u00fc" * 255, "longer than 254 characters"),
        ("\u00fc" * (LENGTH_LIMIT + 1), "longer than 1000 characters"),
    ],
)
def test_refused(name: str, reason: str) -> None:
    """Text that cannot be mapped is refused with a reason of one printable line."""
    with pytest.raises(InvalidDomainError) as caught:
        to_a_labels(name)
    assert reason in str(caught.value)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_characters_that_are_mapped_to_nothing() -> None:
    """They do not count for the length of a domain name."""
    assert parse_domain("\u00ad" * 300 + "good.test") == "good.test"


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """The result is ASCII and stays the same, or the text is refused; ASCII is never refused."""
    try:
        mapped = to_a_labels(text)
    except InvalidDomainError:
        assert not text.isascii()
        return
    assert mapped.isascii()
    assert to_a_labels(mapped) == mapped
