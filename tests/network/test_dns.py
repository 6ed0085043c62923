"""Look-ups of TXT records and addresses: answers, and failures to answer."""

import struct

import pytest

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
    """What the record's name answers."""

    async def test_a_record_comes_with_its_ttl(self, dns: DnsClient, server: DnsServer) -> None:
        """The text is as it was published, the TTL as it was given."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], ttl=123)
        assert await dns.txt(GOOD) == TxtAnswer((b"v=STSv1; id=20260101;",), 123)

    async def test_only_the_record_name_is_asked(self, dns: DnsClient, server: DnsServer) -> None:
        """One query, for TXT at _mta-sts.<domain> and nothing else."""
        await dns.txt(GOOD)
        assert (server.queries[QUERY], server.queries.total) == (1, 1)

    async def test_strings_of_one_record_are_joined(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """Several character-strings are one text, without spaces between."""
        server.zone[f"{NAME} TXT"] = ['"v=STS" "v1; id=" "1;"']
        assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=1;",)

    async def test_records_of_one_name_stay_apart(self, dns: DnsClient, server: DnsServer) -> None:
        """Each record is an item of its own."""
        server.zone[f"{NAME} TXT"] = [RECORD, '"v=spf1 -all"']
        assert set((await dns.txt(GOOD)).texts) == {b"v=STSv1; id=20260101;", b"v=spf1 -all"}

    async def test_text_is_bytes(self, dns: DnsClient, server: DnsServer) -> None:
        """No codec touches a text, NUL and bytes above 127 included."""
        server.zone[f"{NAME} TXT"] = [r'"\000\255\010"']
        assert (await dns.txt(GOOD)).texts == (b"\x00\xff\n",)

    async def test_cname_chain_is_followed_with_its_least_ttl(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """A record behind two CNAMEs is good for as long as the shortest of the three."""
        server.zone["_mta-sts.far.test CNAME"] = Records(["_mta-sts.near.test."], ttl=900)
        server.zone["_mta-sts.near.test CNAME"] = Records([f"{NAME}."], ttl=7)
        answer = await dns.txt(Domain("far.test"))
        assert answer == TxtAnswer((b"v=STSv1; id=20260101;",), 7)

    async def test_truncated_answer_comes_by_tcp(self, dns: DnsClient, server: DnsServer) -> None:
        """The TC bit leads to a second query over TCP."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], truncated=True)
        assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
        assert server.tcp_queries[QUERY] == 1

    async def test_answer_larger_than_a_datagram(self, dns: DnsClient, server: DnsServer) -> None:
        """An RRset of many kilobytes is had whole."""
        filler = [f'"{n:0250}"' for n in range(40)]
        server.zone[f"{NAME} TXT"] = [RECORD, *filler]
        assert len((await dns.txt(GOOD)).texts) == 41
        assert server.tcp_queries[QUERY] == 1

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(Fault.NXDOMAIN, "NXDOMAIN"), (Fault.NODATA, "NODATA")],
        ids=lambda value: value.name if isinstance(value, Fault) else "",
    )
    async def test_the_dns_says_there_is_none(
        self, dns: DnsClient, server: DnsServer, answer: Fault, reason: str
    ) -> None:
        """NXDOMAIN and NODATA are "no record"."""
        server.zone[f"{NAME} TXT"] = answer
        with pytest.raises(NoRecordError, match=f"^{reason}$"):
            await dns.txt(GOOD)

    async def test_cname_that_leads_to_another_type(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """A chain whose end has addresses but no TXT is "no record"."""
        server.zone["_mta-sts.far.test CNAME"] = ["host.test."]
        server.zone["host.test A"] = ["127.0.0.1"]
        with pytest.raises(NoRecordError, match="no TXT record"):
            await dns.txt(Domain("far.test"))

    async def test_cname_that_leads_nowhere(self, dns: DnsClient, server: DnsServer) -> None:
        """A chain whose end does not exist is "no record"."""
        server.zone["_mta-sts.far.test CNAME"] = ["nowhere.test."]
        with pytest.raises(NoRecordError, match="NXDOMAIN"):
            await dns.txt(Domain("far.test"))

    async def test_name_too_long_for_the_prefix(self, dns: DnsClient, server: DnsServer) -> None:
        """A domain of 253 characters leaves no room for _mta-sts, so that there is no record."""
        long = Domain(".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 60, "e" * 9]))
        with pytest.raises(NoRecordError, match="too long for the DNS"):
            await dns.txt(long)
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
    async def test_the_dns_does_not_say(
        self, dns: DnsClient, server: DnsServer, answer: Fault, reason: str
    ) -> None:
        """SERVFAIL, REFUSED and garbage leave open whether there is a record."""
        server.zone[f"{NAME} TXT"] = answer
        with pytest.raises(DnsFailureError, match=f"^{reason}$"):
            await dns.txt(GOOD)

    async def test_silent_name_server(self, server: DnsServer) -> None:
        """Silence ends with the timeout, and is a DNS failure."""
        server.zone[f"{NAME} TXT"] = Fault.SILENCE
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(DnsFailureError, match=r"^no answer within 0\.1 s$"):
                await dns.txt(GOOD)

    async def test_no_name_server_there(self) -> None:
        """A name server that nobody listens at is a DNS failure."""
        async with DnsServer() as gone:
            pass
        async with open_client(gone.address, timeout=2.0) as dns:
            with pytest.raises(DnsFailureError, match="no name server can be reached"):
                await dns.txt(GOOD)

    async def test_reasons_of_c_ares_that_have_no_words_here(self) -> None:
        """An unknown code keeps the library's words; its own timeout is told as ours."""
        dns = DnsClient(timeout=3)
        assert str(dns._error(12, "Timeout while contacting")) == "no answer within 3 s"
        assert str(dns._error(15, "Out of\nmemory")) == r"Out of\nmemory"


class TestDiscover:
    """From the domain to its policy id."""

    async def test_policy_id_and_ttl(self, dns: DnsClient) -> None:
        """What the lifecycle needs to know of a record."""
        assert await dns.discover(GOOD) == lifecycle.Discovered(PolicyId("20260101"), 300)

    async def test_no_valid_record(self, dns: DnsClient, server: DnsServer) -> None:
        """Two records of ours are none."""
        server.zone[f"{NAME} TXT"] = [RECORD, '"v=STSv1; id=2;"']
        with pytest.raises(InvalidRecordError, match="2 TXT records"):
            await dns.discover(GOOD)


class TestAddresses:
    """The Policy Host's addresses."""

    HOST = "mta-sts.good.test"

    async def test_both_families(self, dns: DnsClient, server: DnsServer) -> None:
        """All A and all AAAA records, as text."""
        server.zone[f"{self.HOST} A"] = ["192.0.2.1", "192.0.2.2"]
        server.zone[f"{self.HOST} AAAA"] = ["2001:db8::1"]
        assert set(await dns.addresses(self.HOST)) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}

    async def test_behind_a_cname(self, dns: DnsClient, server: DnsServer) -> None:
        """A delegated Policy Host is found, and a CNAME is no address."""
        server.zone[f"{self.HOST} CNAME"] = ["provider.test."]
        server.zone["provider.test A"] = ["192.0.2.1"]
        assert await dns.addresses(self.HOST) == ["192.0.2.1"]

    @pytest.mark.parametrize(
        "fault", [Fault.NODATA, Fault.SERVFAIL, Fault.REFUSED], ids=lambda f: f.name
    )
    async def test_one_family_is_enough(
        self, dns: DnsClient, server: DnsServer, fault: Fault
    ) -> None:
        """A name server that fails on AAAA does not hide the A record."""
        server.zone[f"{self.HOST} A"] = ["192.0.2.1"]
        server.zone[f"{self.HOST} AAAA"] = fault
        assert await dns.addresses(self.HOST) == ["192.0.2.1"]

    @pytest.mark.parametrize(
        ("a", "aaaa", "reason"),
        [
            (Fault.NXDOMAIN, Fault.NXDOMAIN, "NXDOMAIN"),
            (Fault.NODATA, Fault.NODATA, "no address"),
            (Fault.SERVFAIL, Fault.NODATA, "DNS failure: SERVFAIL from the name server"),
            (Fault.NXDOMAIN, Fault.REFUSED, "DNS failure: REFUSED from the name server"),
        ],
    )
    async def test_no_address(
        self, dns: DnsClient, server: DnsServer, a: Fault, aaaa: Fault, reason: str
    ) -> None:
        """The reason says whether the DNS denied the name or did not say."""
        server.zone |= {f"{self.HOST} A": a, f"{self.HOST} AAAA": aaaa}
        with pytest.raises(HostNotFoundError, match=f"^{reason}$"):
            await dns.addresses(self.HOST)

    async def test_silence(self, server: DnsServer) -> None:
        """Silence is a DNS failure too."""
        server.zone |= {f"{self.HOST} A": Fault.SILENCE, f"{self.HOST} AAAA": Fault.SILENCE}
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(HostNotFoundError, match=r"^DNS failure: no answer within 0\.1 s$"):
                await dns.addresses(self.HOST)


class TestForgery:
    """Answers that nobody asked for."""

    async def test_answer_with_another_id_is_passed_over(self, server: DnsServer) -> None:
        """A datagram with a wrong query id does not count; the real answer does."""
        original = server._response

        def with_wrong_id(*args: object, **kwargs: object) -> bytes:
            wire = original(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
            assert wire
            (number,) = struct.unpack_from("!H", wire)
            return struct.pack("!H", number ^ 1) + wire[2:]

        server._response = with_wrong_id  # type: ignore[method-assign] # this server only
        async with open_client(server.address, timeout=0.1) as dns:
            with pytest.raises(DnsFailureError, match="no answer within"):
                await dns.txt(GOOD)
