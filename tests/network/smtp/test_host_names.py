"""What smtp(8) takes for a host name, and what for an address."""

import pytest

from postfix_mta_sts.network.smtp.host_names import as_address, is_address, is_host_name


@pytest.mark.parametrize(
    ("name", "plain", "wildcard"),
    [
        ("mx.x.test", True, True),
        ("MX_1.x.test", True, True),
        ("_", True, True),
        ("1.2.3.a", True, True),
        ("a" * 63, True, True),
        (".".join(["a" * 63] * 3 + ["a" * 62]), True, True),
        ("*", False, True),
        ("*.x.test", False, True),
        ("a" * 64, False, False),
        (".".join(["a" * 63] * 4) + ".a", False, False),
        ("x.*.test", False, False),
        ("*a.test", False, False),
        ("1.2.3", False, False),
        ("-a.test", False, False),
        ("a-.test", False, False),
        ("a..test", False, False),
        ("a.test.", False, False),
        ("a.test\n", False, False),
        ("bücher.test", False, False),
        ("", False, False),
    ],
)
def test_host_names(name: str, *, plain: bool, wildcard: bool) -> None:
    """Underscores are taken, and in answers of the DNS a star as the first label."""
    assert is_host_name(name) is plain
    assert is_host_name(name, wildcard=True) is wildcard


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", None),
        ("192.0.2", None),
        ("[192.0.2.1]", None),
        ("", None),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    """An address has one form, and no zone."""
    assert as_address(text) == address
    assert is_address(text) is (address is not None)
