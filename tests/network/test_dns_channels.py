"""The DNS client's c-ares channels: name servers, cache, event loop, end and failures."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    NoRecordError,
)
from postfix_mta_sts.network.dns import (
    CHANNEL_LIFE,
    CHANNEL_QUERIES,
    FAILURES_TOLD,
    DnsClient,
)
from tests.support.dns import DnsServer, Fault, Records
from tests.support.dns_clients import GOOD, NAME, QUERY, RECORD, Clock, open_client

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestNameServers:
    """Where queries go."""

    async def test_a_silent_server_leaves_time_for_the_second(self, server: DnsServer) -> None:
        """The first server never answers: the second one does, within the same timeout."""
        async with DnsServer(default=Fault.SILENCE) as unanswered:
            async with open_client(unanswered.address, server.address, timeout=5.0) as dns:
                assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert unanswered.queries[QUERY] >= 1

    async def test_a_failing_server_leaves_it_to_the_second(self, server: DnsServer) -> None:
        """SERVFAIL of the first server is not the end."""
        async with DnsServer(default=Fault.SERVFAIL) as failing:
            async with open_client(failing.address, server.address) as dns:
                assert (await dns.txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert failing.queries[QUERY] >= 1

    async def test_ipv6_server_with_a_port(self) -> None:
        """`[::1]:port` is understood."""
        zone = {f"{NAME} TXT": [RECORD]}
        async with DnsServer(zone, host="::1") as server, open_client(server.address) as dns:
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
        resolver = DnsClient([written])._new_resolver()
        assert resolver._channel.servers == [understood]
        await resolver.close()

    async def test_none_means_those_of_the_system(self) -> None:
        """Without name servers the system's are taken."""
        resolver = DnsClient()._new_resolver()
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


class TestEnd:
    """Giving up."""

    async def test_close_ends_what_is_under_way(self, dns: DnsClient, server: DnsServer) -> None:
        """A query that waits is told at once."""
        server.hold()
        query = asyncio.create_task(dns.txt(GOOD))
        await server.queries.reached(QUERY)
        await dns.close()
        with pytest.raises(DnsFailureError, match="cancelled at shutdown"):
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
        async with open_client(server.address) as dns:
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
        async with open_client(server.address, timeout=5.0) as dns:
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
