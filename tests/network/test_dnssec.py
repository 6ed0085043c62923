"""Queries to a validating resolver: secure answers, insecure ones, and failures."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import pytest

from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dns_message import Mx, RecordType, Tlsa
from postfix_mta_sts.network.dnssec import DnssecAnswer, DnssecClient
from tests.support.dns import MINIMUM_TTL, DnsServer, Fault, Records
from tests.support.ports import free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

QUERY = ("good.test", "MX")
TIMEOUT = 20.0
"""Seconds: enough for a busy machine."""
FAILING = 5.0
"""Seconds, for a query that ends when its last try has failed; that one waits for a fifth of it."""


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver; the root and good.test are signed."""
    zone = {
        "good.test MX": ["20 MX2.good.test.", "10 mx1.good.test."],
        ". SOA": ["a. b. 1 2 3 4 5"],
    }
    async with DnsServer(zone, signed=[".", "good.test"], unsigned=["test"]) as server:
        yield server


@pytest.fixture
def ask(server: DnsServer) -> DnssecClient:
    """A client of that resolver."""
    return DnssecClient([server.address], TIMEOUT)


@contextlib.asynccontextmanager
async def answering_by_udp(
    port: int, flags: dns.flags.Flag, forged: dns.flags.Flag | None = None
) -> AsyncIterator[int]:
    """A server that answers each query twice with these flags, after a forged answer if any."""

    class Server(asyncio.DatagramProtocol):
        transport: asyncio.DatagramTransport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            response = dns.message.make_response(dns.message.from_wire(data))
            if forged:
                response.id ^= 1
                response.flags |= forged
                self.transport.sendto(response.to_wire(), addr)
            response = dns.message.make_response(dns.message.from_wire(data))
            response.flags |= flags
            self.transport.sendto(response.to_wire(), addr)
            self.transport.sendto(response.to_wire(), addr)

    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        Server, local_addr=("127.0.0.1", port)
    )
    server.transport = transport
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


