"""Slots limit the parallel fetches; a cancelled fetch leaves nothing behind."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    FetchError,
)
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.network import https
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.own_limits import Shares
from postfix_mta_sts.network.trace import FetchTrace
from tests.support.fetchers import (
    GOOD,
    HOLE,
    HOST,
    OTHER,
    POLICY,
    Fetchers,
    dropping_port,
    failure,
    slot_requested,
)
from tests.support.policy_host import (
    PolicyHost,
    Script,
    chunked,
    ok,
    reply,
    silence,
    then_abort,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestCancel:
    """A cancelled fetch frees its connection and its slot."""

    async def test_cancelled_while_waiting_for_the_response(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """The connection is closed and the slot is free again."""
        fetcher = fetchers(concurrency=1, slot_time=3600.0)
        host.hold()
        fetch = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        fetch.cancel()
        await host.closed.reached(HOST)
        with pytest.raises(asyncio.CancelledError):
            await fetch
        host.release()
        assert await fetcher.fetch_body(OTHER) == POLICY

    async def test_cancelled_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A connection in its TLS handshake is closed."""
        started, ended = asyncio.Event(), asyncio.Event()

        async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                await reader.read(1)
                started.set()
                await reader.read()
            ended.set()

        server = await asyncio.start_server(watch, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        fetch = asyncio.create_task(fetchers(port=port).fetch(GOOD))
        await started.wait()
        fetch.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        server.close()
        await server.wait_closed()

    async def test_cancelled_in_the_look_up(self, fetchers: Fetchers) -> None:
        """The look-up of the address is cancelled with it."""
        started, ended = asyncio.Event(), asyncio.Event()

        async def never(_: str) -> Sequence[str]:
            started.set()
            try:
                return await asyncio.Future()
            finally:
                ended.set()

        fetch = asyncio.create_task(fetchers(addresses=never).fetch(GOOD))
        await started.wait()
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        assert ended.is_set()

    async def test_close_aborts_running_fetches(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """Shutdown does not wait for a Policy Host."""
        host.hold()
        fetch = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        await fetcher.close()
        with pytest.raises(FetchError):
            await fetch

    async def test_close_before_the_first_get(self, fetchers: Fetchers) -> None:
        """A fetcher that was never used can be closed."""
        await fetchers().close()


class TestSlots:
    """The number of fetches that hold a slot is limited."""

    async def test_no_more_fetches_than_slots(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """With one slot the second handshake starts when the first GET has ended."""
        fetcher = fetchers(concurrency=1, slot_time=3600.0)
        host.hold()
        first = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        requested = slot_requested(fetcher)
        second = asyncio.create_task(fetcher.fetch(OTHER))
        await requested.wait()
        assert host.connections["mta-sts.other.test"] == 0
        host.release()
        await asyncio.gather(first, second)
        assert host.gets["mta-sts.other.test"] == 1

    async def test_an_unreachable_host_holds_no_slot(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A host that does not accept connections does not occupy the only slot."""

        async def addresses(name: str) -> Sequence[str]:
            return [HOLE if name == HOST else host.host]

        fetcher = fetchers(addresses=addresses, concurrency=1, slot_time=3600.0)
        with dropping_port(HOLE, host.port):
            seen = FetchTrace()
            waiting = asyncio.create_task(fetcher.fetch_body(GOOD, seen))
            for _ in range(2):
                assert await fetcher.fetch_body(OTHER) == POLICY
            assert (seen.address, seen.tls_version, waiting.done()) == (HOLE, None, False)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    @pytest.mark.parametrize(
        "answer",
        [
            ok(POLICY),
            reply(404),
            then_abort(b""),
            b"no HTTP\r\n\r\n",
            ok(POLICY, content_length="9999"),
            chunked(b"x" * MAX_BODY_SIZE, b"x"),
            silence,
        ],
        ids=["policy", "status", "reset", "no http", "cut", "too large", "deadline"],
    )
    async def test_every_outcome_frees_the_slot(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """The next GET gets the only slot, however the one before ended."""
        fetcher = fetchers(concurrency=1, slot_time=3600.0, timeout=3)
        host.answers[HOST] = answer
        with contextlib.suppress(FetchError):
            await fetcher.fetch_body(GOOD)
        assert await fetcher.fetch_body(OTHER) == POLICY

    async def test_a_failed_handshake_frees_the_slot(
        self, fetchers: Fetchers, host: PolicyHost, authority: Authority
    ) -> None:
        """A failed handshake frees the slot."""
        host.credentials[HOST] = authority.issue("else.test")
        fetcher = fetchers(concurrency=1, slot_time=3600.0)
        await failure(fetcher, CertificateError)
        assert await fetcher.fetch_body(OTHER) == POLICY

    async def test_cancelled_while_waiting_for_a_slot(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A fetch cancelled while it waits for a slot closes its connection and takes no slot."""
        fetcher = fetchers(concurrency=1, slot_time=3600.0)
        host.hold()
        first = asyncio.create_task(fetcher.fetch_body(OTHER))
        await host.gets.reached("mta-sts.other.test")
        requested = slot_requested(fetcher)
        second = asyncio.create_task(fetcher.fetch_body(GOOD))
        await requested.wait()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        host.release()
        assert await first == POLICY
        assert await fetcher.fetch_body(OTHER) == POLICY
        assert host.connections[HOST] == 0

    async def test_a_slow_host_does_not_block_others(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A slow GET gives up its slot and still succeeds."""
        fetcher = fetchers(concurrency=1, slot_time=0.0)
        never = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await never.wait()
            writer.write(ok(POLICY))

        host.answers[HOST] = slow
        first = asyncio.create_task(fetcher.fetch_body(GOOD))
        await host.gets.reached(HOST)
        assert await fetcher.fetch_body(OTHER) == POLICY
        never.set()
        assert await first == POLICY

    async def test_the_deadline_excludes_the_wait_for_addresses(
        self, fetchers: Fetchers, host: PolicyHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor does waiting until the addresses of other Policy Hosts are looked up."""
        monkeypatch.setattr(https, "own_shares", lambda: Shares(9, 9, 1, 9))

        async def look_up(name: str) -> Sequence[str]:
            if name == HOST:
                await asyncio.Event().wait()  # a silent DNS
            return await host.addresses(name)

        fetcher = fetchers(addresses=look_up, timeout=1)
        slow = asyncio.create_task(failure(fetcher, DeadlineError))
        await asyncio.sleep(0)  # it asks first
        assert await fetcher.fetch_body(OTHER) == POLICY
        await slow

    async def test_the_deadline_excludes_the_wait_for_a_slot(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """Waiting for a slot does not count towards the deadline."""
        fetcher = fetchers(concurrency=1, slot_time=3600.0, timeout=2)
        host.answers[HOST] = silence
        slow = [asyncio.create_task(failure(fetcher, DeadlineError)) for _ in range(2)]
        await host.gets.reached(HOST)  # it holds the slot
        assert await fetcher.fetch_body(OTHER) == POLICY
        await asyncio.gather(*slow)
