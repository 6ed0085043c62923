"""Queries to name servers: which are tried, in which order, how often, and what is left behind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from dns import flags, message, rcode

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.network.dns import FAILURES_LIMIT, DnsClient
from postfix_mta_sts.network.dns_query import TRIES
from postfix_mta_sts.network.nameservers import PASSED_OVER, READ_AGAIN, Nameservers
from tests.support.dns import DnsServer, Fault
from tests.support.dns_clients import GOOD, NAME, QUERY, RECORD, Clock, open_client

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def queries(server: DnsServer) -> int:
    """The queries that a server got since this was last called."""
    total = server.queries.total
    server.queries = type(server.queries)()
    return total


def descriptors() -> set[Path]:
    """The open descriptors of this process."""
    return set(Path("/proc/self/fd").iterdir())


async def none_left(before: set[Path]) -> None:
    """Return when no descriptor is open that was not open before."""
    async with asyncio.timeout(20):
        while descriptors() - before:  # noqa: ASYNC110 (nothing tells of a closed descriptor)
            await asyncio.sleep(0.01)


class TestOrder:
    """The name servers that get the queries."""

    async def test_a_server_that_does_not_answer_leaves_time_for_the_second(
        self, server: DnsServer
    ) -> None:
        """If the first server does not answer, the second does, within the same timeout."""
        async with DnsServer(default=Fault.SILENCE) as silent:
            async with open_client(silent.address, server.address, timeout=5.0) as dns:
                assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert silent.queries[QUERY] >= 1

    async def test_after_a_failing_server_the_second_is_queried(self, server: DnsServer) -> None:
        """After SERVFAIL from the first server the second is queried, each time."""
        async with DnsServer(default=Fault.SERVFAIL) as failing:
            async with open_client(failing.address, server.address) as dns:
                for _ in range(2):
                    assert (await dns.look_up_txt(GOOD)).texts == (b"v=STSv1; id=20260101;",)
            assert failing.queries[QUERY] == 2

    async def test_a_silent_server_is_passed_over(self, server: DnsServer, clock: Clock) -> None:
        """It comes last for a while; then one query tries it, and the others do not wait for it."""
        async with (
            DnsServer(default=Fault.SILENCE) as silent,
            open_client(silent.address, server.address, timeout=2.0, clock=clock) as dns,
        ):
            await dns.look_up_txt(GOOD)
            assert queries(silent) == 1
            await dns.look_up_txt(GOOD)
            assert queries(silent) == 0
            clock.now += PASSED_OVER
            await asyncio.gather(*(dns.look_up_txt(GOOD) for _ in range(5)))
            assert queries(silent) == 1
            silent.zone[f"{NAME} TXT"] = [RECORD]
            clock.now += PASSED_OVER
            queries(server)
            for _ in range(3):
                await dns.look_up_txt(GOOD)
            assert (queries(silent), queries(server)) == (3, 0)

    async def test_a_slow_domain_does_not_blame_the_server(
        self, server: DnsServer, clock: Clock
    ) -> None:
        """A server that answers other queries meanwhile is not passed over."""
        server.zone["_mta-sts.slow.test TXT"] = Fault.SILENCE
        async with (
            DnsServer(default=Fault.NXDOMAIN) as second,
            open_client(server.address, second.address, timeout=1.0, clock=clock) as dns,
        ):
            slow = asyncio.create_task(dns.look_up_txt(Domain("slow.test")))
            await server.queries.reached(("_mta-sts.slow.test", "TXT"))
            clock.now += 1
            await dns.look_up_txt(GOOD)
            with pytest.raises(NoRecordError):
                await slow
            queries(second)
            await dns.look_up_txt(GOOD)
            assert queries(second) == 0


class TestTries:
    """How often one query is sent."""

    @pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE], ids=str)
    async def test_errors(self, server: DnsServer, fault: Fault) -> None:
        """A server that answers with an error, or nonsense, gets a query twice (C7)."""
        server.zone[f"{NAME} TXT"] = fault
        async with DnsServer(default=fault) as other:
            async with open_client(server.address, other.address) as dns:
                with pytest.raises(DnsFailureError):
                    await dns.look_up_txt(GOOD)
            assert (server.queries.total, other.queries.total) == (TRIES, TRIES)

    async def test_silence(self, server: DnsServer) -> None:
        """A server that does not answer gets a query twice; then the rest of the time is waited."""
        server.zone[f"{NAME} TXT"] = Fault.SILENCE
        async with open_client(server.address, timeout=0.2) as dns:
            with pytest.raises(DnsFailureError, match=r"no answer within 0\.2 s"):
                await dns.look_up_txt(GOOD)
        assert server.queries.total == TRIES

    async def test_a_lost_datagram_is_sent_again(self, server: DnsServer) -> None:
        """The second try begins long before the timeout."""
        server.zone[f"{NAME} TXT"] = Fault.SILENCE
        async with open_client(server.address, timeout=5.0) as dns:
            asked = asyncio.create_task(dns.look_up_txt(GOOD))
            await server.queries.reached(QUERY)
            server.zone[f"{NAME} TXT"] = [RECORD]
            assert (await asked).ttl == 300
        assert server.queries[QUERY] == 2

    async def test_a_late_answer(self, server: DnsServer) -> None:
        """An answer to the first try is taken after the second try has started."""
        original, seen = server.start_answering, list[tuple[bytes, tuple[str, int]]]()

        def answer_the_first(wire: bytes, peer: tuple[str, int]) -> None:
            if seen:
                original(*seen[0])
            seen.append((wire, peer))

        server.start_answering = answer_the_first  # type: ignore[method-assign] # this server only
        async with open_client(server.address, timeout=5.0) as dns:
            assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert len(seen) == TRIES

    async def test_a_server_without_edns(self, server: DnsServer) -> None:
        """After FORMERR a query is sent without EDNS (RFC 6891 §7)."""
        original = server._response

        def without_edns(
            query: message.Message, name: str, kind: str, *, tcp: bool
        ) -> bytes | None:
            if query.edns == -1:
                return original(query, name, kind, tcp=tcp)
            response = message.make_response(query)
            response.use_edns(False)  # noqa: FBT003 (as dnspython has it)
            response.set_rcode(rcode.FORMERR)
            response.flags |= flags.RA
            return response.to_wire()

        server._response = without_edns  # type: ignore[method-assign] # this server only
        async with open_client(server.address) as dns:
            assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert server.queries[QUERY] == 2


class TestServers:
    """The configured servers, and those of the system."""

    @pytest.mark.parametrize(
        ("written", "understood"),
        [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("fe80::1%lo", "[fe80::1%lo]:53"),
            ("[fe80::1%lo]:5353", "[fe80::1%lo]:5353"),
        ],
    )
    async def test_notations(self, written: str, understood: str) -> None:
        """Addresses are accepted with and without a port, IPv4 and IPv6."""
        assert [str(server) for server in Nameservers([written], 5.0).servers] == [understood]

    async def test_ipv6(self) -> None:
        """A server at `[::1]:port` is queried."""
        zone = {f"{NAME} TXT": [RECORD]}
        async with DnsServer(zone, host="::1") as server, open_client(server.address) as dns:
            assert (await dns.look_up_txt(GOOD)).ttl == 300

    @pytest.mark.usefixtures("impatient")
    async def test_a_change_of_resolv_conf(
        self,
        server: DnsServer,
        clock: Clock,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Other servers in resolv.conf are used within half a minute, and logged (C6)."""
        caplog.set_level(logging.INFO)
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.2\n")
        dns = DnsClient((), 5.0, clock=clock, resolv_conf=resolv_conf, port=server.port)
        with pytest.raises(DnsFailureError, match="no name server can be reached"):
            await dns.look_up_txt(GOOD)
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        for _ in range(2):
            clock.now += READ_AGAIN
            assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert caplog.messages == [f"name servers changed servers=127.0.0.1:{server.port}"]
        assert set(dns._nameservers._answered_at) == {TcpAddress("127.0.0.1", server.port)}

    async def test_configured_servers_stay(self, server: DnsServer, clock: Clock) -> None:
        """With configured servers, resolv.conf is not read."""
        dns = DnsClient([server.address], 20.0, clock=clock, resolv_conf=Path("/nonexistent"))
        clock.now += READ_AGAIN
        assert (await dns.look_up_txt(GOOD)).ttl == 300
        assert dns._nameservers.servers == (TcpAddress("127.0.0.1", server.port),)


