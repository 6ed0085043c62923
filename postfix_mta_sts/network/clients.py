"""Make the clients for DNS, HTTPS and DANE from the settings.

The daemon uses them in its network process (`child`); `query` and `seed` use them in their own
process.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dane import DaneClient, OnProgress, OnTlsa
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dnssec import DnssecClient, are_trusted
from postfix_mta_sts.network.https import AddressLookup, PolicyFetcher
from postfix_mta_sts.network.settings import NetworkSettings


@asynccontextmanager
async def open_clients(settings: NetworkSettings) -> AsyncIterator[tuple[DnsClient, PolicyFetcher]]:
    """Open a DNS client and a policy fetcher on the running event loop; close it at the end."""
    async with AsyncExitStack() as stack:
        dns = DnsClient(settings.nameservers, settings.dns_timeout)
        fetcher = policy_fetcher(settings, dns.look_up_addresses)
        stack.push_async_callback(fetcher.close)
        yield dns, fetcher


def policy_fetcher(settings: NetworkSettings, addresses: AddressLookup) -> PolicyFetcher:
    """Make a policy fetcher that looks up addresses with this function."""
    return PolicyFetcher(
        addresses,
        timeout=settings.https_timeout,
        authorities=settings.authorities,
        proxy=settings.proxy,
        allow_private_addresses=settings.allow_private_addresses,
        concurrency=settings.concurrency,
        port=settings.https_port,
    )


class LazyDaneClient:
    """DANE client, created on first use; each call may run on another event loop.

    `resolv_conf` is that of `DnssecClient`.
    """

    def __init__(
        self, settings: NetworkSettings, resolv_conf: Path = Path("/etc/resolv.conf")
    ) -> None:
        self._settings = settings
        self._resolv_conf = resolv_conf

    @property
    def nameservers(self) -> tuple[TcpAddress, ...]:
        """The servers of the settings, else those of resolv.conf as it was last read."""
        return tuple(self._dnssec.wanted_nameservers)

    @property
    def untrusted(self) -> tuple[TcpAddress, ...]:
        """Those of `nameservers` whose AD bit is not trusted; see `dnssec.are_trusted`."""
        trust_ad = self._settings.trust_ad
        return tuple(
            each for each in self.nameservers if not are_trusted([each], trust_ad=trust_ad)
        )

    def read_again(self) -> None:
        """See `DnssecClient.read_again`."""
        self._dnssec.read_again()

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `DnssecClient.not_validating`."""
        return await self._dnssec.not_validating()

    async def look_up_dane(
        self,
        domain: Domain,
        on_progress: OnProgress | None = None,
        on_tlsa: OnTlsa | None = None,
    ) -> DaneOutcome:
        """See `DaneClient.look_up_dane`."""
        return await self._dane.look_up_dane(domain, on_progress, on_tlsa)

    async def look_up_hosts(
        self, names: Sequence[str], on_tlsa: OnTlsa | None = None
    ) -> Sequence[Host]:
        """See `DaneClient.look_up_hosts`."""
        return await self._dane.look_up_hosts(names, on_tlsa)

    @cached_property
    def _dnssec(self) -> DnssecClient:
        return DnssecClient(
            self._settings.nameservers, self._settings.dns_timeout, resolv_conf=self._resolv_conf
        )

    @cached_property
    def _dane(self) -> DaneClient:
        return DaneClient(self._dnssec)