class TestAnswers:
    """Records, and whether they are secure."""

    async def test_signed(self, ask: DnssecClient, server: DnsServer) -> None:
        """A signed answer has its records, names in lower case, the AD bit and the TTL."""
        server.zone["good.test MX"] = Records(["20 MX2.good.test.", "10 ."], ttl=77)
        answer = await ask.mx("good.test")
        assert set(answer.records) == {Mx(20, "mx2.good.test"), Mx(10, ".")}
        assert answer == DnssecAnswer(answer.records, True, True, "good.test", 77)  # noqa: FBT003 (a literal answer)

    async def test_not_signed(self, ask: DnssecClient, server: DnsServer) -> None:
        """Without the AD bit an answer is not secure."""
        server.signed.discard("good.test")
        answer = await ask.mx("good.test")
        assert len(answer.records) == 2
        assert not answer.secure

    async def test_other_types(self, ask: DnssecClient, server: DnsServer) -> None:
        """Addresses of both families, CNAMEs and TLSA records are decoded."""
        server.zone |= {
            "mx.good.test A": ["192.0.2.1"],
            "mx.good.test AAAA": ["2001:db8::1"],
            "alias.good.test CNAME": ["MX.Good.test."],
            "_25._tcp.mx.good.test TLSA": ["3 1 1 " + "ab" * 32],
        }
        assert (await ask.addresses("mx.good.test", RecordType.A)).records == ("192.0.2.1",)
        assert (await ask.addresses("mx.good.test", RecordType.AAAA)).records == ("2001:db8::1",)
        assert (await ask.alias("alias.good.test")).records == ("mx.good.test",)
        tlsa = await ask.tlsa("_25._tcp.mx.good.test")
        assert tlsa.records == (Tlsa(3, 1, 1, b"\xab" * 32),)

    @pytest.mark.parametrize(
        ("absent", "exists"), [(Fault.NXDOMAIN, False), (Fault.NODATA, True)], ids=str
    )
    @pytest.mark.parametrize("secure", [True, False])
    async def test_absence(
        self, ask: DnssecClient, server: DnsServer, absent: Fault, *, exists: bool, secure: bool
    ) -> None:
        """An absence is secure or not, and has the TTL of the SOA record (T3)."""
        server.zone["good.test MX"] = absent
        (server.signed if secure else server.unsigned).add("good.test")
        if not secure:
            server.signed.discard("good.test")
        answer = await ask.mx("good.test")
        assert answer == DnssecAnswer((), secure, exists, "good.test", MINIMUM_TTL)

    async def test_signed_chain(self, ask: DnssecClient, server: DnsServer) -> None:
        """A CNAME chain is followed to its end; the TTL is the lowest."""
        server.zone["www.good.test CNAME"] = Records(["far.good.test."], ttl=9)
        server.zone["far.good.test A"] = ["192.0.2.1"]
        answer = await ask.addresses("www.good.test", RecordType.A)
        assert (answer.name, answer.ttl, answer.secure) == ("far.good.test", 9, True)

    async def test_chain_that_leaves_the_signed_zone(
        self, ask: DnssecClient, server: DnsServer
    ) -> None:
        """One insecure CNAME makes the answer insecure."""
        server.zone["www.good.test CNAME"] = ["far.other.test."]
        server.zone["far.other.test A"] = ["192.0.2.1"]
        assert not (await ask.addresses("www.good.test", RecordType.A)).secure

    async def test_endless_chain(self, ask: DnssecClient, server: DnsServer) -> None:
        """A CNAME that points to itself is a failure."""
        server.zone["www.good.test CNAME"] = ["www.good.test."]
        with pytest.raises(DnsFailureError, match=r"^A of www\.good\.test: SERVFAIL"):
            await ask.addresses("www.good.test", RecordType.A)

    async def test_strange_names(self, ask: DnssecClient, server: DnsServer) -> None:
        """A name with any octets is given as printable ASCII, and can be queried."""
        server.zone["good.test MX"] = [r"10 a\255\010\.b\ c.good.test."]
        (record,) = (await ask.mx("good.test")).records
        assert record.host.isascii()
        assert record.host.isprintable()
        assert not (await ask.addresses(record.host, RecordType.A)).exists

    async def test_name_too_long(self, ask: DnssecClient, server: DnsServer) -> None:
        """A name too long for a query is a secure absence, without a query."""
        answer = await ask.tlsa("_25._tcp." + ".".join(["a" * 62] * 4))
        assert (answer.records, answer.secure, answer.exists) == ((), True, False)
        assert server.queries.total == 0

    async def test_truncated_answer_is_fetched_by_tcp(
        self, ask: DnssecClient, server: DnsServer
    ) -> None:
        """The TC bit causes a second query over TCP, whose AD bit is used."""
        server.zone["good.test MX"] = Records(["10 mx1.good.test."], truncated=True)
        assert (await ask.mx("good.test")).secure
        assert server.tcp_queries[QUERY] == 1

    async def test_one_query(self, ask: DnssecClient, server: DnsServer) -> None:
        """One answer takes one query."""
        await ask.mx("good.test")
        assert (server.queries[QUERY], server.queries.total) == (1, 1)


