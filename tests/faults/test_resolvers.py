"""Resolvers as they are: options of resolv.conf, a file that changes, answers of other names."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, HostNotFoundError, NoRecordError
from postfix_mta_sts.network.dane import DaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_message import RecordType
from postfix_mta_sts.network.dnssec import DnssecClient
from postfix_mta_sts.network.nameservers import READ_AGAIN
from tests.support.dns import DnsServer, Fault
from tests.support.dns_clients import GOOD, NAME, RECORD, Clock
from tests.support.hostile_dns import HostileDns, record, response, truncated

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

TIMEOUT = 20.0
"""Seconds for one query: enough for a busy machine."""
ZONE = {
    f"{NAME} TXT": [RECORD],
    ". SOA": ["a. b. 1 2 3 4 5"],
    "good.test MX": ["10 mx1.good.test."],
    "mx1.good.test A": ["192.0.2.1"],
    "_25._tcp.mx1.good.test TLSA": ["3 1 1 " + "ab" * 32],
}


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver, and a domain with a TXT record and TLSA records."""
    async with DnsServer(ZONE, signed=["."]) as server:
        yield server


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    """A resolv.conf that names 127.0.0.1."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    return path


async def test_tcp_only(resolv_conf: Path, server: DnsServer) -> None:
    """`options use-vc` where UDP does not pass: policies and verdicts are found (C5)."""
    resolv_conf.write_text("nameserver 127.0.0.1\noptions use-vc\n")
    server.start_answering = lambda *_: None  # type: ignore[method-assign] # no UDP here
    dns = DnsClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    assert (await dns.look_up_txt(GOOD)).ttl == 300
    dnssec = DnssecClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    assert await dnssec.validates()
    assert (await DaneClient(dnssec).look_up_dane(GOOD)).kind is DaneKind.ALL


async def test_another_server(resolv_conf: Path, server: DnsServer) -> None:
    """The server falls silent, and resolv.conf names another one: both clients follow (C6)."""
    clock = Clock()
    dns = DnsClient((), TIMEOUT, clock=clock, resolv_conf=resolv_conf, port=server.port)
    dnssec = DnssecClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    async with DnsServer(ZONE, host="127.0.0.2", port=server.port, signed=["."]):
        server.hold()
        resolv_conf.write_text("nameserver 127.0.0.2\n")
        clock.now += READ_AGAIN
        assert (await dns.look_up_txt(GOOD)).ttl == 300
        dnssec.read_again()
        assert await dnssec.validates()
        assert (await DaneClient(dnssec).look_up_dane(GOOD)).kind is DaneKind.ALL
    assert server.queries.total == 0


async def test_an_empty_file(resolv_conf: Path, server: DnsServer) -> None:
    """A file that is empty while it is written takes no name server away (C6)."""
    async with DnsServer(ZONE, host="127.0.0.2", port=server.port, signed=["."]):
        resolv_conf.write_text("nameserver 127.0.0.2\n")
        clock = Clock()
        dns = DnsClient((), TIMEOUT, clock=clock, resolv_conf=resolv_conf, port=server.port)
        resolv_conf.write_text("")
        clock.now += READ_AGAIN
        assert (await dns.look_up_txt(GOOD)).ttl == 300
    assert server.queries.total == 0


async def test_another_owner() -> None:
    """A record under another name than the one asked for is no answer (C8)."""
    owner = b"\x05other\x04test\0"
    foreign = record(RecordType.TXT, b"\x0fv=STSv1; id=1; ", owner), record(1, bytes(4), owner)
    async with HostileDns(udp=lambda query: [response(query, *foreign)]) as hostile:
        dns = DnsClient([hostile.address], TIMEOUT)
        with pytest.raises(NoRecordError, match="NODATA"):
            await dns.look_up_txt(GOOD)
        with pytest.raises(HostNotFoundError, match="no address"):
            await dns.look_up_addresses("mta-sts.good.test")


async def test_the_end_of_a_chain() -> None:
    """A record at the end of the CNAMEs of the name is an answer, in whatever order (C8)."""
    target = b"\x05other\x04test\0"
    records = record(16, b"\x0fv=STSv1; id=1; ", target), record(RecordType.CNAME, target)
    async with HostileDns(udp=lambda query: [response(query, *records)]) as hostile:
        found = await DnsClient([hostile.address], TIMEOUT).look_up_txt(GOOD)
    assert found.texts == (b"v=STSv1; id=1; ",)


RCODES = [2, 4, 5, 6, 7, 8, 9, 10, 11, 15]
"""All that are neither answers nor about EDNS."""


@pytest.mark.parametrize("rcode", RCODES)
async def test_rcodes(rcode: int) -> None:
    """Each rcode but NOERROR and NXDOMAIN is a failure, after two queries (C7)."""
    async with HostileDns(udp=lambda query: [response(query, flags=rcode)]) as hostile:
        dns = DnsClient([hostile.address], TIMEOUT)
        with pytest.raises(DnsFailureError, match="from the name server"):
            await dns.look_up_txt(GOOD)
        assert hostile.datagrams == 2


@pytest.mark.parametrize("bad", [Fault.SERVFAIL, Fault.REFUSED, Fault.SILENCE], ids=str)
async def test_addresses_that_fail(server: DnsServer, bad: Fault) -> None:
    """Addresses that cannot be looked up are a failure of the DNS, not of the host (C11).

    `test_known.py::test_addresses_that_fail_are_a_failure_of_the_dns` shows the 30 seconds.
    """
    host = "mta-sts.good.test"
    server.zone |= {f"{host} A": bad, f"{host} AAAA": Fault.NODATA}
    timeout = 0.3 if bad is Fault.SILENCE else TIMEOUT
    with pytest.raises(DnsFailureError, match=f"addresses of {host}"):
        await DnsClient([server.address], timeout).look_up_addresses(host)


async def test_search_lists(resolv_conf: Path, server: DnsServer) -> None:
    """A search list changes no name: each is asked for once, as it is."""
    resolv_conf.write_text(
        "nameserver 127.0.0.1\nsearch good.test\ndomain good.test\noptions ndots:15\n"
    )
    dns = DnsClient((), TIMEOUT, resolv_conf=resolv_conf, port=server.port)
    with pytest.raises(NoRecordError, match="NXDOMAIN"):
        await dns.look_up_txt(Domain("absent"))
    assert server.queries["_mta-sts.absent", "TXT"] == server.queries.total == 1


GOOD_RECORD = record(RecordType.TXT, b"\x0fv=STSv1; id=1; ")
NO_EDNS = {
    "FORMERR": lambda query: response(query, flags=1),
    "NOTIMP": lambda query: response(query, flags=4),
    "FORMERR, header only": lambda query: response(query, flags=1)[:12],
}
"""What a name server says that does not know EDNS."""


@pytest.mark.parametrize("options", ["edns0", "attempts:1"])
@pytest.mark.parametrize("refusal", NO_EDNS.values(), ids=NO_EDNS)
async def test_no_edns(resolv_conf: Path, options: str, refusal: Callable[[bytes], bytes]) -> None:
    """A name server that does not know EDNS is queried without it, also with a single try."""
    resolv_conf.write_text(f"nameserver 127.0.0.1\noptions {options}\n")

    def answer(query: bytes) -> list[bytes]:
        has_edns = query[10:12] != bytes(2)
        return [refusal(query) if has_edns else response(query, GOOD_RECORD)]

    async with HostileDns(udp=answer) as hostile:
        dns = DnsClient((), TIMEOUT, resolv_conf=resolv_conf, port=hostile.port)
        assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert hostile.datagrams == 2


async def test_a_long_datagram() -> None:
    """An answer of 5,000 octets that comes by UDP is taken, though 1,232 were asked for."""
    others = [record(RecordType.TXT, b"\xc8" + b"x" * 200) for _ in range(24)]
    async with HostileDns(udp=lambda query: [response(query, *others, GOOD_RECORD)]) as hostile:
        found = await DnsClient([hostile.address], TIMEOUT).look_up_txt(GOOD)
    assert len(found.texts) == 25


async def test_no_tcp() -> None:
    """If only TCP fails, the reason says so: a firewall may let only UDP pass."""

    async def close(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def wait(_: bytes, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    for tcp, seconds, reason in ((close, 1.0, "can be reached"), (wait, 0.3, "within 0.3 s")):
        async with HostileDns(udp=truncated, tcp=tcp) as hostile:
            with pytest.raises(DnsFailureError, match=f"{reason} over TCP"):
                await DnsClient([hostile.address], seconds).look_up_txt(GOOD)
