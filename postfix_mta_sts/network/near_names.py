"""Look at names where a record is put by mistake."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.mistakes import Texts
from postfix_mta_sts.network.dns import DnsClient


async def look_up_near_names(_: DnsClient, __: Domain) -> tuple[Texts, ...]:
    """Return what is at the names."""
    return ()