class TestNothingIsLeft:
    """What a query leaves behind when it ends."""

    @pytest.mark.parametrize("ask", [DnsClient.look_up_txt, DnsClient.look_up_addresses])
    async def test_cancelled(
        self,
        dns: DnsClient,
        server: DnsServer,
        ask: Callable[[DnsClient, Domain], Awaitable[object]],
    ) -> None:
        """A cancelled query leaves no task and no socket, and does not affect others."""
        server.hold()
        other = asyncio.create_task(dns.look_up_txt(GOOD))
        await server.queries.total_reached(1)
        before = descriptors()
        query = asyncio.ensure_future(ask(dns, GOOD))
        await server.queries.total_reached(2)
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        await none_left(before)
        server.release()
        assert (await other).ttl == 300

    async def test_answered(self, dns: DnsClient, server: DnsServer) -> None:
        """Answered queries, by UDP and by TCP, leave no socket."""
        await dns.look_up_txt(GOOD)
        server.zone["long.test A"] = [f"192.0.2.{n}" for n in range(200)]
        before = descriptors()
        await asyncio.gather(dns.look_up_txt(GOOD), dns.look_up_addresses("long.test"))
        assert server.tcp_queries["long.test", "A"] == 1
        await none_left(before)


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
    assert record.getMessage().endswith(f"failures={FAILURES_LIMIT} servers={server.address}")
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
