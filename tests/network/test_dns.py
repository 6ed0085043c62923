"""Discovery against a DNS server in the process: what the DNS says, and what it does not say."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

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
    CHANNEL_LIFE,
    CHANNEL_QUERIES,
    FAILURES_TOLD,
    DnsClient,
    TxtAnswer,
)
from tests.support.dns import DnsServer, Fault, Records

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = Domain("good.test")
NAME = "_mta-sts.good.test"
QUERY = (NAME, "TXT")
RECORD = '"v=STSv1; id=20260101;"'


class Clock:
    """Monotonic seconds that only a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """What time it is."""
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A DNS server that knows one good record."""
    async with DnsServer({f"{NAME} TXT": [RECORD]}) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """The clock of `dns`."""
    return Clock()


@pytest.fixture
async def dns(server: DnsServer, clock: Clock) -> AsyncIterator[DnsClient]:
    """A client of that server, patient enough for a busy machine."""
    async for dns in asking([server.address], clock=clock):
        yield dns


async def asking(
    nameservers: Iterable[str], patience: float = 20.0, clock: Clock | None = None
) -> AsyncIterator[DnsClient]:
    """A client that is closed in the end."""
    dns = DnsClient(list(nameservers), patience, clock=clock or Clock())
    yield dns
    await dns.close()


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
        async for dns in asking([server.address], patience=0.1):
            with pytest.raises(DnsFailureError, match=r"^no answer within 0\.1 s$"):
                await dns.txt(GOOD)

    async def test_no_name_server_there(self) -> None:
        """A name server that nobody listens at is a DNS failure."""
        async with DnsServer() as gone:
            pass
        async for dns in asking([gone.address], patience=2.0):
            with pytest.raises(DnsFailureError, match="no name server can be reached"):
                await dns.txt(GOOD)

    async def test_reasons_of_c_ares_that_have_no_words_here(self) -> None:
        """An unknown code keeps the library's words; its own timeout is told as ours."""
        dns = DnsClient(timeout=3)
        assert str(dns._failure(12, "Timeout while contacting")) == "no answer within 3 s"
        assert str(dns._failure(15, "Out of\nmemory")) == r"Out of\nmemory"


class TestNameServers:
    """Where queries go."""

    async def test_a_silent_server_leaves_time_for_the_second(self, server: DnsServer) -> None:
        """The first server never answers: the second one does, within the same timeout."""
        async with DnsServer(default=Fault.SILENCE) as unanswered:
            async for dns in asking([unanswered.address, server.address], patience=5.0):
                assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert unanswered.queries[QUERY] >= 1

    async def test_a_failing_server_leaves_it_to_the_second(self, server: DnsServer) -> None:
        """SERVFAIL of the first server is not the end."""
        async with DnsServer(default=Fault.SERVFAIL) as failing:
            async for dns in asking([failing.address, server.address]):
                assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert failing.queries[QUERY] >= 1

    async def test_ipv6_server_with_a_port(self) -> None:
        """`[::1]:port` is understood."""
        async with DnsServer({f"{NAME} TXT": [RECORD]}, host="::1") as server:
            async for dns in asking([server.address]):
                assert (await dns.txt(GOOD)).ttl == 300

    @pytest.mark.parametrize(
        ("written", "understood"),
        [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ],
    )
    async def test_ways_to_write_a_server(self, written: str, understood: str) -> None:
        """With and without a port, IPv4 and IPv6."""
        resolver = DnsClient([written])._resolver()
        assert resolver._channel.servers == [understood]
        await resolver.close()

    async def test_none_means_those_of_the_system(self) -> None:
        """Without name servers the system's are taken."""
        resolver = DnsClient()._resolver()
        assert resolver._channel.servers
        await resolver.close()


