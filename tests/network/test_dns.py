"""Look-ups of TXT records and addresses: answers, and failures to answer."""

import struct

import pytest
from dns import rrset
from dns.message import Message

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    HostNotFoundError,
    InvalidRecordError,
    NoRecordError,
)
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.dns import (
    DnsClient,
    TxtAnswer,
)
from tests.support.dns import DnsServer, Fault, Records
from tests.support.dns_clients import GOOD, NAME, QUERY, RECORD, open_client

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestTxt:
    """TXT records at the name of the record."""

    async def test_a_record_comes_with_its_ttl(self, dns: DnsClient, server: DnsServer) -> None:
        """Text and TTL are those of the response."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], ttl=123)
        assert await dns.look_up_txt(GOOD) == TxtAnswer((b"v=STSv1; id=20260101;",), 123)

    async def test_only_the_record_name_is_asked(self, dns: DnsClient, server: DnsServer) -> None:
        """There is one query, for TXT at _mta-sts.<domain>."""
        await dns.look_up_txt(GOOD)
        assert (server.queries[QUERY], server.queries.total) == (1, 1)

    async def test_strings_of_one_record_are_joined(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """The character-strings of a record are joined without spaces."""
        server.zone[f"{NAME} TXT"] = ['"v=STS" "v1; id=" "1;"']
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=1;",)

    async def test_records_of_one_name_are_separate(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """Each record is a separate item."""
        server.zone[f"{NAME} TXT"] = [RECORD, '"v=spf1 -all"']
        assert set((await dns.look_up_txt(GOOD)).texts) == {
            b"v=STSv1; id=20260101;",
            b"v=spf1 -all",
        }

    async def test_text_is_bytes(self, dns: DnsClient, server: DnsServer) -> None:
        """Texts are bytes and may have NUL and bytes above 127."""
        server.zone[f"{NAME} TXT"] = [r'"\000\255\010"']
        assert (await dns.look_up_txt(GOOD)).texts == (b"\x00\xff\n",)

    async def test_cname_chain_has_the_lowest_ttl(self, dns: DnsClient, server: DnsServer) -> None:
        """The TTL of a record behind two CNAMEs is the lowest of the three; the chain is told."""
        server.zone["_mta-sts.far.test CNAME"] = Records(["_mta-sts.near.test."], ttl=900)
        server.zone["_mta-sts.near.test CNAME"] = Records([f"{NAME}."], ttl=7)
        answer = await dns.look_up_txt(Domain("far.test"))
        chain = ("_mta-sts.near.test", NAME)
        assert answer == TxtAnswer((b"v=STSv1; id=20260101;",), 7, chain)

    async def test_any_name(self, dns: DnsClient, server: DnsServer) -> None:
        """The TXT records of any name can be queried."""
        server.zone["_smtp._tls.good.test TXT"] = ['"v=TLSRPTv1; rua=mailto:a@good.test"']
        answer = await dns.look_up_texts("_smtp._tls.good.test")
        assert answer == TxtAnswer((b"v=TLSRPTv1; rua=mailto:a@good.test",), 300)

    async def test_truncated_answer_is_fetched_by_tcp(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """The TC bit causes a second query over TCP."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], truncated=True)
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
        assert server.tcp_queries[QUERY] == 1

    async def test_answer_larger_than_a_datagram(self, dns: DnsClient, server: DnsServer) -> None:
        """An RRset of many kilobytes is received completely."""
        filler = [f'"{n:0250}"' for n in range(40)]
        server.zone[f"{NAME} TXT"] = [RECORD, *filler]
        assert len((await dns.look_up_txt(GOOD)).texts) == 41
        assert server.tcp_queries[QUERY] == 1

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(Fault.NXDOMAIN, "NXDOMAIN"), (Fault.NODATA, "NODATA")],
        ids=lambda value: value.name if isinstance(value, Fault) else "",
    )
    async def test_negative_answer(
        self, dns: DnsClient, server: DnsServer, answer: Fault, reason: str
    ) -> None:
        """NXDOMAIN and NODATA raise `NoRecordError`."""
        server.zone[f"{NAME} TXT"] = answer
        with pytest.raises(NoRecordError, match=f"^{reason}$"):
            await dns.look_up_txt(GOOD)

    async def test_cname_that_leads_to_another_type(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """A chain that ends at a name without TXT records raises `NoRecordError`."""
        server.zone["_mta-sts.far.test CNAME"] = ["host.test."]
        server.zone["host.test A"] = ["127.0.0.1"]
        with pytest.raises(NoRecordError, match="no TXT record"):
            await dns.look_up_txt(Domain("far.test"))

    async def test_cname_that_leads_nowhere(self, dns: DnsClient, server: DnsServer) -> None:
        """A chain that ends at a name that does not exist raises `NoRecordError` with the chain."""
        server.zone["_mta-sts.far.test CNAME"] = ["nowhere.test."]
        with pytest.raises(NoRecordError, match="NXDOMAIN") as caught:
            await dns.look_up_txt(Domain("far.test"))
        assert caught.value.aliases == ("nowhere.test",)

    async def test_name_too_long_for_the_prefix(self, dns: DnsClient, server: DnsServer) -> None:
        """A domain of 253 characters leaves no room for _mta-sts, so it cannot have a record."""
        long = Domain(".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 60, "e" * 9]))
        with pytest.raises(NoRecordError, match="too long for the DNS"):
            await dns.look_up_txt(long)
        assert server.queries.total == 0

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (Fault.SERVFAIL, "SERVFAIL from the name server"),
            (Fault.REFUSED, "REFUSED from the name server"),
            (Fault.GARBAGE, "a malformed answer from the name server"),
        ],
        ids=lambda value: value.name if isinstance(value, Fault) else "",
    )
    async def test_dns_failure(
        self, dns: DnsClient, server: DnsServer, answer: Fault, reason: str
    ) -> None:
        """SERVFAIL, REFUSED and malformed responses raise `DnsFailureError`."""
        server.zone[f"{NAME} TXT"] = answer
        with pytest.raises(DnsFailureError, match=f"^{reason}$"):
            await dns.look_up_txt(GOOD)

    async def test_name_server_that_does_not_answer(self, server: DnsServer) -> None:
        """A name server that does not answer is a DNS failure after the timeout."""
        server.zone[f"{NAME} TXT"] = Fault.SILENCE
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(DnsFailureError, match=r"^no answer within 0\.1 s$"):
                await dns.look_up_txt(GOOD)

    async def test_no_name_server(self) -> None:
        """A port without a name server is a DNS failure."""
        async with DnsServer() as gone:
            pass
        async with open_client(gone.address, timeout=2.0) as dns:
            with pytest.raises(DnsFailureError, match="no name server can be reached"):
                await dns.look_up_txt(GOOD)

    async def test_every_look_up_asks_again(self, dns: DnsClient, server: DnsServer) -> None:
        """No answer is cached: a changed record is found at once, long before its TTL is over."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], ttl=86400)
        await dns.look_up_txt(GOOD)
        server.zone[f"{NAME} TXT"] = Records(['"v=STSv1; id=2;"'], ttl=86400)
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=2;",)
        assert server.queries[QUERY] == 2

    @pytest.mark.parametrize("absent", [Fault.NXDOMAIN, Fault.NODATA], ids=lambda f: f.name)
    async def test_an_absence_is_asked_again(
        self, dns: DnsClient, server: DnsServer, absent: Fault
    ) -> None:
        """A new record is found at once, whatever the TTL of the negative answer."""
        server.zone[f"{NAME} TXT"] = absent
        with pytest.raises(NoRecordError):
            await dns.look_up_txt(GOOD)
        server.zone[f"{NAME} TXT"] = [RECORD]
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)

    async def test_record_of_another_owner(self, dns: DnsClient, server: DnsServer) -> None:
        """A record under another name than the one asked for, or where it leads, is ignored."""
        original = server._found

        def with_another(response: Message, name: str, kind: str) -> Records | Fault:
            response.answer.append(rrset.from_text("evil.test.", 1, "IN", "TXT", RECORD))
            return original(response, name, kind)

        server._found = with_another  # type: ignore[method-assign] # this server only
        with pytest.raises(NoRecordError):
            await dns.look_up_txt(Domain("other.test"))
        assert len((await dns.look_up_txt(GOOD)).texts) == 1


class TestDiscover:
    """From a domain to its policy id."""

    async def test_policy_id_and_ttl(self, dns: DnsClient) -> None:
        """`discover` gives the id and the TTL."""
        assert await dns.discover(GOOD) == lifecycle.Discovered(PolicyId("20260101"), 300)

    async def test_no_valid_record(self, dns: DnsClient, server: DnsServer) -> None:
        """Two MTA-STS records are invalid."""
        server.zone[f"{NAME} TXT"] = [RECORD, '"v=STSv1; id=2;"']
        with pytest.raises(InvalidRecordError, match="2 TXT records"):
            await dns.discover(GOOD)


class TestTlsrpt:
    """From a domain to its TLSRPT record."""

    TEXT = "v=TLSRPTv1; rua=mailto:tls@good.test,https://good.test/tls"

    async def test_record_and_ttl(self, dns: DnsClient, server: DnsServer) -> None:
        """`find_tlsrpt` gives the URIs, the text as it is published, and the TTL."""
        server.zone["_smtp._tls.good.test TXT"] = Records([f'"{self.TEXT}"'], 600)
        found = await dns.find_tlsrpt(GOOD)
        assert found.record.rua == ("mailto:tls@good.test", "https://good.test/tls")
        assert (found.record.text, found.ttl) == (self.TEXT, 600)

    async def test_no_valid_record(self, dns: DnsClient, server: DnsServer) -> None:
        """None at all, and one that names no place."""
        with pytest.raises(NoRecordError):
            await dns.find_tlsrpt(GOOD)
        server.zone["_smtp._tls.good.test TXT"] = ['"v=TLSRPTv1; x=y"']
        with pytest.raises(InvalidRecordError, match="no rua"):
            await dns.find_tlsrpt(GOOD)


class TestAddresses:
    """The addresses of a Policy Host."""

    HOST = "mta-sts.good.test"

    async def test_both_families(self, dns: DnsClient, server: DnsServer) -> None:
        """All A and AAAA records are given as text."""
        server.zone[f"{self.HOST} A"] = ["192.0.2.1", "192.0.2.2"]
        server.zone[f"{self.HOST} AAAA"] = ["2001:db8::1"]
        assert set(await dns.look_up_addresses(self.HOST)) == {
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
        }

    async def test_behind_a_cname(self, dns: DnsClient, server: DnsServer) -> None:
        """A CNAME is followed and not taken for an address."""
        server.zone[f"{self.HOST} CNAME"] = ["provider.test."]
        server.zone["provider.test A"] = ["192.0.2.1"]
        assert await dns.look_up_addresses(self.HOST) == ["192.0.2.1"]

    @pytest.mark.parametrize(
        "fault", [Fault.NODATA, Fault.SERVFAIL, Fault.REFUSED], ids=lambda f: f.name
    )
    async def test_one_family_is_enough(
        self, dns: DnsClient, server: DnsServer, fault: Fault
    ) -> None:
        """A failure of the AAAA query does not hide the A record."""
        server.zone[f"{self.HOST} A"] = ["192.0.2.1"]
        server.zone[f"{self.HOST} AAAA"] = fault
        assert await dns.look_up_addresses(self.HOST) == ["192.0.2.1"]

    @pytest.mark.parametrize(
        ("a", "aaaa", "reason"),
        [
            (Fault.NXDOMAIN, Fault.NXDOMAIN, "NXDOMAIN"),
            (Fault.NODATA, Fault.NODATA, "no address"),
        ],
    )
    async def test_no_address(
        self, dns: DnsClient, server: DnsServer, a: Fault, aaaa: Fault, reason: str
    ) -> None:
        """If both families are proven absent, the host does not exist."""
        server.zone |= {f"{self.HOST} A": a, f"{self.HOST} AAAA": aaaa}
        with pytest.raises(HostNotFoundError, match=f"^{reason}$"):
            await dns.look_up_addresses(self.HOST)

    @pytest.mark.parametrize(
        ("a", "aaaa", "reason"),
        [
            (Fault.SERVFAIL, Fault.NODATA, "SERVFAIL from the name server"),
            (Fault.NXDOMAIN, Fault.REFUSED, "REFUSED from the name server"),
        ],
    )
    async def test_not_known(
        self, dns: DnsClient, server: DnsServer, a: Fault, aaaa: Fault, reason: str
    ) -> None:
        """Without an address, a failed query is a DNS failure, and names the host."""
        server.zone |= {f"{self.HOST} A": a, f"{self.HOST} AAAA": aaaa}
        with pytest.raises(DnsFailureError, match=f"^addresses of {self.HOST}: {reason}$"):
            await dns.look_up_addresses(self.HOST)

    async def test_no_answer(self, server: DnsServer) -> None:
        """No answer is a DNS failure."""
        server.zone |= {f"{self.HOST} A": Fault.SILENCE, f"{self.HOST} AAAA": Fault.SILENCE}
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(DnsFailureError, match=r"no answer within 0\.1 s$"):
                await dns.look_up_addresses(self.HOST)

    async def test_name_too_long(self, dns: DnsClient) -> None:
        """A name that cannot exist has no address."""
        with pytest.raises(HostNotFoundError, match="too long for the DNS"):
            await dns.look_up_addresses("mta-sts." + ".".join(["a" * 62] * 4))


class TestForgery:
    """Forged responses."""

    async def test_answer_with_another_id_is_ignored(self, server: DnsServer) -> None:
        """A datagram with a wrong id is ignored."""
        original = server._response

        def with_wrong_id(*args: object, **kwargs: object) -> bytes:
            wire = original(*args, **kwargs)  # type: ignore[arg-type] # passed on unchanged
            assert wire
            (number,) = struct.unpack_from("!H", wire)
            return struct.pack("!H", number ^ 1) + wire[2:]

        server._response = with_wrong_id  # type: ignore[method-assign] # this server only
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(DnsFailureError, match="no answer within"):
                await dns.look_up_txt(GOOD)
