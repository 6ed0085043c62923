"""DNS and HTTPS as the settings have them, on the running loop.

Border: which settings are whose; the daemon has this done in a process of its own (`outpost`).
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from postfix_mta_sts.config import Settings
from postfix_mta_sts.discovery import Dns
from postfix_mta_sts.fetch import PolicyFetcher


@asynccontextmanager
async def network(
    settings: Settings, https_port: int = 443
) -> AsyncIterator[tuple[Dns, PolicyFetcher]]:
    """Who asks the DNS, and who asks the Policy Hosts, on the running loop.

    `https_port`, that of the Policy Hosts, is for tests.
    """
    https = settings.https
    async with AsyncExitStack() as stack:
        dns = Dns(settings.dns.nameservers, settings.dns.timeout)
        stack.push_async_callback(dns.close)
        fetcher = PolicyFetcher(
            dns.addresses,
            timeout=https.timeout,
            ca_file=https.ca_file,
            proxy=https.proxy,
            allow_private_addresses=https.allow_private_addresses,
            concurrency=https.concurrency,
            port=https_port,
        )
        stack.push_async_callback(fetcher.close)
        yield dns, fetcher
