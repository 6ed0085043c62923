"""The addresses at which Postfix receives mail: from the kernel's answer, and from main.cf."""

import asyncio
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.own_addresses import (
    addresses_of,
    ends_dump,
    find_own,
    interface_addresses,
    parse_dump,
    plain,
)

NAMES = {"mail.test": ("192.0.2.7", "2001:db8::7"), "[192.0.2.8]": ("192.0.2.8",)}


def interfaces() -> tuple[str, ...]:
    """The interfaces of a machine with one address of each family."""
    return ("127.0.0.1", "192.0.2.1", "::1", "2001:db8::1")


async def resolve(host: str) -> tuple[str, ...]:
    """The addresses of a name."""
    return NAMES.get(host, ())


def attribute(kind: int, data: bytes) -> bytes:
    """An attribute of a message of rtnetlink."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, body: bytes) -> bytes:
    """A message of rtnetlink."""
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)


def interface(family: int, *attributes: bytes) -> bytes:
    """The message for one address of an interface."""
    return message(20, struct.pack("=BBBBI", family, 24, 0, 0, 1) + b"".join(attributes))


@pytest.mark.parametrize(
    ("inet", "proxy", "protocols", "expected"),
    [
        ("all", "", "all", interfaces()),
        ("all", "", "ipv4", ("127.0.0.1", "192.0.2.1")),
        ("all", "", "ipv4, ipv6", interfaces()),
        ("loopback-only", "", "all", ("127.0.0.1", "::1")),
        ("loopback-only", "192.0.2.9", "all", ("127.0.0.1", "::1", "192.0.2.9")),
        ("mail.test, [192.0.2.8]", "", "all", ("192.0.2.7", "2001:db8::7", "192.0.2.8")),
        ("mail.test", "mail.test", "ipv6", ("2001:db8::7",)),
        ("nowhere.test", "", "all", ()),
        ("", "", "all", ()),
    ],
)
async def test_main_cf(inet: str, proxy: str, protocols: str, expected: tuple[str, ...]) -> None:
    """Words, names and addresses of both parameters count, in the families that Postfix uses."""
    names = NAMES | {"192.0.2.9": ("192.0.2.9",)}

    async def find(host: str) -> tuple[str, ...]:
        return names.get(host, ())

    found = await find_own(inet, proxy, protocols, interfaces=interfaces, resolve=find)
    assert found == expected


async def test_a_dns_that_is_silent() -> None:
    """Names that are not resolved in time are left out."""

    async def wait(_: str) -> tuple[str, ...]:
        await asyncio.sleep(600)
        return ()

    found = await find_own(
        "all", "a.test", "all", interfaces=interfaces, resolve=wait, timeout=0.01
    )
    assert found == interfaces()


async def test_names() -> None:
    """A name is resolved; an address is itself; a name that cannot be one has no address."""
    assert "127.0.0.1" in await addresses_of("localhost")
    assert await addresses_of("[::ffff:192.0.2.1]") == ("192.0.2.1",)
    assert await addresses_of("a..test") == ()


@given(st.ip_addresses())
def test_one_form(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Brackets do not matter."""
    assert plain(f"[{address}]") == plain(str(address))


def test_this_machine() -> None:
    """The kernel names the loopback address."""
    assert "127.0.0.1" in interface_addresses()


def test_another_system() -> None:
    """Without rtnetlink nothing is found."""
    assert interface_addresses(None) == ()
    assert interface_addresses(socket.AF_INET) == ()


def test_the_kernels_answer() -> None:
    """The own end of a point-to-point link counts; other families and messages do not."""
    dump = (
        interface(socket.AF_INET, attribute(1, b"\xc0\0\2\x01"), attribute(3, b"eth0\0"))
        + interface(socket.AF_INET, attribute(1, b"\xc0\0\2\x63"), attribute(2, b"\xc0\0\2\x02"))
        + interface(socket.AF_INET6, attribute(1, bytes(15) + b"\1"))
        + interface(28, attribute(1, b"\1\2\3\4"))
        + interface(socket.AF_INET)
        + message(24, bytes(8))
    )
    assert [*parse_dump(dump)] == ["192.0.2.1", "192.0.2.2", "::1"]
    assert not ends_dump(dump)
    assert ends_dump(dump + message(3, bytes(4)))
    assert ends_dump(b"")


@given(st.binary(max_size=200), st.integers(0, 60))
def test_garbage(data: bytes, cut: int) -> None:
    """Whatever the kernel sends, there is no error and no endless loop."""
    whole = interface(socket.AF_INET, attribute(1, b"\xc0\0\2\x01"))
    for each in (data, whole[:cut] + data, whole + data):
        assert all(plain(address) for address in parse_dump(each))
        ends_dump(each)