class TestCache:
    """c-ares keeps answers; no recheck may be served from them."""

    async def test_no_recheck_is_sooner_than_a_channel_is_old(self) -> None:
        """What the lifecycle waits between two checks is never less than a channel's life."""
        least = min(
            lifecycle.RECHECK_LEAST, lifecycle.ABSENCE_RECHECK, lifecycle.DNS_FAILURE_BELIEVED
        )
        assert least >= CHANNEL_LIFE

    async def test_a_recheck_asks_the_name_server(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """A changed record is seen at the next check, long before its TTL is over."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], ttl=86400)
        await dns.txt(GOOD)
        server.zone[f"{NAME} TXT"] = Records(['"v=STSv1; id=2;"'], ttl=86400)
        clock.now += CHANNEL_LIFE
        assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=2;",)
        assert server.queries[QUERY] == 2

    @pytest.mark.parametrize("absent", [Fault.NXDOMAIN, Fault.NODATA], ids=lambda f: f.name)
    async def test_an_absence_is_asked_again(
        self, dns: DnsClient, server: DnsServer, clock: Clock, absent: Fault
    ) -> None:
        """A record that appears is seen at the next check, whatever the SOA says."""
        server.zone[f"{NAME} TXT"] = absent
        with pytest.raises(NoRecordError):
            await dns.txt(GOOD)
        server.zone[f"{NAME} TXT"] = [RECORD]
        clock.now += CHANNEL_LIFE
        assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)

    async def test_a_channel_is_for_so_many_queries(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """What the cache has kept is given up after so many, and not only after a time."""
        for _ in range(CHANNEL_QUERIES):
            await dns.txt(GOOD)
        assert server.queries[QUERY] == 1
        await dns.txt(GOOD)
        assert server.queries[QUERY] == 2

    async def test_a_query_outlives_its_channel(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """A query under way when the channel is replaced still gets its answer."""
        server.hold()
        first = asyncio.create_task(dns.txt(GOOD))
        await server.queries.reached(QUERY, 1)
        clock.now += CHANNEL_LIFE
        second = asyncio.create_task(dns.txt(GOOD))
        await server.queries.reached(QUERY, 2)
        assert len(dns._channels) == 2
        server.release()
        assert await first == await second
        assert len(dns._channels) == 1

    async def test_a_channel_waits_for_its_last_query(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """An old channel is closed when its last query is over, however that ends."""
        server.zone["_mta-sts.slow.test TXT"] = Fault.SILENCE
        slow = asyncio.create_task(dns.txt(Domain("slow.test")))
        await server.queries.reached(("_mta-sts.slow.test", "TXT"))
        clock.now += CHANNEL_LIFE
        await dns.txt(GOOD)
        assert len(dns._channels) == 2
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert len(dns._channels) == 1


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
        async for dns in asking([server.address], patience=0.1):
            with pytest.raises(HostNotFoundError, match=r"^DNS failure: no answer within 0\.1 s$"):
                await dns.addresses(self.HOST)


class TestEnd:
    """Giving up."""

    async def test_close_ends_what_is_under_way(self, dns: DnsClient, server: DnsServer) -> None:
        """A query that waits is told at once."""
        server.hold()
        query = asyncio.create_task(dns.txt(GOOD))
        await server.queries.reached(QUERY)
        await dns.close()
        with pytest.raises(DnsFailureError, match="given up at shutdown"):
            await query

    async def test_close_before_the_first_query(self) -> None:
        """A client that asked nothing closes too, and needs no event loop to be made."""
        await DnsClient().close()

    @pytest.mark.parametrize("ask", [DnsClient.txt, DnsClient.addresses])
    async def test_a_cancelled_query_leaves_the_others(
        self,
        dns: DnsClient,
        server: DnsServer,
        ask: Callable[[DnsClient, Domain], Awaitable[object]],
    ) -> None:
        """Whoever is cancelled gives nothing up but its own waiting."""
        server.zone["good.test A"] = ["192.0.2.1"]
        server.hold()
        other = asyncio.create_task(dns.txt(GOOD))
        query = asyncio.ensure_future(ask(dns, GOOD))
        await server.queries.total_reached(2)
        query.cancel()
        server.release()
        assert (await other).ttl == 300
        with pytest.raises(asyncio.CancelledError):
            await query


class TestTheLoopDrivesIt:
    """c-ares does its work on the event loop."""

    async def test_no_thread(self, server: DnsServer) -> None:
        """No channel has a thread of its own, and yet it answers."""
        threads = Path("/proc/self/task")
        async for dns in asking([server.address]):
            await dns.txt(GOOD)  # pycares has one thread for all channels that are closed
        before = len(list(threads.iterdir()))
        clients = [DnsClient([server.address], 20.0) for _ in range(5)]
        answers = await asyncio.gather(*(dns.txt(GOOD) for dns in clients))
        assert len(list(threads.iterdir())) - before < len(clients)
        for dns in clients:
            await dns.close()
        assert [answer.ttl for answer in answers] == [300] * len(clients)

    async def test_a_datagram_that_is_lost_is_asked_for_again(self, server: DnsServer) -> None:
        """c-ares is told when a try is over: the next one follows long before the end."""
        original = server._response
        lost: list[object] = []

        def but_the_first(*args: object, **kwargs: object) -> bytes | None:
            if not lost:
                lost.append(args)
                return None
            return original(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came

        server._response = but_the_first  # type: ignore[method-assign] # this server only
        async for dns in asking([server.address], patience=5.0):
            assert (await dns.txt(GOOD)).ttl == 300
        assert server.queries[QUERY] == 2

    async def test_nothing_is_watched_afterwards(self, dns: DnsClient, server: DnsServer) -> None:
        """When all is answered or given up, no descriptor and no timer is left with the loop."""
        server.zone["_mta-sts.long.test TXT"] = Records([RECORD], truncated=True)
        await asyncio.gather(dns.txt(GOOD), dns.txt(Domain("long.test")))
        (channel,) = dns._channels
        resolver = channel.resolver
        await dns.close()
        assert (resolver._read_fds, resolver._write_fds, resolver._timer) == (set(), set(), None)


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
        async for dns in asking([server.address], patience=0.1):
            with pytest.raises(DnsFailureError, match="no answer within"):
                await dns.txt(GOOD)


async def test_a_dns_that_never_answers_is_told_once(
    server: DnsServer, dns: DnsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Many failures in a row are the DNS's own: a warning, and a line when it answers again."""
    caplog.set_level(logging.INFO)
    server.zone["_mta-sts.ill.test TXT"] = Fault.SERVFAIL
    for _ in range(2 * FAILURES_TOLD):
        with pytest.raises(DnsFailureError):
            await dns.txt(Domain("ill.test"))
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert 'DNS does not answer reason="SERVFAIL from the name server"' in told.getMessage()
    assert dns.unanswered
    with pytest.raises(NoRecordError):
        await dns.txt(Domain("absent.test"))
    assert caplog.messages[1:] == [f"DNS answers again failures={2 * FAILURES_TOLD}"]
    assert not dns.unanswered


async def test_failures_between_answers_are_those_of_their_domains(
    server: DnsServer, dns: DnsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A DNS that answers for others is not called ill."""
    server.zone["_mta-sts.ill.test TXT"] = Fault.SERVFAIL
    for _ in range(3):
        for _ in range(FAILURES_TOLD - 1):
            with pytest.raises(DnsFailureError):
                await dns.txt(Domain("ill.test"))
        assert not dns.unanswered
        await dns.txt(GOOD)
    assert caplog.records == []
