"""The name servers that are asked with DNSSEC: which, since when, and whether they are trusted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dnssec import DnssecClient, are_trusted
from tests.support.dns import DnsServer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

QUERY = ("good.test", "MX")
TIMEOUT = 20.0
"""Seconds: enough for a busy machine."""


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver; the root and good.test are signed."""
    zone = {"good.test MX": ["10 mx1.good.test."], ". SOA": ["a. b. 1 2 3 4 5"]}
    async with DnsServer(zone, signed=[".", "good.test"], unsigned=["test"]) as server:
        yield server


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.1", TcpAddress("192.0.2.1", 53)),
        ("192.0.2.1:5353", TcpAddress("192.0.2.1", 5353)),
        ("2001:db8::1", TcpAddress("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", TcpAddress("2001:db8::1", 5353)),
    ],
)
async def test_configured_servers(written: str, address: TcpAddress) -> None:
    """Each notation of the configuration is accepted."""
    assert DnssecClient([written]).nameservers == (address,)


async def test_servers_of_the_system(tmp_path: Path) -> None:
    """Without configured servers those of resolv.conf are used, or else 127.0.0.1."""
    resolv_conf = tmp_path / "resolv.conf"
    assert DnssecClient(resolv_conf=resolv_conf).nameservers == (TcpAddress("127.0.0.1", 53),)
    resolv_conf.write_text("# none\n")
    assert DnssecClient(resolv_conf=resolv_conf).nameservers == (TcpAddress("127.0.0.1", 53),)
    resolv_conf.write_text("nameserver 192.0.2.1\nnameserver ::1\nsearch x.test\n")
    expected = (TcpAddress("192.0.2.1", 53), TcpAddress("::1", 53))
    assert DnssecClient(resolv_conf=resolv_conf).nameservers == expected


async def test_other_servers(server: DnsServer, tmp_path: Path) -> None:
    """Other servers in resolv.conf are queried from the next check on, not before (C6)."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    ask = DnssecClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    resolv_conf.write_text("nameserver 127.0.0.2\n")
    ask.read_again()
    one, two = (TcpAddress(host, server.port) for host in ("127.0.0.1", "127.0.0.2"))
    assert (list(ask.wanted_nameservers), list(ask.nameservers)) == ([two], [one])
    assert (await ask.mx("good.test")).secure
    async with DnsServer(server.zone, host=two.host, port=two.port) as second:
        server.hold()
        assert await ask.not_validating() == [two]
        assert not (await ask.mx("good.test")).secure
        assert second.queries.total == 2


async def test_a_change_during_a_check(server: DnsServer, tmp_path: Path) -> None:
    """What a check has not seen is not in use after it, and is seen when the file is read again."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    ask = DnssecClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    server.hold()
    check = asyncio.create_task(ask.not_validating())
    await server.queries.total_reached(1)
    resolv_conf.write_text("nameserver 127.0.0.2\n")
    ask.read_again()
    server.release()
    assert await check == []
    assert [each.host for each in ask.nameservers] == ["127.0.0.1"]
    ask.read_again()
    assert [each.host for each in ask.wanted_nameservers] == ["127.0.0.2"]


@pytest.mark.usefixtures("impatient")
async def test_other_servers_that_are_silent(server: DnsServer, tmp_path: Path) -> None:
    """They are queried after a check that fails, too: the earlier ones are not wanted."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    ask = DnssecClient((), 5.0, resolv_conf=resolv_conf, port=server.port)
    resolv_conf.write_text("nameserver 127.0.0.2\n")
    with pytest.raises(DnsFailureError):
        await ask.not_validating()
    assert [each.host for each in ask.nameservers] == ["127.0.0.2"]


async def test_other_options(server: DnsServer, tmp_path: Path) -> None:
    """Options, and another order of the same servers, need no check (C5)."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\nnameserver 127.0.0.2\n")
    ask = DnssecClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    resolv_conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions use-vc\n")
    ask.read_again()
    assert [each.host for each in ask.nameservers] == ["127.0.0.2", "127.0.0.1"]
    assert (await ask.mx("good.test")).secure
    assert server.tcp_queries[QUERY] == 1


@pytest.mark.parametrize(
    ("hosts", "trust_ad", "expected"),
    [
        (["127.0.0.1"], False, True),
        (["127.0.0.53", "::1"], False, True),
        (["127.0.0.1", "192.0.2.1"], False, False),
        (["::ffff:192.0.2.1"], False, False),
        (["192.0.2.1"], True, True),
        (["127.0.0.11"], False, False),
        (["127.0.0.1", "127.0.0.11"], False, False),
        (["127.0.0.11"], True, True),
        (["fe80::1%eth0"], False, False),
        ([], False, False),
        ([], True, False),
    ],
)
async def test_trusted(hosts: list[str], *, trust_ad: bool, expected: bool) -> None:
    """All servers are on loopback, or the administrator vouches for the path (T1)."""
    assert are_trusted([TcpAddress(host, 53) for host in hosts], trust_ad=trust_ad) == expected
