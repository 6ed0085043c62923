"""The steps of a query, as far as they need a Policy Host without a proxy before it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.explain import Explanation, explain
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import ForbiddenAddressError, HostNotFoundError, NoRecordError
from postfix_mta_sts.network import network
from postfix_mta_sts.report import as_dict, as_lines
from tests.support.dns import Fault
from tests.support.internet import Internet, internet

GOOD = Domain("good.test")


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet in which good.test has a policy."""
    async with internet(tmp_path) as net:
        net.publish("good.test")
        yield net


async def explained(net: Internet, folder: Path, *, private: bool = True) -> Explanation:
    """What is found of good.test."""
    https = {"https": {"allow_private_addresses": private}}
    async with network(net.settings(folder, https), net.hosts.port) as (dns, fetcher):
        return await explain(GOOD, dns.txt, fetcher.body)


async def test_address(net: Internet, tmp_path: Path) -> None:
    """The Policy Host's own address is told, and the port if it is not 443."""
    seen = await explained(net, tmp_path)
    lines = list(as_lines(seen))
    url = f"https://mta-sts.good.test:{net.hosts.port}/.well-known/mta-sts.txt"
    assert f"  policy    {url}" in lines
    assert "  address   127.0.0.1" in lines
    assert (seen.error, seen.unprotected) == (None, False)


async def test_forbidden_address(net: Internet, tmp_path: Path) -> None:
    """A private address is the reason, and nothing was connected to."""
    seen = await explained(net, tmp_path, private=False)
    assert isinstance(seen.error, ForbiddenAddressError)
    assert as_dict(seen)["error"] == {
        "code": "forbidden-address",
        "result": "sts-policy-fetch-error",
        "reason": "not a public address: 127.0.0.1",
        "line": None,
    }
    assert list(as_lines(seen))[-3:] == [
        "  failure   not a public address: 127.0.0.1 (sts-policy-fetch-error)",
        "  Postfix   NOTFOUND",
        "  TLSRPT    NOTFOUND",
    ]
    assert net.hosts.connections.total == 0


async def test_no_policy_host(net: Internet, tmp_path: Path) -> None:
    """A record without a Policy Host is a failure, not an absence."""
    del net.dns.zone["mta-sts.good.test A"]
    seen = await explained(net, tmp_path)
    assert isinstance(seen.error, HostNotFoundError)
    assert (seen.policy_id, seen.unprotected) == ("id1", False)


async def test_steps_not_reached(net: Internet, tmp_path: Path) -> None:
    """What was not reached is None."""
    net.vanish(Fault.NXDOMAIN)
    seen = await explained(net, tmp_path)
    assert isinstance(seen.error, NoRecordError)
    assert seen.unprotected
    assert (seen.texts, seen.policy_id, seen.exchange, seen.body, seen.policy) == (None,) * 5
