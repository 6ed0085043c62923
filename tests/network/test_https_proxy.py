"""A policy is fetched through an HTTP proxy."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    OwnFaultError,
    UnreachableError,
)
from postfix_mta_sts.network import connections
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
)
from tests.support.policy_host import (
    PolicyHost,
    black_hole,
    reply,
)
from tests.support.proxy import ConnectProxy
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestProxy:
    """Fetches with `https.proxy` set."""

    async def test_tunnel(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The proxy resolves the name; TLS is with the Policy Host through the tunnel."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url, allow_private_addresses=False)
            seen = FetchTrace()
            assert await fetcher.fetch_body(GOOD, seen) == POLICY
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT {HOST}:{host.port} HTTP/1.1\r\n".encode())
        assert (host.lookups.total, host.requests[0].sni) == (0, HOST)
        assert seen.tls_version == "TLSv1.3"

    @pytest.mark.parametrize(
        "success",
        [
            b"HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
        ids=["HTTP/1.0", "204", "length", "chunked"],
    )
    async def test_tunnels(self, fetchers: Fetchers, host: PolicyHost, success: bytes) -> None:
        """Any status 2xx opens the tunnel; a length or a coding means nothing (RFC 9110 §9.3.6)."""
        async with ConnectProxy(host.port, success=success) as proxy:
            assert await fetchers(proxy=proxy.url).fetch_body(GOOD) == POLICY

    async def test_proxy_by_name(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The name of the proxy is resolved by the system, with /etc/hosts."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url.replace("127.0.0.1", "localhost"))
            assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_certificate_behind_a_proxy(
        self, fetchers: Fetchers, host: PolicyHost, authority: Authority
    ) -> None:
        """The certificate of the Policy Host is checked behind a proxy too."""
        host.credentials[HOST] = authority.issue("other.test")
        async with ConnectProxy(host.port) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), CertificateError)
        assert reason.startswith("Hostname mismatch")

    async def test_proxy_refuses(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The reason has the status of the proxy."""
        async with ConnectProxy(host.port, refusal=reply(403)) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), UnreachableError)
        assert reason == "the proxy answered HTTP 403"

    async def test_proxy_is_down(self, fetchers: Fetchers) -> None:
        """The reason says that the proxy cannot be reached."""
        with black_hole() as port:
            pass
        fetcher = fetchers(proxy=f"http://127.0.0.1:{port}")
        assert await failure(fetcher, UnreachableError) == "the proxy: Connection refused"

    async def test_proxy_credentials(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """User name and password of the URL are sent to the proxy only, decoded."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url.replace("//", "//relay:a%2Fb@"))
            assert await fetcher.fetch_body(GOOD) == POLICY
        (head,) = proxy.heads
        assert b"\r\nProxy-Authorization: Basic cmVsYXk6YS9i\r\n" in head
        assert "proxy-authorization" not in host.requests[0].fields

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 2", b"SSH-2.0-x\r\n\r\n"], ids=["cut", "ssh"])
    async def test_proxy_without_http(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes
    ) -> None:
        """The reason names the proxy."""
        async with ConnectProxy(host.port, refusal=answer) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), UnreachableError)
        assert reason.startswith("the proxy: ")
        assert host.connections.total == 0

    async def test_proxy_that_does_not_answer(self, fetchers: Fetchers) -> None:
        """A fetch that waits for its proxy holds no slot; both fetches time out in parallel."""
        with black_hole() as port:
            fetcher = fetchers(proxy=f"http://127.0.0.1:{port}", timeout=1, concurrency=1)
            reasons = await asyncio.gather(*(failure(fetcher, DeadlineError) for _ in range(2)))
        assert set(reasons) == {"timed out after 1 s: no TLS connection to 127.0.0.1"}


class TestLimits:
    """Sockets to a proxy count like those to Policy Hosts."""

    async def test_tunnels_that_do_not_open(
        self, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Policy Hosts for which the proxy waits cannot use up the descriptors."""
        monkeypatch.setattr(connections, "own_shares", lambda: Shares(1, 9, 9, 9))
        with black_hole() as port:
            fetcher = fetchers(proxy=f"http://127.0.0.1:{port}")
            waiting = [asyncio.create_task(fetcher.fetch(each)) for each in (GOOD, OTHER)]
            [given_up], [other] = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(OwnFaultError, match="more than 1 fetches"):
                await given_up
            other.cancel()

    async def test_a_proxy_that_does_not_accept(
        self, fetchers: Fetchers, host: PolicyHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One more connection is a fault of ours."""
        monkeypatch.setattr(connections, "own_shares", lambda: Shares(9, 1, 9, 9))
        with dropping_port(HOLE, host.port):
            fetcher = fetchers(proxy=f"http://{HOLE}:{host.port}")
            waiting = asyncio.create_task(fetcher.fetch(GOOD))
            while fetcher._connections._connecting._free:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.01)
            with pytest.raises(OwnFaultError, match="no socket: Too many open files"):
                await fetcher.fetch(OTHER)
            waiting.cancel()
