"""Hostile domains and hostile name servers: each costs its own query, and no other one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind, HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dane import HOSTS_AT_ONCE, DaneClient
from postfix_mta_sts.network.dns import MAX_ADDRESSES, DnsClient
from postfix_mta_sts.network.dns_exchange import MAX_ANSWER, MAX_DATAGRAMS
from postfix_mta_sts.network.dns_message import MAX_RECORDS, RecordType
from postfix_mta_sts.network.dns_query import TRIES
from postfix_mta_sts.network.dnssec import DnssecClient
from postfix_mta_sts.network.own_limits import own_shares
from tests.support.daemons import daemon, secure
from tests.support.dns import DnsServer, Fault, Records
from tests.support.files import no_descriptor_free
from tests.support.hostile_dns import HostileDns, over_tcp, record, response
from tests.support.internet import Internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

EVIL = Domain("evil.test")
MX_HOST = "mx1.good.test"
HOST = "mta-sts.good.test"
RECORD = '"v=STSv1; id=1;"'
MALFORMED = r"\# 0"
"""A TXT record without any character-string, as unbound and dnsmasq pass it on."""
TIMEOUT = 20.0
"""Seconds for one query: enough for a busy machine."""
FOR_EVER = 3600.0
"""A timeout that no test waits for."""

Ask = Callable[[str, float], Awaitable[object]]


async def ask_txt(address: str, timeout: float) -> object:  # noqa: ASYNC109 (of the client's queries)
    """Query a TXT record of a hostile domain."""
    return await DnsClient([address], timeout).look_up_txt(EVIL)


async def ask_addresses(address: str, timeout: float) -> object:  # noqa: ASYNC109 (as above)
    """Query the addresses of a hostile Policy Host."""
    return await DnsClient([address], timeout).look_up_addresses("mta-sts.evil.test")


async def ask_mx(address: str, timeout: float) -> object:  # noqa: ASYNC109 (as above)
    """Query a hostile domain's MX records, with DNSSEC."""
    return await DnssecClient([address], timeout).mx(EVIL)


