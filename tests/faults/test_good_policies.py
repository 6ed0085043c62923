"""Faults C1 to C4: a good policy is read, whatever its Policy Host adds or lacks.

The bytes come from a Policy Host in the process; no fetch has an old copy to fall back on.
"""

import asyncio

import pytest

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    FetchError,
    IncompleteError,
    MediaTypeError,
    StatusError,
    TooLargeError,
)
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.trace import FetchTrace
from tests.support.fetchers import GOOD, HOLE, HOST, POLICY, Fetchers, FixedAddresses, failure
from tests.support.hostile_host import tls_server
from tests.support.internet import authority
from tests.support.policy_host import (
    PolicyHost,
    Script,
    endless,
    ok,
    reply,
    silence,
    then_abort,
    without_close_notify,
)
from tests.support.tls import EXPIRED

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

ENDS_WITH_CONNECTION = ok(POLICY, content_length="")
TWO_ADDRESSES = FixedAddresses(HOLE, "127.0.0.1")


class TestMediaTypes:
    """A media type that is said twice is the same media type (C1)."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("text/plain", "text/plain"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("TEXT/Plain;charset=UTF-8", "text/plain"),
            ("text/plain", ""),
        ],
    )
    async def test_two_fields(
        self, fetcher: PolicyFetcher, host: PolicyHost, first: str, second: str
    ) -> None:
        """Two fields that both say text/plain are accepted, whatever their parameters are."""
        host.answers[HOST] = ok(POLICY, first).replace(
            b"\r\n\r\n", f"\r\ncontent-type: {second}\r\n\r\n".encode(), 1
        )
        assert await fetcher.fetch_body(GOOD) == POLICY

    @pytest.mark.parametrize(
        "value",
        [
            "text/plain, text/plain",
            "text/plain;charset=utf-8,text/plain",
            'text/plain; charset="utf-8, or not"',
            "text/plain,",
        ],
    )
    async def test_one_list(self, fetcher: PolicyFetcher, host: PolicyHost, value: str) -> None:
        """A proxy may join two fields to a list; a comma in quotes makes no list."""
        host.answers[HOST] = ok(POLICY, value)
        assert await fetcher.fetch_body(GOOD) == POLICY

    @pytest.mark.parametrize("value", ["text/plain, text/html", "text/html; x=1, text/plain", ","])
    async def test_another_type(self, fetcher: PolicyFetcher, host: PolicyHost, value: str) -> None:
        """Another type beside text/plain is refused: nobody knows which one is right."""
        host.answers[HOST] = ok(POLICY, value)
        reason = await failure(fetcher, MediaTypeError)
        assert reason == f"Content-Type is not text/plain: '{value}'"


class TestLongHeads:
    """A head may be long, and may have many fields (C2)."""

    @pytest.mark.parametrize(
        "more",
        [
            b"Content-Security-Policy: " + b"default-src 'self'; " * 500,
            b"\r\n".join(b"X-Field-%d: y" % number for number in range(500)),
        ],
        ids=["10,000 bytes in a line", "500 fields"],
    )
    async def test_long_head(self, fetcher: PolicyFetcher, host: PolicyHost, more: bytes) -> None:
        """A head is only limited by its size."""
        host.answers[HOST] = ok(POLICY).replace(b"\r\n", b"\r\n" + more + b"\r\n", 1)
        assert await fetcher.fetch_body(GOOD) == POLICY


class TestEndOfConnection:
    """A body may end with the connection, if TLS was closed properly (C3)."""

    @pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
    async def test_close_notify(
        self, fetcher: PolicyFetcher, host: PolicyHost, version: bytes
    ) -> None:
        """Without a length, close_notify ends the body (RFC 9112 §6.3, §9.8)."""
        host.answers[HOST] = ENDS_WITH_CONNECTION.replace(b"HTTP/1.1", version)
        seen = FetchTrace()
        assert await fetcher.fetch_body(GOOD, seen) == POLICY
        assert seen.size == len(POLICY)

    @pytest.mark.parametrize(
        "answer",
        [without_close_notify(ENDS_WITH_CONNECTION), then_abort(ENDS_WITH_CONNECTION)],
        ids=["closed", "reset"],
    )
    async def test_no_close_notify(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: Script
    ) -> None:
        """Without a length and close_notify, somebody may have cut lines off the policy."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason.endswith("the connection ended without close_notify")

    async def test_length_and_no_close_notify(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """With a length, a missing close_notify does not matter."""
        host.answers[HOST] = without_close_notify(ok(POLICY))
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_a_length_that_close_notify_contradicts(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """close_notify does not complete a body that is shorter than its length."""
        host.answers[HOST] = ok(POLICY, content_length=str(len(POLICY) + 1))
        await failure(fetcher, IncompleteError)

    async def test_no_end(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A body without a length is limited like any other."""
        host.answers[HOST] = endless(ok(b"", content_length=""))
        assert await failure(fetcher, TooLargeError) == f"more than {MAX_BODY_SIZE} bytes"
        await host.closed.reached(HOST)


class TestFailedAddresses:
    """A fetch begins with an address that did not fail last time (C4)."""

    async def test_an_address_that_stalls(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """After an address that never speaks TLS, the next fetch does not connect to it."""
        async with tls_server(b"", HOLE, host.port) as stalls:
            fetcher = fetchers(addresses=TWO_ADDRESSES, next_address_time=0.1)
            assert await fetcher.fetch_body(GOOD) == POLICY
            fetcher._next_address_time = 60  # a busy machine may need more for a handshake
            assert await fetcher.fetch_body(GOOD) == POLICY
            assert stalls.connections.total == 1
        assert host.gets.total == 2

    @pytest.mark.parametrize(
        ("answer", "error"),
        [(reply(404), StatusError), (b"", IncompleteError)],
        ids=["404", "closed"],
    )
    async def test_other_failures(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes, error: type[FetchError]
    ) -> None:
        """Whatever fails after the ServerHello ends the fetch; the next one has another address."""
        async with PolicyHost(authority(), host=HOLE, port=host.port) as bad:
            bad.answers[HOST] = answer
            fetcher = fetchers(addresses=TWO_ADDRESSES)
            await failure(fetcher, error)
            assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_no_response(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """After a fetch that ends while it waits for a response, the next has another address."""
        async with PolicyHost(authority(), host=HOLE, port=host.port) as bad:
            bad.answers[HOST] = silence
            fetcher = fetchers(addresses=TWO_ADDRESSES)
            waiting = asyncio.create_task(fetcher.fetch(GOOD))
            await bad.gets.reached(HOST)
            waiting.cancel()  # as the deadline does
            assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_an_expired_certificate(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """If one address of several has an old certificate, the next fetch has another address."""
        async with PolicyHost(authority(), host=HOLE, port=host.port) as bad:
            bad.credentials[HOST] = authority().issue(HOST, valid=EXPIRED)
            fetcher = fetchers(addresses=TWO_ADDRESSES)
            await failure(fetcher, CertificateError)
            assert await fetcher.fetch_body(GOOD) == POLICY
