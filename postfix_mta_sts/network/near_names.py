"""Look for TXT records at the names where administrators put them by mistake.

`mtasts.mistakes` knows the names, and what the records there mean.
"""

import asyncio
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DiscoveryError
from postfix_mta_sts.mtasts.mistakes import Texts, near_names
from postfix_mta_sts.network.dns import DnsClient

PATIENCE: Final = 3.0
"""Seconds: a name server that has answered for the domain answers these names as fast."""


async def look_up_near_names(
    dns: DnsClient, domain: Domain, patience: float = PATIENCE
) -> tuple[Texts, ...]:
    """Query TXT records at the dozen names of `near_names`, all at once.

    Returns those names that have records, in the order of `near_names`. What fails, or has not been
    answered after `patience` seconds, is left out. Raises nothing.
    """
    queries = [asyncio.create_task(_texts(dns, name)) for name in near_names(domain)]
    try:
        await asyncio.wait(queries, timeout=patience)
        found = [query.result() for query in queries if query.done()]
        return tuple(texts for texts in found if texts)
    finally:
        for query in queries:
            query.cancel()


async def _texts(dns: DnsClient, name: str) -> Texts | None:
    try:
        answer = await dns.look_up_texts(name)
    except DiscoveryError:
        return None
    return Texts(name, answer.texts, answer.aliases)
