"""DANE's way to the DNS on the terms that the settings have, made when it is first needed.

Border: which name servers count, and who asks them; the questions are those of `dane` and
`dnssec`. Those two, and dnspython with them, are imported here alone, and only by who looks.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.mtasts.dane import Outcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.settings import Terms

if TYPE_CHECKING:
    from postfix_mta_sts.network.dane import Dane
    from postfix_mta_sts.network.dnssec import Dnssec


class Proof:
    """What DNSSEC proves; on whichever event loop it is asked."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """The name servers whose AD bit does not count; see `dnssec.trusted`."""
        from postfix_mta_sts.network.dnssec import trusted  # noqa: PLC0415 (see `_dnssec`)

        servers = self._dnssec.nameservers
        return [each for each in servers if not trusted([each], trust_ad=self._terms.trust_ad)]

    async def blind(self) -> Sequence[TcpAddress]:
        """See `Dnssec.blind`."""
        return await self._dnssec.blind()

    async def judge(self, domain: Domain) -> Outcome:
        """See `Dane.judge`."""
        return await self._dane.judge(domain)

    @cached_property
    def _dnssec(self) -> "Dnssec":
        # dnspython takes 25 ms and 2 MiB, which nobody is to pay who does no DANE.
        from postfix_mta_sts.network.dnssec import Dnssec  # noqa: PLC0415 (the line above)

        return Dnssec(self._terms.nameservers, self._terms.dns_timeout)

    @cached_property
    def _dane(self) -> "Dane":
        from postfix_mta_sts.network.dane import Dane  # noqa: PLC0415 (see `_dnssec`)

        return Dane(self._dnssec)
