"""Fixtures for the tests of the network: a Policy Host with its fetchers, a DNS with its client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.network import dns_query
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from tests.support.dns import DnsServer
from tests.support.dns_clients import NAME, RECORD, Clock, open_client
from tests.support.fetchers import HOST, POLICY, Fetchers
from tests.support.internet import authority as shared_authority
from tests.support.policy_host import PolicyHost, ok
from tests.support.tls import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA of all Policy Hosts."""
    return shared_authority()


@pytest.fixture(scope="session")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of that CA, as the configuration names it."""
    return authority.write(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second try at a name server begin soon, whatever the timeout is."""
    monkeypatch.setattr(dns_query, "FIRST_TRY", 0.001)


@pytest.fixture
async def host(authority: Authority) -> AsyncIterator[PolicyHost]:
    """A Policy Host for every name, with a good policy for two domains."""
    async with PolicyHost(authority) as host:
        host.answers[HOST] = ok(POLICY)
        host.answers["mta-sts.other.test"] = ok(POLICY)
        yield host


@pytest.fixture
async def fetchers(host: PolicyHost, ca_file: Path) -> AsyncIterator[Fetchers]:
    """A maker of fetchers with other settings than the defaults."""
    fetchers = Fetchers(host, ca_file)
    yield fetchers
    await fetchers.close()


@pytest.fixture
def fetcher(fetchers: Fetchers) -> PolicyFetcher:
    """A fetcher with default settings."""
    return fetchers()


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A DNS server with one good record."""
    async with DnsServer({f"{NAME} TXT": [RECORD]}) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """The clock of `dns`."""
    return Clock()


@pytest.fixture
async def dns(server: DnsServer, clock: Clock) -> AsyncIterator[DnsClient]:
    """A client of that server, with a timeout long enough for a busy machine."""
    async with open_client(server.address, clock=clock) as dns:
        yield dns