class TestFailures:
    """Failures of the resolver."""

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault.SERVFAIL, "SERVFAIL from the name server"),
            (Fault.REFUSED, "REFUSED from the name server"),
            (Fault.TRUNCATED, "a truncated answer from the name server"),
            (Fault.GARBAGE, "a malformed answer from the name server"),
        ],
        ids=str,
    )
    async def test_no_answer(
        self, ask: DnssecClient, server: DnsServer, fault: Fault, reason: str
    ) -> None:
        """A bogus answer (SERVFAIL) and the like are failures, with the query and the reason."""
        server.zone["good.test MX"] = fault
        with pytest.raises(DnsFailureError, match=f"^MX of good.test: {reason}$"):
            await ask.mx("good.test")

    async def test_no_response(self, server: DnsServer) -> None:
        """No response is a failure after the timeout."""
        server.zone["good.test MX"] = Fault.SILENCE
        with pytest.raises(DnsFailureError, match=r"^MX of good\.test: no answer within 0\.3 s$"):
            await DnssecClient([server.address], 0.3).mx("good.test")

    @pytest.mark.usefixtures("impatient")
    async def test_no_server(self) -> None:
        """A port without a server is a failure."""
        async with DnsServer() as gone:
            pass
        with pytest.raises(DnsFailureError, match="no name server can be reached"):
            await DnssecClient([gone.address], FAILING).mx("good.test")

    async def test_the_next_server(self, server: DnsServer) -> None:
        """If a server fails or does not answer, the next one is queried."""
        for fault in (Fault.SERVFAIL, Fault.SILENCE):
            async with DnsServer(default=fault) as broken:
                ask = DnssecClient([broken.address, server.address], 5.0)
                assert (await ask.mx("good.test")).secure

    async def test_a_lost_query_is_repeated(self, server: DnsServer) -> None:
        """A query to a single server is repeated."""
        server.zone["good.test MX"] = Fault.SILENCE
        asked = asyncio.create_task(DnssecClient([server.address], TIMEOUT / 4).mx("good.test"))
        await server.queries.reached(QUERY)
        server.zone["good.test MX"] = ["10 mx1.good.test."]
        assert (await asked).secure

    async def test_forged_answers_are_ignored(self) -> None:
        """A datagram with another id is ignored; the first real answer ends the query."""
        async with answering_by_udp(0, dns.flags.RA, forged=dns.flags.AD) as port:
            assert not (await DnssecClient([f"127.0.0.1:{port}"], TIMEOUT).mx("good.test")).secure

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(b"\0\2ab", "a malformed answer"), (b"\0\2a", "can be reached"), (b"", "can be reached")],
    )
    async def test_bad_answers_over_tcp(self, answer: bytes, reason: str) -> None:
        """A malformed or incomplete message over TCP is a failure."""

        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            writer.close()

        port = free_port()
        tcp = await asyncio.start_server(talk, "127.0.0.1", port)
        async with tcp, answering_by_udp(port, dns.flags.TC):
            with pytest.raises(DnsFailureError, match=reason):
                await DnssecClient([f"127.0.0.1:{port}"], FAILING).mx("good.test")

    @pytest.mark.usefixtures("impatient")
    async def test_no_tcp(self) -> None:
        """A server that truncates and does not accept TCP is a failure."""
        async with answering_by_udp(0, dns.flags.TC) as port:
            with pytest.raises(DnsFailureError, match="no name server can be reached"):
                await DnssecClient([f"127.0.0.1:{port}"], FAILING).mx("good.test")


class TestValidates:
    """Whether the name servers validate."""

    async def test_signed_root(self, ask: DnssecClient) -> None:
        """A server with the AD bit on the root's SOA record validates (T1)."""
        assert await ask.validates()

    async def test_unsigned_root(self, ask: DnssecClient, server: DnsServer) -> None:
        """A server without the AD bit or without the record does not validate."""
        server.zone[". SOA"] = Fault.NODATA
        assert not await ask.validates()
        server.zone[". SOA"] = ["a. b. 1 2 3 4 5"]
        server.signed.clear()
        assert not await ask.validates()

    async def test_all_servers_must_validate(self, server: DnsServer) -> None:
        """One server that does not validate is enough for a no; it is named."""
        async with DnsServer({". SOA": ["a. b. 1 2 3 4 5"]}) as other:
            ask = DnssecClient([server.address, other.address], TIMEOUT)
            assert not await ask.validates()
            assert await ask.not_validating() == [ask.nameservers[1]]

    async def test_one_server_is_down(self, server: DnsServer) -> None:
        """A server that does not answer is ignored."""
        async with DnsServer(default=Fault.REFUSED) as other:
            assert await DnssecClient([other.address, server.address], TIMEOUT).validates()

    async def test_no_server_answers(self) -> None:
        """If no server answers, `DnsFailureError` is raised."""
        async with DnsServer(default=Fault.REFUSED) as other:
            with pytest.raises(DnsFailureError, match="REFUSED"):
                await DnssecClient([other.address], TIMEOUT).validates()
