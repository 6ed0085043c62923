"""One query: what begins after its end, what it leaves behind, and what a bug in it causes."""

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.network import dns_query
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_exchange import Exchange, OnEnd
from postfix_mta_sts.network.dns_message import NOERROR, NXDOMAIN, DnsResponse, Question, RecordType
from postfix_mta_sts.network.dns_query import Manner, Query
from tests.support.dns import DnsServer, Fault
from tests.support.hostile_dns import HostileDns, truncated

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

EVIL = Domain("evil.test")
SERVFAIL = 2
OWN = OwnFaultError("no socket: Too many open files")
SERVERS = [TcpAddress("127.0.0.1", 1), TcpAddress("127.0.0.1", 2)]


class FakeExchange:
    """An exchange that ends when the test says so."""

    made: "list[FakeExchange]"

    def __init__(
        self,
        question: Question,
        server: TcpAddress,
        on_end: OnEnd,
        *,
        edns: bool = True,
        tcp: bool = False,  # noqa: ARG002 (as `Exchange` has it)
    ) -> None:
        self.query = question.wire(edns=edns)
        self.server = server
        self.way = ""
        self.is_closed = False
        self._on_end: Any = on_end
        self.made.append(self)

    def end(self, outcome: DnsResponse | Exception) -> None:
        """End with an outcome."""
        self._on_end(self, outcome)

    def close(self) -> None:
        """See `Exchange`."""
        self.is_closed = True


class Observer:
    """Counts what it learns of the servers."""

    def __init__(self) -> None:
        self.silent: list[tuple[TcpAddress, float]] = []
        self.responding: list[TcpAddress] = []

    def on_response(self, server: TcpAddress) -> None:
        """See `dns_query.Observer`."""
        self.responding.append(server)

    def on_silence(self, server: TcpAddress, began: float) -> None:
        """See `dns_query.Observer`."""
        self.silent.append((server, began))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeExchange]]:
    """The tries of the queries that the test makes."""
    FakeExchange.made = []
    monkeypatch.setattr(dns_query, "Exchange", FakeExchange)
    yield FakeExchange.made
    del FakeExchange.made


def begin(timeout: float = 3600.0) -> Query:
    """Begin a query at two servers."""
    return Query(Question("a.test", RecordType.TXT, 1), SERVERS, Manner(timeout), Observer())


class TestTheEnd:
    """What follows when a query ends."""

    async def test_no_try_begins_after_the_answer(self, tries: list[FakeExchange]) -> None:
        """Nor does the failure of another try, in the same turn of the loop, change anything."""
        query = begin()
        query._lose_patience(SERVERS[0], 0.0)
        first, second = tries
        first.end(DnsResponse(NOERROR))
        second.end(DnsResponse(SERVFAIL))
        assert await query.outcome == DnsResponse(NOERROR)
        assert len(tries) == 2

    async def test_no_try_begins_after_a_cancellation(self, tries: list[FakeExchange]) -> None:
        """The caller has given it up; what is under way is closed."""
        query = begin()
        query._lose_patience(SERVERS[0], 0.0)
        query.outcome.cancel()
        tries[0].end(DnsFailureError("no name server can be reached"))
        query._lose_patience(SERVERS[1], 0.0)
        await asyncio.wait([query.outcome])
        await asyncio.sleep(0)
        assert [each.is_closed for each in tries] == [False, True]

    @pytest.mark.parametrize("is_cancelled", [False, True])
    async def test_no_timer_is_left(self, tries: list[FakeExchange], *, is_cancelled: bool) -> None:
        """Neither the deadline, nor that of a try."""
        query = begin()
        if is_cancelled:
            query.outcome.cancel()
        else:
            tries[0].end(DnsResponse(NOERROR))
        await asyncio.wait([query.outcome])
        await asyncio.sleep(0)
        assert query._deadline.cancelled()
        assert query._timer
        assert query._timer.cancelled()

    async def test_a_deadline_after_the_end_changes_nothing(
        self, tries: list[FakeExchange]
    ) -> None:
        """It may be due in the turn of the loop in which the answer comes."""
        query = begin()
        tries[0].end(DnsResponse(NOERROR))
        query._time_out()
        assert await query.outcome == DnsResponse(NOERROR)


