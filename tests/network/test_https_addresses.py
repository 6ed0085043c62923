"""From the name of a Policy Host to a connection: which addresses are tried, and which never."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.errors import (
    ForbiddenAddressError,
    HostNotFoundError,
    TlsError,
    UnreachableError,
)
from postfix_mta_sts.network.addresses import forbidden_address
from postfix_mta_sts.network.trace import FetchTrace
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
from tests.support.policy_host import (
    PolicyHost,
    black_hole,
    ok,
    reply,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestConnecting:
    """From the host name to a connection."""

    async def test_name_not_found(self, fetchers: Fetchers) -> None:
        """The reason of the resolver is passed on."""

        async def none(_: str) -> Sequence[str]:
            raise HostNotFoundError("NXDOMAIN")

        assert await failure(fetchers(addresses=none), HostNotFoundError) == "NXDOMAIN"

    async def test_no_addresses(self, fetchers: Fetchers) -> None:
        """A name without addresses is an error."""
        assert (
            await failure(fetchers(addresses=FixedAddresses()), HostNotFoundError) == "no address"
        )

    async def test_refused(self, fetchers: Fetchers) -> None:
        """A port on which nothing listens is an error."""
        with black_hole() as port:
            pass
        reason = await failure(fetchers(port=port), UnreachableError)
        assert reason == "127.0.0.1: Connection refused"

    async def test_all_addresses_refused(self, fetchers: Fetchers) -> None:
        """The reason is given for several addresses too."""
        with black_hole() as port:
            pass
        fetcher = fetchers(port=port, addresses=FixedAddresses("127.0.0.2", "127.0.0.3"))
        assert "Connection refused" in await failure(fetcher, UnreachableError)

    @pytest.mark.parametrize("first", ["127.0.0.2", "::1"])
    async def test_the_next_address_is_tried(self, fetchers: Fetchers, first: str) -> None:
        """If one address refuses, the other is tried."""
        fetcher = fetchers(addresses=FixedAddresses(first, "127.0.0.1"))
        seen = FetchTrace()
        assert await fetcher.fetch_body(GOOD, seen) == POLICY

    async def test_the_next_address_is_tried_if_one_hangs(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """An address that drops every SYN delays the next one only a little."""
        fetcher = fetchers(addresses=FixedAddresses(HOLE, "127.0.0.1"))
        with dropping_port(HOLE, host.port):
            seen = FetchTrace()
            assert await fetcher.fetch_body(GOOD, seen) == POLICY
        assert seen.address == "127.0.0.1"

    async def test_the_next_address_is_tried_if_tls_fails(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """If TLS fails at one address, the next is tried; still only one GET is sent."""
        async with plain_server(reply(400), HOLE, host.port):
            fetcher = fetchers(addresses=FixedAddresses(HOLE, "127.0.0.1"), concurrency=1)
            seen = FetchTrace()
            assert await fetcher.fetch_body(GOOD, seen) == POLICY
        assert (seen.address, host.gets.total) == ("127.0.0.1", 1)

    async def test_no_address_is_tried_twice(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """If TLS fails at all addresses, the reason is that of the last one."""
        async with plain_server(reply(400), HOLE, host.port) as port:
            fetcher = fetchers(addresses=FixedAddresses(HOLE, HOLE), port=port)
            await failure(fetcher, TlsError)

    async def test_ipv6(self, authority: Authority, ca_file: Path) -> None:
        """A Policy Host with only an IPv6 address works."""
        async with PolicyHost(authority, host="::1") as six:
            six.answers[HOST] = ok(POLICY)
            fetchers = Fetchers(six, ca_file)
            seen = FetchTrace()
            assert await fetchers().fetch_body(GOOD, seen) == POLICY
            await fetchers.close()
        assert seen.address == "::1"

    async def test_at_most_four_addresses_are_tried(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A name with many addresses causes few connections: the fifth address is not tried."""
        fetcher = fetchers(addresses=FixedAddresses(*(f"127.0.0.{n}" for n in (2, 3, 4, 5, 1))))
        await failure(fetcher, UnreachableError)
        assert host.connections.total == 0


class TestPrivateAddresses:
    """The publisher of a record cannot make the relay connect to its neighbours."""

    @pytest.mark.parametrize(
        "addresses",
        [("127.0.0.1",), ("10.0.0.1", "::1"), ("::ffff:127.0.0.1",), ("64:ff9b::7f00:1",)],
    )
    async def test_refused_without_a_packet(
        self, fetchers: Fetchers, host: PolicyHost, addresses: tuple[str, ...]
    ) -> None:
        """Private addresses are refused before any connection; the reason names them."""
        fetcher = fetchers(addresses=FixedAddresses(*addresses), allow_private_addresses=False)
        reason = await failure(fetcher, ForbiddenAddressError)
        assert reason == str(forbidden_address(addresses))
        assert host.connections.total == 0

    async def test_a_list_of_prefixes(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """Addresses in the prefixes that the administrator names are tried, and no others."""
        both = FixedAddresses("127.0.0.2", "127.0.0.1")
        fetcher = fetchers(addresses=both, allow_private_addresses=("127.0.0.1/32", "10.0.0.0/8"))
        assert await fetcher.fetch_body(GOOD) == POLICY
        fetcher = fetchers(addresses=both, allow_private_addresses=("10.0.0.0/8",))
        await failure(fetcher, ForbiddenAddressError)
        assert host.connections.total == 1

    async def test_only_public_addresses_are_tried(self, fetchers: Fetchers) -> None:
        """Private addresses among public ones are skipped."""
        mixed = FixedAddresses("127.0.0.1", "2606:4700::1", "10.0.0.1", "8.8.8.8")
        fetcher = fetchers(addresses=mixed, allow_private_addresses=False)
        assert await fetcher._public_addresses(HOST) == ["2606:4700::1", "8.8.8.8"]

    @pytest.mark.parametrize("others", [(), ("127.0.0.1",)], ids=["one", "two"])
    async def test_rebinding(
        self, fetchers: Fetchers, host: PolicyHost, others: tuple[str, ...]
    ) -> None:
        """An address that turns private between look-up and connection is refused."""
        fetcher = fetchers(addresses=FixedAddresses("127.0.0.1", *others))
        allowed = iter([True] * (1 + len(others)) + [False] * 10)
        fetcher._rules.admit = lambda _: next(allowed)  # type: ignore[assignment, method-assign] # public only at first
        reason = await failure(fetcher, ForbiddenAddressError)
        assert reason.startswith("not a public address: 127.0.0.1 (loopback)")
        assert host.connections.total == 0
