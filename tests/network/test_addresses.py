"""Which addresses are public, which a setting can allow, which nothing can allow (C10)."""

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network.addresses import AddressRules, forbidden_address, special_use

SPECIAL = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
    ("::", "::fffe:ffff:ffff"),  # then the IPv4-mapped addresses
    ("::1:0:0:0", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff"),  # then NAT64
    ("64:ff9b::1:0:0", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3ffe::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
"""The first and the last address of all that is not public and has no embedded IPv4 address."""

EMBEDDED = [ipaddress.IPv6Network(each) for each in ("::ffff:0:0/96", "64:ff9b::/96")]


def neighbours(first: str, last: str) -> Iterator[str]:
    """The addresses before and after a range, without those with an embedded IPv4 address."""
    for edge, step in ((first, -1), (last, 1)):
        with suppress(ipaddress.AddressValueError):  # the end of all addresses
            neighbour = ip_address(edge) + step
            if not any(neighbour in each for each in EMBEDDED):
                yield str(neighbour)


@pytest.mark.parametrize(("first", "last"), SPECIAL)
def test_edges(first: str, last: str) -> None:
    """The first and the last address of a range are special; their neighbours are not."""
    assert special_use(first)
    assert special_use(last)
    assert [each for each in neighbours(first, last) if special_use(each)] == []


@pytest.mark.parametrize(
    ("address", "use"),
    [
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
        ("2000::", None),
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("255.255.255.255", "broadcast"),
        ("192.0.0.8", "IETF protocols"),
        ("192.88.99.1", "anycast, 6to4 relays"),
        ("::7f00:1", "IPv4-compatible"),
        ("2001:0:7f00:1::", "Teredo"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("3ffe::1", "6bone"),
        ("64:ff9b:1::1", "local NAT64"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("e000::1", "reserved"),
    ],
)
def test_use(address: str, use: str | None) -> None:
    """An address has one use; None means that it is public."""
    assert special_use(address) == use


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.23",
    "169.254.42.42",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:808:808:0:0:5601:5601",  # Teredo, the client's address inverted
    "2001:0:a9fe:a9fe::1",  # Teredo, the server's address
    "64:ff9b:1:a9fe:a9:fe00::",  # local NAT64 with a prefix of 48 bits
    "64:ff9b:1:a9:fe:a9fe::",  # of 56
    "64:ff9b:1:0:a9:fea9:fe00::",  # of 64
    "64:ff9b:1::a9fe:a9fe",  # of 96
]


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize(
    "private", [False, True, ("0.0.0.0/0", "::/0")], ids=["false", "true", "all"]
)
def test_metadata_services_are_never_asked(
    address: str,
    private: bool | tuple[str, ...],  # noqa: FBT001 - a setting's value
) -> None:
    """No setting allows the metadata service of a cloud, however its address is written."""
    assert not AddressRules(private).admit(address)


def test_private_addresses_are_allowed_by_prefix() -> None:
    """A list allows the addresses in its prefixes, also embedded ones, and public ones."""
    rules = AddressRules(("10.1.0.0/16", "fd00::/8", "64:ff9b:1::/48"))
    allowed = ["10.1.2.3", "fd12::1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1"]
    assert all(map(rules.admit, [*allowed, "64:ff9b:1::a01:203", "8.8.8.8", "2606:4700::1111"]))
    refused = ["10.2.0.1", "127.0.0.1", "::1", "fc00::1", "::ffff:127.0.0.1", "2001:0:a01:203::"]
    assert not any(map(rules.admit, refused))


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "::1", "fe80::1%eth0", "192.0.2.1", "64:ff9b:1::1"]
)
def test_private_addresses_are_allowed_altogether(address: str) -> None:
    """`true` allows all of them; `false` and an empty list allow none."""
    assert AddressRules(private=True).admit(address)
    assert not AddressRules(private=False).admit(address)
    assert not AddressRules(()).admit(address)


WRAPPERS = {
    "IPv4-mapped": lambda four: (0xFFFF << 32) | four,
    "6to4": lambda four: (0x2002 << 112) | four << 80,
    "NAT64": lambda four: (0x64FF9B << 96) | four,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@given(st.integers(0, 2**32 - 1))
def test_embedded_addresses(wrapper: str, four: int) -> None:
    """An address with an embedded IPv4 address is what the IPv4 address is."""
    wrapped = ipaddress.IPv6Address(WRAPPERS[wrapper](four))
    assert special_use(str(wrapped)) == special_use(str(ipaddress.IPv4Address(four)))


@given(st.ip_addresses())
def test_one_answer(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Every address is public or has a use; the settings keep their order for all of them."""
    use = special_use(str(address))
    assert use is None or use
    assert AddressRules(private=False).admit(str(address)) == (use is None)
    listed = AddressRules(("0.0.0.0/0", "::/0")).admit(str(address))
    assert AddressRules(private=True).admit(str(address)) == listed
    assert listed or use


@given(st.ip_addresses())
def test_no_more_than_python(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """What Python's copy of the registries has as not global is not public, unless embedded."""
    if not address.is_global and not str(address).startswith(("2002:", "64:ff9b:", "::ffff:")):
        assert special_use(str(address))


def test_no_address() -> None:
    """Text that is not an address raises `ValueError`."""
    with pytest.raises(ValueError, match="does not appear to be"):
        special_use("localhost")


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.2.1"], "127.0.2.1 (loopback); https.allow_private_addresses can allow it"),
        (
            ["10.0.0.1", "::1"],
            "10.0.0.1 (private), ::1 (loopback); https.allow_private_addresses can allow it",
        ),
        (
            ["10.0.0.1"] * 300,
            (
                "10.0.0.1 (private), 10.0.0.1 (private), 10.0.0.1 (private) and 297 more; "
                "https.allow_private_addresses can allow it"
            ),
        ),
        (
            ["169.254.169.254"],
            "169.254.169.254 (metadata service of a cloud); no setting allows it",
        ),
    ],
)
def test_the_reason_names_the_setting(addresses: list[str], reason: str) -> None:
    """The reason says what an address is, and which setting allows it (fault D11)."""
    assert str(forbidden_address(addresses)) == f"not a public address: {reason}"
