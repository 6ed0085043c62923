"""Policy Hosts at addresses that nobody should connect to (C10 of the list of faults)."""

from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.errors import ForbiddenAddressError
from tests.support.attacks import NOT_FOUND, replies_to
from tests.support.daemons import daemon
from tests.support.fetchers import GOOD, POLICY, Fetchers, FixedAddresses, failure
from tests.support.internet import Internet
from tests.support.policy_host import PolicyHost

RESERVED = ["192.0.0.8", "192.88.99.1", "3fff::1", "3ffe::1"]
METADATA = ["192.0.0.192", "168.63.129.16", "169.254.169.254", "fd00:ec2::254"]


@pytest.mark.parametrize("address", [*RESERVED, *METADATA])
async def test_reserved_addresses_are_refused(fetchers: Fetchers, address: str) -> None:
    """An address of no public host is refused without a packet, and the reason says why."""
    fetcher = fetchers(addresses=FixedAddresses(address), allow_private_addresses=False)
    reason = await failure(fetcher, ForbiddenAddressError)
    assert reason.startswith(f"not a public address: {address} (")


@pytest.mark.parametrize("address", METADATA)
async def test_metadata_services_are_refused_in_any_case(
    fetchers: Fetchers, host: PolicyHost, address: str
) -> None:
    """Where private addresses are allowed, another address of the name is used, or none."""
    fetcher = fetchers(addresses=FixedAddresses(address))
    assert (await failure(fetcher, ForbiddenAddressError)).endswith("; no setting allows it")
    both = fetchers(addresses=FixedAddresses(address, "127.0.0.1"))
    assert await both.fetch_body(GOOD) == POLICY
    assert host.connections.total == 1


async def test_the_daemon_does_not_connect_to_them(net: Internet, tmp_path: Path) -> None:
    """A domain with such a Policy Host has no policy for Postfix."""
    net.publish("evil.test")
    net.dns.zone["mta-sts.evil.test A"] = [each for each in METADATA if ":" not in each]
    async with daemon(net, tmp_path) as running:
        assert await replies_to(running, "evil.test") == NOT_FOUND