class TestTries:
    """When the next try begins, and how many go on."""

    async def test_a_try_without_a_socket(self, tries: list[FakeExchange]) -> None:
        """It fails like any other: the next one may find one."""
        query = begin()
        tries[0].end(OWN)
        tries[1].end(DnsResponse(NOERROR))
        assert await query.outcome == DnsResponse(NOERROR)

    async def test_no_try_with_a_socket(self, tries: list[FakeExchange]) -> None:
        """The fault of this process is the outcome, and not a failure of the servers."""
        query = begin()
        while not query.outcome.done():
            tries[-1].end(OWN)
        assert await query.outcome is OWN
        assert len(tries) == 4

    async def test_a_server_that_starts_again(self, tries: list[FakeExchange]) -> None:
        """A second try waits, if no server can be reached; the first at each does not."""
        query = begin(timeout=2.0)
        for _ in SERVERS:
            tries[-1].end(ConnectionError("no name server can be reached"))
        assert len(tries) == len(SERVERS)
        while len(tries) == len(SERVERS):  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)
        tries[-1].end(DnsResponse(NOERROR))
        assert await query.outcome == DnsResponse(NOERROR)

    async def test_more_tries_than_two_wait_too(self, tries: list[FakeExchange]) -> None:
        """With `attempts` in resolv.conf, each round after the first waits."""
        manner = Manner(3600.0, tries=5)
        question = Question("a.test", RecordType.TXT, 1)
        query = Query(question, SERVERS[:1], manner, Observer())
        tries[0].end(ConnectionError("no name server can be reached"))
        assert len(tries) == 1
        query.outcome.cancel()

    async def test_the_oldest_ends_for_the_third(self, tries: list[FakeExchange]) -> None:
        """So a query has two sockets at most."""
        query = begin()
        query._lose_patience(SERVERS[0], 0.0)
        query._lose_patience(SERVERS[1], 0.0)
        assert [each.is_closed for each in tries] == [True, False, False]
        query.outcome.cancel()

    async def test_source_ports(self) -> None:
        """Each query has a random port and a random id, so that it is hard to forge an answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            dns = DnsClient(["{}:{}".format(*server.getsockname())], 60.0)
            queries = [asyncio.create_task(dns.look_up_txt(EVIL)) for _ in range(16)]
            await asyncio.sleep(0)
            received = [server.recvfrom(512) for _ in queries]
        ports = [port for _, (_, port) in received]
        assert len(set(ports)) == 16
        assert ports != sorted(ports)
        assert len({query[:2] for query, _ in received}) > 12
        for each in queries:
            each.cancel()

    @pytest.mark.parametrize("forged", [0, 3])
    async def test_a_process_that_was_stopped(self, forged: int) -> None:
        """The answer that came meanwhile counts, though the time is over; also behind others."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            query = Query(
                Question("a.test", RecordType.TXT, 1),
                [TcpAddress(*server.getsockname())],
                Manner(0.05),
                Observer(),
            )
            wire, client = server.recvfrom(512)
            for _ in range(forged):
                server.sendto(b"\0\0\x81\x80" + wire[4:], client)
            server.sendto(wire[:2] + b"\x81\x83" + wire[4:], client)
            time.sleep(0.1)  # noqa: ASYNC251 (this process is stopped)
            outcome = await query.outcome
        assert isinstance(outcome, DnsResponse)
        assert outcome.rcode == NXDOMAIN


async def ended(query: Coroutine[Any, Any, object]) -> object:
    """The outcome of a query, an exception as a value."""
    (outcome,) = await asyncio.gather(query, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)
    return outcome


def left() -> list[object]:
    """The queries and exchanges that are still in memory."""
    return [each for each in gc.get_objects() if isinstance(each, (Query, Exchange))]


class TestNothingIsLeft:
    """A query that has ended is no garbage that waits for the collector."""

    @pytest.mark.parametrize("lost", [("TXT",), ("A", "AAAA"), ("AAAA",)], ids=str)
    async def test_after_a_timeout(self, server: DnsServer, lost: Iterable[str]) -> None:
        """Nor are its tries, whatever has not been answered."""
        dns = DnsClient([server.address], 0.2)
        server.zone |= {"good.test A": ["192.0.2.1"], "good.test AAAA": ["2001:db8::1"]}
        server.zone |= {f"good.test {kind}": Fault.SILENCE for kind in lost}
        server.zone["_mta-sts.good.test TXT"] = Fault.SILENCE
        gc.collect()
        gc.disable()
        try:
            if "TXT" in lost:
                assert isinstance(await ended(dns.look_up_txt(Domain("good.test"))), Exception)
            else:
                await ended(dns.look_up_addresses("good.test"))
            assert left() == []
        finally:
            gc.enable()

    async def test_cancelled_during_tcp(self) -> None:
        """The connection is closed, and the task that waits for it ends."""
        closed = asyncio.Event()

        async def wait(query: bytes, writer: asyncio.StreamWriter) -> None:
            await writer.wait_closed()
            closed.set()

        async with HostileDns(udp=truncated, tcp=wait) as server:
            before = asyncio.all_tasks()
            dns = DnsClient([server.address], 3600.0)
            query = asyncio.create_task(dns.look_up_txt(EVIL))
            while not server.connections:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.01)
            query.cancel()
            await asyncio.wait([query])
            mine = {each for each in asyncio.all_tasks() - before if "Exchange" in repr(each)}
            if mine:
                await asyncio.wait(mine, timeout=20)
            assert all(each.done() for each in mine)


class TestBugs:
    """An exception that nobody expects ends the query; it is no failure of the domain."""

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    async def test_it_is_raised(self, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
        """At once, and as it is."""
        original: Callable[[Question, bytes], DnsResponse] = Question.read

        def read(question: Question, wire: bytes) -> DnsResponse:
            response = original(question, wire)
            if transport == "tcp" and response.truncated:
                return response
            raise KeyError(transport)

        monkeypatch.setattr(Question, "read", read)

        async def answer(query: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(len(query).to_bytes(2) + query[:2] + b"\x81\x83" + query[4:])

        async with HostileDns(udp=truncated, tcp=answer) as server:
            with pytest.raises(KeyError):
                await DnsClient([server.address], 3600.0).look_up_txt(EVIL)