every_client = pytest.mark.parametrize("ask", [ask_txt, ask_addresses, ask_mx])


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A resolver with 20 healthy domains."""
    async with DnsServer(signed=["good.test"]) as server:
        server.zone = {f"_mta-sts.d{n}.good.test TXT": [RECORD] for n in range(20)}
        yield server


class TestOneQueryHarmsNoOther:
    """A malformed answer fails its own query only, after one retry (B2)."""

    @pytest.mark.parametrize("truncated", [False, True], ids=["UDP", "TCP"])
    async def test_malformed_txt(self, server: DnsServer, *, truncated: bool) -> None:
        """Twenty healthy queries in flight do not notice a malformed TXT answer."""
        server.zone["_mta-sts.evil.test TXT"] = Records([MALFORMED], truncated=truncated)
        server.unheld = {"_mta-sts.evil.test"}
        server.hold()
        dns = DnsClient([server.address], TIMEOUT)
        names = [Domain(f"d{n}.good.test") for n in range(20)]
        healthy = [asyncio.create_task(dns.look_up_txt(name)) for name in names]
        await server.queries.total_reached(20)
        with pytest.raises(DnsFailureError, match=r"^a malformed answer from the name server$"):
            await dns.look_up_txt(EVIL)
        server.release()
        assert {answer.texts for answer in await asyncio.gather(*healthy)} == {(b"v=STSv1; id=1;",)}
        asked = server.queries["_mta-sts.evil.test", "TXT"]
        assert asked == (2 * TRIES if truncated else TRIES)
        assert server.queries.total == 20 + asked

    async def test_in_the_daemon(self, net: Internet, tmp_path: Path) -> None:
        """Postfix gets the policies of ten new domains, asked for before the hostile one."""
        net.dns.zone["_mta-sts.evil.test TXT"] = [MALFORMED]
        net.dns.unheld = {"_mta-sts.evil.test"}
        names = [f"d{n}.test" for n in range(10)]
        for name in names:
            net.publish(name)
        changes = {"lookup": {"timeout": "60s"}, "dns": {"timeout": "50s"}}
        async with daemon(net, tmp_path, changes=changes) as running:
            net.dns.hold()
            healthy = [asyncio.create_task(running.ask(name)) for name in names]
            await net.dns.queries.total_reached(len(names))
            assert await running.ask(EVIL) == b"NOTFOUND "
            net.dns.release()
            assert await asyncio.gather(*healthy) == [secure(name) for name in names]

    @pytest.mark.parametrize("bad", ["A", "AAAA"])
    async def test_malformed_family(self, server: DnsServer, bad: str) -> None:
        """A malformed answer of one address family does not hide the other."""
        zone = {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"], bad: [r"\# 3 010203"]}
        server.zone |= {f"{HOST} {kind}": data for kind, data in zone.items()}
        (found,) = await DnsClient([server.address], TIMEOUT).look_up_addresses(HOST)
        assert (":" in found) == (bad == "A")


class TestTries:
    """An error is no reason for a flood of queries (C7)."""

    @pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE], ids=str)
    @every_client
    async def test_two_each(self, ask: Ask, fault: Fault) -> None:
        """Each query is sent twice."""
        async with DnsServer(default=fault) as server:
            with pytest.raises(DnsFailureError):
                await ask(server.address, TIMEOUT)
            kinds = 2 if ask is ask_addresses else 1
            assert server.queries.total == kinds * TRIES


class TestSecondFamily:
    """One address family is enough, and a late one is not waited for (E2)."""

    @pytest.mark.parametrize("lost", ["A", "AAAA"])
    async def test_lost(self, server: DnsServer, lost: str) -> None:
        """The answer of one family is lost: the addresses of the other are used."""
        server.zone |= {f"{HOST} A": ["192.0.2.1"], f"{HOST} AAAA": ["2001:db8::1"]}
        server.zone[f"{HOST} {lost}"] = Fault.SILENCE
        async with asyncio.timeout(TIMEOUT):
            (found,) = await DnsClient([server.address], FOR_EVER).look_up_addresses(HOST)
        assert (":" in found) == (lost == "A")

    @pytest.mark.parametrize("fault", [Fault.NODATA, Fault.SERVFAIL], ids=str)
    @pytest.mark.parametrize("late", ["A", "AAAA"])
    async def test_late(self, server: DnsServer, late: str, fault: Fault) -> None:
        """The first answer has no address: the second one is waited for."""
        other = "AAAA" if late == "A" else "A"
        server.zone |= {f"{HOST} {other}": fault, f"{HOST} {late}": Fault.SILENCE}
        dns = DnsClient([server.address], 3.0)  # the second try begins after 0.6 s
        looked_up = asyncio.create_task(dns.look_up_addresses(HOST))
        await server.queries.reached((HOST, other), 1 if fault is Fault.NODATA else TRIES)
        await server.queries.reached((HOST, late))
        await asyncio.sleep(0.1)  # more than a second family gets if the first has addresses
        assert not looked_up.done()
        server.zone[f"{HOST} {late}"] = ["192.0.2.1" if late == "A" else "2001:db8::1"]
        assert len(await looked_up) == 1


def huge(record_: bytes) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]:
    """Answer over TCP with as many of this record as fit into 64 KiB."""

    async def answer(query: bytes, writer: asyncio.StreamWriter) -> None:
        count = (65535 - len(query)) // len(record_)
        writer.write(over_tcp(response(query, record_ * count, count=count)))

    return answer


class TestAnswers:
    """What an answer may contain."""

    @pytest.mark.parametrize(
        "each",
        [
            record(RecordType.TXT, b"\0"),
            record(RecordType.TXT, b"\0" * 65000),
            record(RecordType.A, b"\x7f\0\0\1"),
            record(RecordType.MX, b"\0\x0a\xc0\x0c"),
        ],
        ids=["5000 TXT", "65000 strings", "4000 addresses", "4000 MX"],
    )
    @every_client
    async def test_huge(self, ask: Ask, each: bytes) -> None:
        """A huge answer over TCP is refused before it is received."""
        async with HostileDns(tcp=huge(each)) as server:
            with pytest.raises(DnsFailureError, match=r"an answer of [0-9]+ bytes"):
                await ask(server.address, TIMEOUT)

    @every_client
    async def test_many_records(self, ask: Ask) -> None:
        """An answer of more records than are read is malformed."""

        async def answer(query: bytes, writer: asyncio.StreamWriter) -> None:
            count = MAX_RECORDS + 1
            wire = response(query, record(99, b"") * count, count=count)
            assert len(wire) < MAX_ANSWER
            writer.write(over_tcp(wire))

        async with HostileDns(tcp=answer) as server:
            with pytest.raises(DnsFailureError, match="malformed"):
                await ask(server.address, TIMEOUT)

    async def test_many_addresses(self, server: DnsServer) -> None:
        """Of many addresses some are used."""
        server.zone[f"{HOST} A"] = [f"192.0.2.{n}" for n in range(256)]
        found = await DnsClient([server.address], TIMEOUT).look_up_addresses(HOST)
        assert len(found) == MAX_ADDRESSES

    @every_client
    async def test_endless_chain(self, ask: Ask) -> None:
        """CNAMEs that lead in a circle are malformed."""
        circle = record(RecordType.CNAME, b"\1a\xc0\x0c"), record(5, b"\xc0\x0c", b"\1a\xc0\x0c")
        async with HostileDns(udp=lambda query: [response(query, *circle)]) as server:
            with pytest.raises(DnsFailureError, match="malformed"):
                await ask(server.address, TIMEOUT)
            assert server.datagrams == (2 if ask is ask_addresses else 1) * TRIES


class TestFloods:
    """A server that sends too much, too slowly, or never ends."""

    @every_client
    async def test_datagrams(self, ask: Ask) -> None:
        """After a bounded number of datagrams with other ids, the query goes over TCP."""

        def flood(query: bytes) -> Iterator[bytes]:
            for n in range(1, 2 * MAX_DATAGRAMS):
                yield response(((int.from_bytes(query[:2]) + n) % 65536).to_bytes(2) + query[2:])

        async def refuse(query: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(over_tcp(response(query, flags=5)))

        async with HostileDns(udp=flood, tcp=refuse) as server:
            with pytest.raises(DnsFailureError, match="REFUSED"):
                await ask(server.address, TIMEOUT)
            assert server.connections == server.datagrams

    @pytest.mark.parametrize("sent", [b"", b"\0", b"\1\0", b"\1\0" + b"a" * 255], ids=len)
    @every_client
    async def test_slow_tcp(self, ask: Ask, sent: bytes) -> None:
        """A connection that stays open without a complete answer ends with the timeout."""

        async def answer(query: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)

        async with HostileDns(tcp=answer) as server:
            with pytest.raises(DnsFailureError, match=r"no answer within 0\.2 s"):
                await ask(server.address, 0.2)

    async def test_tcp_that_goes_on(self) -> None:
        """What a server sends after its answer is not read."""

        async def answer(query: bytes, writer: asyncio.StreamWriter) -> None:
            good = response(query, record(RecordType.TXT, b"\x0f" + b"x" * 15))
            writer.write(over_tcp(good))
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"a" * 65536)
                    await writer.drain()

        async with HostileDns(tcp=answer) as server:
            found = await DnsClient([server.address], TIMEOUT).look_up_txt(EVIL)
            assert found.texts == (b"x" * 15,)


@every_client
async def test_no_descriptor(server: DnsServer, ask: Ask) -> None:
    """If this process can open no socket, that is its own fault, and says nothing of a domain."""
    with no_descriptor_free(), pytest.raises(OwnFaultError, match="no socket: Too many open files"):
        await ask(server.address, TIMEOUT)


def slow_hosts(server: DnsServer, domain: str, count: int) -> None:
    """Give a signed domain MX hosts whose addresses are never answered."""
    names = [f"mx{n}.{domain}" for n in range(count)]
    server.zone[f"{domain} MX"] = [f"{n} {name}." for n, name in enumerate(names)]
    server.zone |= {f"{name} {kind}": Fault.SILENCE for name in names for kind in ("A", "AAAA")}


@pytest.mark.parametrize("lost", ["A", "AAAA"])
async def test_an_mx_host_with_a_lost_family(server: DnsServer, lost: str) -> None:
    """The other address family proves enough: it is queried before the second try (E2)."""
    server.zone |= {f"{MX_HOST} A": ["192.0.2.1"], f"{MX_HOST} AAAA": ["2001:db8::1"]}
    server.zone |= {
        "good.test MX": [f"10 {MX_HOST}."],
        f"_25._tcp.{MX_HOST} TLSA": ["3 1 1 " + "ab" * 32],
        f"{MX_HOST} {lost}": Fault.SILENCE,
    }
    dane = DaneClient(DnssecClient([server.address], 10.0))
    outcome = await dane.look_up_dane(Domain("good.test"))
    assert outcome.kind is DaneKind.ALL
    assert server.queries[MX_HOST, lost] == (1 if lost == "A" else 0)  # AAAA is not needed


class TestDane:
    """Domains with many slow MX hosts."""

    async def test_time(self, server: DnsServer) -> None:
        """The look-up of one domain ends in time; hosts that are not finished have failed."""
        slow_hosts(server, "evil.good.test", 20)
        outcome = await DaneClient(DnssecClient([server.address], 0.1)).look_up_dane(
            Domain("evil.good.test")
        )
        assert (outcome.kind, len(outcome.hosts)) == (DaneKind.FAILURE, 20)
        assert {host.state for host in outcome.hosts} == {HostState.FAILED}
        assert outcome.hosts[-1].step == "not finished within 0.4 s"

    async def test_others(self, server: DnsServer) -> None:
        """Forty such domains do not delay another one, and are few queries at a time."""
        dane = DaneClient(DnssecClient([server.address], FOR_EVER))
        evil = [f"evil{n}.good.test" for n in range(40)]
        for domain in evil:
            slow_hosts(server, domain, 20)
        slow = [asyncio.create_task(dane.look_up_dane(Domain(domain))) for domain in evil]
        more = own_shares().more_hosts
        at_most = len(evil) + more
        await server.queries.total_reached(len(evil) + at_most)
        assert at_most < len(evil) * HOSTS_AT_ONCE
        server.zone["ok.good.test MX"] = [f"10 mx{n}.ok.good.test." for n in range(5)]
        for n in range(5):
            server.zone[f"mx{n}.ok.good.test A"] = ["192.0.2.1"]
            server.zone[f"_25._tcp.mx{n}.ok.good.test TLSA"] = ["3 1 1 " + "ab" * 32]
        async with asyncio.timeout(TIMEOUT):
            outcome = await dane.look_up_dane(Domain("ok.good.test"))
        assert outcome.kind is DaneKind.ALL
        assert server.queries.total == len(evil) + at_most + 1 + 5 * 2
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        assert dane._places._free == more

    async def test_no_descriptor(self, server: DnsServer) -> None:
        """A socket that cannot be opened is no failure of the DNS, at whatever step."""
        server.zone["evil.good.test MX"] = [f"{n} mx{n}.evil.good.test." for n in range(6)]
        server.hold()
        dane = DaneClient(DnssecClient([server.address], TIMEOUT))
        looked_up = asyncio.create_task(dane.look_up_dane(Domain("evil.good.test")))
        await server.queries.total_reached(1)
        server.release()
        with no_descriptor_free(), pytest.raises(OwnFaultError):
            await looked_up
