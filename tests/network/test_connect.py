"""Which addresses are public, also as embedded IPv4 addresses."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.connect import connect, is_public
from tests.support.descriptors import no_descriptor_free


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "223.255.255.1", "2606:4700::1111"])
def test_public(address: str) -> None:
    """Global unicast addresses are public."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "100::1",
        "64:ff9b:1::1",
        "2001:db8::1",
        "2001:0:7f00:1::",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_not_public(address: str) -> None:
    """Loopback, private, shared, link-local, multicast, reserved and documentation addresses."""
    assert not is_public(address)


WRAPPERS = {
    "IPv4-mapped": lambda four: (0xFFFF << 32) | four,
    "6to4": lambda four: (0x2002 << 112) | four << 80,
    "NAT64": lambda four: (0x64FF9B << 96) | four,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@given(st.integers(0, 2**32 - 1))
def test_embedded_addresses(wrapper: str, four: int) -> None:
    """An embedded IPv4 address is public if and only if it would be public on its own."""
    wrapped = ipaddress.IPv6Address(WRAPPERS[wrapper](four))
    assert is_public(str(wrapped)) == is_public(str(ipaddress.IPv4Address(four)))


@given(st.ip_addresses())
def test_no_more_than_the_registry(address: ipaddress.IPv4Address) -> None:
    """Addresses not global in the IANA registries are not public, except with embedded ones."""
    if not address.is_global and not str(address).startswith(("2002:", "64:ff9b:", "::ffff:")):
        assert not is_public(str(address))


def test_no_address() -> None:
    """Text that is not an address raises `ValueError`."""
    with pytest.raises(ValueError, match="does not appear to be"):
        is_public("localhost")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "127.0.0.1"]])
async def test_no_descriptor(addresses: list[str]) -> None:
    """If this process can open no socket, that is its own fault, and says nothing of the host."""
    with no_descriptor_free(), pytest.raises(OwnFaultError, match="no socket: Too many open files"):
        await connect(addresses, 443, lambda _: None)
