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
    FAILURES_LIMIT,
    DnsClient,
)
from tests.support.dns import DnsServer, Fault, Records
from tests.support.dns_clients import GOOD, NAME, QUERY, RECORD, Clock, open_client

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestNameServers:
    """The name servers that get the queries."""

    async def test_a_server_that_does_not_answer_leaves_time_for_the_second(
        self, server: DnsServer
    ) -> None:
        """If the first server does not answer, the second does, within the same timeout."""
        async with DnsServer(default=Fault.SILENCE) as unanswered:
            async with open_client(unanswered.address, server.address, timeout=5.0) as dns:
                assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert unanswered.queries[QUERY] >= 1

    async def test_after_a_failing_server_the_second_is_queried(self, server: DnsServer) -> None:
        """After SERVFAIL from the first server the second is queried."""
        async with DnsServer(default=Fault.SERVFAIL) as failing:
            async with open_client(failing.address, server.address) as dns:
                assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert failing.queries[QUERY] >= 1

    async def test_ipv6_server_with_a_port(self) -> None:
        """`[::1]:port` is accepted."""
        zone = {f"{NAME} TXT": [RECORD]}
        async with DnsServer(zone, host="::1") as server, open_client(server.address) as dns:
            assert (await dns.look_up_txt(GOOD)).ttl == 300

    @pytest.mark.parametrize(
        ("written", "understood"),
        [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ],
    )
    async def test_notations_of_a_server(self, written: str, understood: str) -> None:
        """Addresses are accepted with and without a port, IPv4 and IPv6."""
        resolver = DnsClient([written])._new_resolver()
        assert resolver._channel.servers == [understood]
        await resolver.close()

    async def test_servers_of_the_system(self) -> None:
        """Without configured name servers those of the system are used."""
        resolver = DnsClient()._new_resolver()
        assert resolver._channel.servers
        await resolver.close()


