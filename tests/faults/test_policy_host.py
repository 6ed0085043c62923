"""Faults B3, B4 and B14: what a hostile Policy Host, or its proxy, costs is bounded.

A response without end is refused by a count of bytes or of messages. The deadline of a fetch is
far away, so that no test passes because of it.
"""

import asyncio
import gc
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    FetchError,
    IncompleteError,
    OwnFaultError,
    TlsError,
    TooLargeError,
    UnreachableError,
)
from postfix_mta_sts.network import connections
from postfix_mta_sts.network.chunks import MAX_CHUNKS
from postfix_mta_sts.network.http_response import MAX_HEAD, MAX_RESPONSE
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.own_limits import Shares
from postfix_mta_sts.network.tls import MAX_OVERHEAD
from tests.support.fetchers import (
    GOOD,
    HOLE,
    HOST,
    POLICY,
    Fetchers,
    FixedAddresses,
    dropping_port,
    failure,
    plain_server,
)
from tests.support.hostile_host import (
    FFDHE8192,
    HELLO_REQUEST,
    WARNING,
    X25519,
    byte_by_byte,
    cipher_suites,
    records,
    retry_request,
    tls_server,
)
from tests.support.internet import authority
from tests.support.policy_host import PolicyHost, Script, chunked, endless, ok, reply, silence
from tests.support.proxy import ConnectProxy
from tests.support.tls import EXPIRED

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKS = chunked(end=b"")


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
class TestResponses:
    """One response is bounded in messages and in bytes, whatever they are (B3)."""

    @pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints", b"199 x"])
    async def test_informational_responses_without_end(
        self, fetcher: PolicyFetcher, host: PolicyHost, status: bytes
    ) -> None:
        """Informational responses without end are refused after a few."""
        host.answers[HOST] = endless(b"", b"HTTP/1.1 " + status + b"\r\n\r\n")
        reason = await failure(fetcher, IncompleteError)
        assert reason == "malformed HTTP: more than 5 informational responses"
        await host.closed.reached(HOST)

    @pytest.mark.parametrize(("count", "is_accepted"), [(5, True), (6, False)])
    async def test_informational_responses(
        self, fetcher: PolicyFetcher, host: PolicyHost, count: int, *, is_accepted: bool
    ) -> None:
        """Five informational responses are skipped, six are too many."""
        host.answers[HOST] = CONTINUE * count + ok(POLICY)
        if is_accepted:
            assert await fetcher.fetch_body(GOOD) == POLICY
        else:
            await failure(fetcher, IncompleteError)

    @pytest.mark.parametrize(
        "answer",
        [
            endless(CHUNKS + b"5;x=", b"y" * 1000),
            endless(CHUNKS, b"1;x=" + b"y" * 100 + b"\r\nx\r\n"),
            endless(CHUNKS, b"1\r\nx\r\n" * 1000),
            endless(CHUNKS + b"0\r\n", b"Trailer: 1\r\n" * 100),
            endless(CHUNKS + b"0\r\nTrailer: ", b"1" * 1000),
        ],
        ids=["one extension", "extensions", "one byte a chunk", "trailers", "one trailer"],
    )
    async def test_bytes_that_are_no_body(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: Script
    ) -> None:
        """The framing of a body is bounded as well as the body."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, TooLargeError)
        bounds = f"more than {MAX_RESPONSE} bytes of HTTP", f"more than {MAX_CHUNKS} chunks"
        assert reason in bounds

    @pytest.mark.parametrize(
        "answer",
        [
            endless(b"", b"\r\n" * 1000),
            endless(b"HTTP/1.1 200 ", b"O" * 1000),
            endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
            endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
            endless(b"HTTP/1.1 200 OK\r\n", b"y" * 1000),
        ],
        ids=["blank lines", "reason", "fields", "one field", "one name"],
    )
    async def test_heads_without_end(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: Script
    ) -> None:
        """A head is bounded, whatever it consists of."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason == f"malformed HTTP: a head of more than {MAX_HEAD} bytes"

    @pytest.mark.parametrize(("more", "is_accepted"), [(0, True), (1, False)])
    async def test_head_of_exactly_64_kib(
        self, fetcher: PolicyFetcher, host: PolicyHost, more: int, *, is_accepted: bool
    ) -> None:
        """A head of 64 KiB, most of it one field, is accepted; one more byte is too many."""
        rest = len(ok(POLICY, x="y")) - len(POLICY) - 1
        host.answers[HOST] = ok(POLICY, x="y" * (MAX_HEAD - rest + more))
        if is_accepted:
            assert await fetcher.fetch_body(GOOD) == POLICY
        else:
            await failure(fetcher, IncompleteError)

    async def test_a_record_for_each_byte(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A policy in TLS records of one byte each is read; a flood of them is refused."""
        host.answers[HOST] = byte_by_byte(ok(POLICY))
        assert await fetcher.fetch_body(GOOD) == POLICY
        host.answers[HOST] = byte_by_byte(ok(b"x" * 60_000))
        reason = await failure(fetcher, TlsError)
        assert reason == f"more than {MAX_OVERHEAD} bytes of TLS without data"


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
class TestHandshakes:
    """A server cannot choose a key exchange that costs much CPU (B4)."""

    async def test_only_elliptic_curves_are_offered(self, fetchers: Fetchers) -> None:
        """In TLS 1.2 the server cannot choose DHE, whose group is as large as it likes."""
        async with tls_server(b"no TLS") as fake:
            await failure(fetchers(port=fake.port), TlsError)
            await fake.closed.wait()
        known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        known.set_ciphers("ALL:@SECLEVEL=0")
        names = {suite["id"] & 0xFFFF: suite["name"] for suite in known.get_ciphers()}
        offered = {names.get(suite, "") for suite in cipher_suites(fake.received[0])}
        offered -= {""}  # TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 §3.3)
        assert offered
        assert all(name.startswith(("ECDHE-", "TLS_")) for name in offered)

    @pytest.mark.parametrize("size", [16_384, 1], ids=["one record", "a record for each byte"])
    @pytest.mark.parametrize("before", [b"", WARNING], ids=["", "after a warning"])
    async def test_finite_fields(self, fetchers: Fetchers, size: int, before: bytes) -> None:
        """A server that selects ffdhe8192 in TLS 1.3 gets no key share of it."""
        async with tls_server(before + records(retry_request(FFDHE8192), size)) as fake:
            reason = await failure(fetchers(port=fake.port), TlsError)
            await fake.closed.wait()
        assert reason == "the TLS handshake failed: the server selects a finite field group"
        hello = fake.received[0]
        after = hello[5 + int.from_bytes(hello[3:5]) :]
        assert len(after) < 1000  # a share has 1,024 octets

    async def test_another_curve(self, fetchers: Fetchers) -> None:
        """A server may ask for another key share, but not for the same again."""
        async with tls_server(records(retry_request(X25519))) as fake:
            reason = await failure(fetchers(port=fake.port), TlsError)
        assert "finite field" not in reason

    @pytest.mark.parametrize(
        "answer",
        [
            HELLO_REQUEST + records(retry_request(FFDHE8192)),
            b"\x14\x03\x03\x00\x01\x01" + records(retry_request(FFDHE8192)),
            b"\x16\x03\x03\x40\x00\x02\x00\xff\xff" + b"x" * 16_380,
            reply(400),
        ],
        ids=["hello request first", "cipher change first", "too long", "no TLS"],
    )
    async def test_other_first_messages(self, fetchers: Fetchers, answer: bytes) -> None:
        """A server that begins with anything but its ServerHello is refused."""
        async with tls_server(answer) as fake:
            reason = await failure(fetchers(port=fake.port), TlsError)
        assert reason.startswith("the TLS handshake failed: the ")

    async def test_one_handshake_for_each_look_up(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """After an address has spoken TLS, no other address is tried if the handshake fails."""
        async with PolicyHost(authority(), host=HOLE, port=host.port) as bad:
            bad.credentials[HOST] = authority().issue(HOST, valid=EXPIRED)
            fetcher = fetchers(addresses=FixedAddresses(HOLE, "127.0.0.1"))
            assert await failure(fetcher, CertificateError) == "certificate has expired"
        assert host.connections.total == 0

    @pytest.mark.parametrize(
        "answer",
        [b"\x15\x03\x01\x00\x02\x02\x70", reply(400), b""],
        ids=["alert", "no TLS", "closed"],
    )
    async def test_next_address(self, fetchers: Fetchers, host: PolicyHost, answer: bytes) -> None:
        """If an address does not speak TLS, or only an alert, the next address is tried."""
        async with plain_server(answer, HOLE, host.port):
            fetcher = fetchers(addresses=FixedAddresses(HOLE, "127.0.0.1"))
            assert await fetcher.fetch_body(GOOD) == POLICY

    @pytest.mark.parametrize("answer", [b"", b"\x16\x03\x03"], ids=["silence", "half a record"])
    async def test_next_address_after_one_that_stalls(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes
    ) -> None:
        """If an address accepts TCP and never completes TLS, the next address is tried."""
        async with tls_server(answer, HOLE, host.port):
            addresses = FixedAddresses(HOLE, "127.0.0.1")
            fetcher = fetchers(addresses=addresses, next_address_time=0.1)
            assert await fetcher.fetch_body(GOOD) == POLICY


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
class TestProxies:
    """A proxy is bounded like a Policy Host."""

    @pytest.mark.parametrize(
        "flood",
        [CONTINUE, b"X: y\r\n", b"y"],
        ids=["informational responses", "fields", "one line"],
    )
    async def test_flood(self, fetchers: Fetchers, flood: bytes) -> None:
        """A proxy that answers without end is refused."""
        async with ConnectProxy(0, refusal=b"HTTP/1.1 100 Continue\r\n" + flood * 100_000) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), UnreachableError)
        assert reason.startswith("the proxy: malformed HTTP: ")


async def by_name(host: str) -> Sequence[str]:
    """The address of the Policy Host, or of one that accepts no connection."""
    return [HOLE if "hole" in host else "127.0.0.1"]


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
class TestConnections:
    """The number of open connections is bounded."""

    async def test_the_oldest_is_given_up(
        self,
        fetchers: Fetchers,
        host: PolicyHost,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Hosts that stall cannot fill the memory, nor use up the descriptors.

        Giving one up says nothing about its domain.
        """
        monkeypatch.setattr(connections, "own_shares", lambda: Shares(2, 9, 9, 9))
        stalled = Domain("stalled.test"), Domain("halted.test")
        for domain in stalled:
            host.answers[f"mta-sts.{domain}"] = silence
        fetcher = fetchers()
        waiting = [asyncio.create_task(fetcher.fetch(stalled[0]))]
        await host.gets.reached(f"mta-sts.{stalled[0]}")
        waiting.append(asyncio.create_task(fetcher.fetch(stalled[1])))
        await host.gets.reached(f"mta-sts.{stalled[1]}")
        assert await fetcher.fetch_body(GOOD) == POLICY
        with pytest.raises(OwnFaultError, match="more than 2 fetches"):
            await waiting[0]
        assert not waiting[1].done()
        waiting[1].cancel()

    async def test_hosts_that_do_not_accept(
        self, fetchers: Fetchers, host: PolicyHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sockets that wait for them are limited as well; one more is a fault of ours."""
        monkeypatch.setattr(connections, "own_shares", lambda: Shares(9, 2, 9, 9))
        with dropping_port(HOLE, host.port):
            fetcher = fetchers(addresses=by_name)
            waiting = [asyncio.create_task(fetcher.fetch(Domain("hole.test"))) for _ in range(2)]
            while fetcher._connections._connecting._free:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.01)
            with pytest.raises(OwnFaultError, match="no socket: Too many open files"):
                await fetcher.fetch(GOOD)
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            assert await fetcher.fetch_body(GOOD) == POLICY
            waiting[1].cancel()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_shutdown_is_silent(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Nothing is logged if the process ends in the middle of many handshakes (B14)."""
    authorities = authority().write(tmp_path).read_text()

    async def fetch(fetcher: PolicyFetcher, number: int) -> None:
        with suppress(FetchError):
            await fetcher.fetch(Domain(f"d{number}.test"))

    async def run() -> None:
        async with tls_server(b"") as fake:
            fetcher = PolicyFetcher(
                FixedAddresses("127.0.0.1"),
                authorities=authorities,
                allow_private_addresses=True,
                port=fake.port,
            )
            fetches = [asyncio.create_task(fetch(fetcher, n)) for n in range(200)]
            await fake.connections.reached("", len(fetches))
            await fetcher.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
    gc.collect()
    assert caplog.records == []
