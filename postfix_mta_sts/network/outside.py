"""DNS and HTTPS on the terms that the settings have, on the running loop.

Border: which of the terms are whose; the daemon has this done in a process of its own (`child`).
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.settings import NetworkSettings


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
