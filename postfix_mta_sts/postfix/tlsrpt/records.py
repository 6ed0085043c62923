"""The TLSRPT records of domains, kept for their TTL (RFC 8460 §3)."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DiscoveryError
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt
from postfix_mta_sts.values import Value

LIMIT: Final = 4_096
"""Domains that are kept, also those without a record."""
SHORTEST: Final = 60.0
"""A record is kept for its TTL in seconds, but for this at least, and at most for:"""
LONGEST: Final = 86_400.0
ABSENT: Final = 600.0
"""Seconds after which a domain is asked again that has no record, or whose DNS did not answer."""

FindTlsrpt: TypeAlias = Callable[[Domain], Awaitable[FoundTlsrpt]]
"""Asks the DNS; raises `DiscoveryError`."""


class _Kept(Value, frozen=True):
    text: str | None
    until: float


class TlsrptRecords:
    """Finds records by `find`. `monotonic` gives seconds."""

    def __init__(self, find: FindTlsrpt, monotonic: Callable[[], float]) -> None:
        self._find = find
        self._monotonic = monotonic
        self._kept: OrderedDict[Domain, _Kept] = OrderedDict()

    async def find(self, domain: Domain) -> str | None:
        """The text of the record as it is published; None: no reports are wanted."""
        kept = self._kept.get(domain)
        if kept is None or self._monotonic() >= kept.until:
            kept = await self._ask(domain)
            self._kept[domain] = kept
        self._kept.move_to_end(domain)
        while len(self._kept) > LIMIT:
            self._kept.popitem(last=False)
        return kept.text

    async def _ask(self, domain: Domain) -> _Kept:
        text, life = None, ABSENT
        try:
            found = await self._find(domain)
        except DiscoveryError:
            pass
        else:
            text, life = found.record.text, min(max(found.ttl, SHORTEST), LONGEST)
        return _Kept(text, self._monotonic() + life)
