"""DANE's way to the DNS on the terms that the settings have, made when it is first needed.

Border: which name servers count, and who asks them; the questions are those of `dane` and
`dnssec`. Those two, and dnspython with them, are imported here alone, and only by who looks.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.settings import NetworkSettings

if TYPE_CHECKING:
    from postfix_mta_sts.network.dane import DaneClient
    from postfix_mta_sts.network.dnssec import DnssecClient


@asynccontextmanager
async def network(terms: NetworkSettings) -> AsyncIterator[tuple[DnsClient, PolicyFetcher]]:
    """Who asks the DNS, and who asks the Policy Hosts, on the running loop."""
    async with AsyncExitStack() as stack:
        dns = DnsClient(terms.nameservers, terms.dns_timeout)
        stack.push_async_callback(dns.close)
        fetcher = PolicyFetcher(
            dns.addresses,
            timeout=terms.https_timeout,
            authorities=terms.authorities,
            proxy=terms.proxy,
            allow_private_addresses=terms.allow_private_addresses,
            concurrency=terms.concurrency,
            port=terms.https_port,
        )
        stack.push_async_callback(fetcher.close)
        yield dns, fetcher


class LazyDaneClient:
    """What DNSSEC proves; on whichever event loop it is asked."""

    def __init__(self, terms: NetworkSettings) -> None:
        self._terms = terms

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """The name servers whose AD bit does not count; see `dnssec.trusted`."""
        from postfix_mta_sts.network.dnssec import trusted  # noqa: PLC0415 (see `_dnssec`)

        servers = self._dnssec.nameservers
        return [each for each in servers if not trusted([each], trust_ad=self._terms.trust_ad)]

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `DnssecClient.not_validating`."""
        return await self._dnssec.not_validating()

    async def look_up_dane(self, domain: Domain) -> DaneOutcome:
        """See `DaneClient.look_up_dane`."""
        return await self._dane.look_up_dane(domain)

    @cached_property
    def _dnssec(self) -> "DnssecClient":
        # dnspython takes 25 ms and 2 MiB, which nobody is to pay who does no DANE.
        from postfix_mta_sts.network.dnssec import DnssecClient  # noqa: PLC0415 (the line above)

        return DnssecClient(self._terms.nameservers, self._terms.dns_timeout)

    @cached_property
    def _dane(self) -> "DaneClient":
        from postfix_mta_sts.network.dane import DaneClient  # noqa: PLC0415 (see `_dnssec`)

        return DaneClient(self._dnssec)
