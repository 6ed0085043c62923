"""The argument DOMAIN."""

import pytest

from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.parser import CommandError


def test_domain() -> None:
    """A domain is in normal form."""
    assert domain_of("Example.COM.") == "example.com"


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("user@example.com", "example.com"),
        ("https://Example.com/x?y", "example.com"),
        (" example.com ", "example.com"),
        ("<user@example.com>", "example.com"),
        ("[mx.example.com]:587", "mx.example.com"),
        ("example.com:25", "example.com"),
        ("a..b", ""),
        ("", ""),
        ("exa mple.com", ""),
        ("192.0.2.1", ""),
    ],
)
def test_guess(text: str, guess: str) -> None:
    """What was meant is proposed."""
    with pytest.raises(CommandError) as caught:
        domain_of(text)
    assert str(caught.value).endswith(f"; write {guess}" if guess else "'")