class TestCache:
    """c-ares caches answers; no recheck may be answered from its cache."""

    async def test_rechecks_are_further_apart_than_a_channel_lives(self) -> None:
        """The time between two checks is never shorter than the life of a channel."""
        least = min(lifecycle.MIN_RECHECK, lifecycle.ABSENCE_RECHECK, lifecycle.DNS_FAILURE_LIFE)
        assert least >= CHANNEL_LIFE

    async def test_a_recheck_queries_the_name_server(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """A changed record is found by the next check, long before its TTL is over."""
        server.zone[f"{NAME} TXT"] = Records([RECORD], ttl=86400)
        await dns.look_up_txt(GOOD)
        server.zone[f"{NAME} TXT"] = Records(['"v=STSv1; id=2;"'], ttl=86400)
        clock.now += CHANNEL_LIFE
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=2;",)
        assert server.queries[QUERY] == 2

    @pytest.mark.parametrize("absent", [Fault.NXDOMAIN, Fault.NODATA], ids=lambda f: f.name)
    async def test_an_absence_is_queried_again(
        self, dns: DnsClient, server: DnsServer, clock: Clock, absent: Fault
    ) -> None:
        """A new record is found by the next check, whatever the TTL of the negative answer."""
        server.zone[f"{NAME} TXT"] = absent
        with pytest.raises(NoRecordError):
            await dns.look_up_txt(GOOD)
        server.zone[f"{NAME} TXT"] = [RECORD]
        clock.now += CHANNEL_LIFE
        assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)

    async def test_a_channel_has_a_limited_number_of_queries(
        self, dns: DnsClient, server: DnsServer
    ) -> None:
        """A new channel with an empty cache follows after a number of queries too."""
        for _ in range(CHANNEL_QUERIES):
            await dns.look_up_txt(GOOD)
        assert server.queries[QUERY] == 1
        await dns.look_up_txt(GOOD)
        assert server.queries[QUERY] == 2

    async def test_a_query_outlives_its_channel(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """A query that runs while the channel is replaced still gets its answer."""
        server.hold()
        first = asyncio.create_task(dns.look_up_txt(GOOD))
        await server.queries.reached(QUERY, 1)
        clock.now += CHANNEL_LIFE
        second = asyncio.create_task(dns.look_up_txt(GOOD))
        await server.queries.reached(QUERY, 2)
        assert len(dns._channels) == 2
        server.release()
        assert await first == await second
        assert len(dns._channels) == 1

    async def test_a_channel_waits_for_its_last_query(
        self, dns: DnsClient, server: DnsServer, clock: Clock
    ) -> None:
        """An old channel is closed when its last query has ended, also by cancellation."""
        server.zone["_mta-sts.slow.test TXT"] = Fault.SILENCE
        slow = asyncio.create_task(dns.look_up_txt(Domain("slow.test")))
        await server.queries.reached(("_mta-sts.slow.test", "TXT"))
        clock.now += CHANNEL_LIFE
        await dns.look_up_txt(GOOD)
        assert len(dns._channels) == 2
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert len(dns._channels) == 1


class TestCloseAndCancel:
    """Closing the client and cancelling queries."""

    async def test_close_cancels_running_queries(self, dns: DnsClient, server: DnsServer) -> None:
        """A running query fails at once."""
        server.hold()
        query = asyncio.create_task(dns.look_up_txt(GOOD))
        await server.queries.reached(QUERY)
        await dns.close()
        with pytest.raises(DnsFailureError, match="cancelled at shutdown"):
            await query

    async def test_close_before_the_first_query(self) -> None:
        """A client that sent no query can be closed."""
        await DnsClient().close()

    @pytest.mark.parametrize("ask", [DnsClient.look_up_txt, DnsClient.look_up_addresses])
    async def test_cancelling_one_query(
        self,
        dns: DnsClient,
        server: DnsServer,
        ask: Callable[[DnsClient, Domain], Awaitable[object]],
    ) -> None:
        """Cancelling one query does not affect others."""
        server.zone["good.test A"] = ["192.0.2.1"]
        server.hold()
        other = asyncio.create_task(dns.look_up_txt(GOOD))
        query = asyncio.ensure_future(ask(dns, GOOD))
        await server.queries.total_reached(2)
        query.cancel()
        server.release()
        assert (await other).ttl == 300
        with pytest.raises(asyncio.CancelledError):
            await query


class TestEventLoop:
    """c-ares runs on the event loop."""

    async def test_no_thread(self, server: DnsServer) -> None:
        """Queries are answered though no channel has a thread."""
        threads = Path("/proc/self/task")
        async with open_client(server.address) as dns:
            await dns.look_up_txt(GOOD)  # pycares has one thread for all channels that are closed
        before = len(list(threads.iterdir()))
        clients = [DnsClient([server.address], 20.0) for _ in range(5)]
        answers = await asyncio.gather(*(dns.look_up_txt(GOOD) for dns in clients))
        assert len(list(threads.iterdir())) - before < len(clients)
        for dns in clients:
            await dns.close()
        assert [answer.ttl for answer in answers] == [300] * len(clients)

    async def test_a_lost_datagram_is_sent_again(self, server: DnsServer) -> None:
        """The timer runs the retries of c-ares: the next try starts long before the timeout."""
        original = server._response
        lost: list[object] = []

        def all_but_the_first(*args: object, **kwargs: object) -> bytes | None:
            if not lost:
                lost.append(args)
                return None
            return original(*args, **kwargs)  # type: ignore[arg-type] # passed on unchanged

        server._response = all_but_the_first  # type: ignore[method-assign] # this server only
        async with open_client(server.address, timeout=5.0) as dns:
            assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert server.queries[QUERY] == 2

    async def test_nothing_is_left_in_the_loop(self, dns: DnsClient, server: DnsServer) -> None:
        """After the last query no descriptor and no timer is left in the event loop."""
        server.zone["_mta-sts.long.test TXT"] = Records([RECORD], truncated=True)
        await asyncio.gather(dns.look_up_txt(GOOD), dns.look_up_txt(Domain("long.test")))
        (channel,) = dns._channels
        resolver = channel.resolver
        await dns.close()
        assert (resolver._read_fds, resolver._write_fds, resolver._timer) == (set(), set(), None)


async def test_a_dns_that_does_not_answer_is_logged_once(
    server: DnsServer, dns: DnsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Many failures in a row cause one warning, and the next answer an info."""
    caplog.set_level(logging.INFO)
    server.zone["_mta-sts.ill.test TXT"] = Fault.SERVFAIL
    for _ in range(2 * FAILURES_LIMIT):
        with pytest.raises(DnsFailureError):
            await dns.look_up_txt(Domain("ill.test"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'DNS does not answer reason="SERVFAIL from the name server"' in record.getMessage()
    assert dns.unanswered
    with pytest.raises(NoRecordError):
        await dns.look_up_txt(Domain("absent.test"))
    assert caplog.messages[1:] == [f"DNS answers again failures={2 * FAILURES_LIMIT}"]
    assert not dns.unanswered


async def test_failures_between_answers_are_not_logged(
    server: DnsServer, dns: DnsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures between answers cause no warning."""
    server.zone["_mta-sts.ill.test TXT"] = Fault.SERVFAIL
    for _ in range(3):
        for _ in range(FAILURES_LIMIT - 1):
            with pytest.raises(DnsFailureError):
                await dns.look_up_txt(Domain("ill.test"))
        assert not dns.unanswered
        await dns.look_up_txt(GOOD)
    assert caplog.records == []
