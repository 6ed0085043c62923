"""Ask the DNS: for the policy id of a Policy Domain, and for the addresses of a Policy Host.

Border: the one place that knows aiodns and the c-ares beneath it. What a TXT record says is for
`mtasts.record` to judge; here it is only told apart what the DNS says ("there is none") from
what it does not say (SERVFAIL, REFUSED, silence).

Names are asked for as absolute ones, so that no search list makes another name of them.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import aiodns
import pycares
from aiodns.error import DNSError

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    HostNotFoundError,
    NoRecordError,
    printable,
)
from postfix_mta_sts.mtasts.lifecycle import Found
from postfix_mta_sts.mtasts.record import parse_records, record_name

CHANNEL_LIFE: Final = 30.0
"""Seconds after which a new c-ares channel takes the queries.

c-ares caches answers in the channel, negative ones for up to an hour, and pycares cannot switch
that off. No recheck comes sooner than this after the check before (`mtasts.lifecycle`), so that
none is ever answered from that cache.
"""

CHANNEL_QUERIES: Final = 500
"""Queries after which a new one takes over as well: nobody asks for what the cache has kept."""

FAILURES_TOLD: Final = 20
"""Queries in a row that fail before it is called the DNS's trouble, not those domains'."""

FIRST_TRY: Final = 0.2
"""The share of the time that the first name server has before the next one is asked as well."""
_SHORTEST_TRY = 0.25  # seconds: c-ares goes down to this for servers that used to be quick

_ABSENT = {
    aiodns.error.ARES_ENOTFOUND: "NXDOMAIN",
    aiodns.error.ARES_ENODATA: "NODATA",
    aiodns.error.ARES_EBADNAME: "the name is too long for the DNS",
}
_FAILED = {
    aiodns.error.ARES_ESERVFAIL: "SERVFAIL from the name server",
    aiodns.error.ARES_EREFUSED: "REFUSED from the name server",
    aiodns.error.ARES_ENOTIMP: "NOTIMP from the name server",
    aiodns.error.ARES_EFORMERR: "FORMERR from the name server",
    aiodns.error.ARES_EBADRESP: "a malformed answer from the name server",
    aiodns.error.ARES_ECONNREFUSED: "no name server can be reached",
    aiodns.error.ARES_ECANCELLED: "given up at shutdown",
}

_Kind = Literal["TXT", "A", "AAAA"]
_Answer: TypeAlias = Sequence[pycares.DNSRecord]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """A TXT RRset that is not empty."""

    texts: tuple[bytes, ...]
    """One item a record, its character-strings joined (RFC 8461 §3.1)."""
    ttl: int
    """Seconds: the least of the answer, the CNAMEs on the way included."""


class Dns:
    """Queries to `nameservers`: an address, with or without a port; none: the system's.

    `timeout` bounds one query in seconds, all tries and servers together. May be made outside of
    an event loop; the first query binds it to the one that runs. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nameservers = nameservers
        self._timeout = timeout
        self._clock = clock
        self._failures = 0  # queries in a row
        self._channels: list[_Channel] = []  # the last takes new queries, the others end theirs

    @property
    def silent(self) -> bool:
        """Whether the last queries, `FAILURES_TOLD` or more, had no answer at all."""
        return self._failures >= FAILURES_TOLD

    async def txt(self, domain: Domain) -> TxtAnswer:
        """The TXT records at `_mta-sts.<domain>` (RFC 8461 §3.1), CNAMEs followed.

        Raises `NoRecordError` (NXDOMAIN, NODATA) or `DnsFailureError`.
        """
        records = await self._minded(self._ask(record_name(domain), "TXT"))
        texts = [r.data.data for r in records if isinstance(r.data, pycares.TXTRecordData)]
        if not texts:
            raise NoRecordError("a CNAME that leads to no TXT record")
        return TxtAnswer(tuple(texts), min(record.ttl for record in records))

    async def discover(self, domain: Domain) -> Found:
        """The policy id that a Policy Domain announces; raises `DiscoveryError`."""
        answer = await self.txt(domain)
        return Found(parse_records(answer.texts), answer.ttl)

    async def addresses(self, host: str) -> Sequence[str]:
        """All addresses of a host, IPv6 first; raises `HostNotFoundError` if there are none.

        What one of the two address families fails with does not matter if the other is there.
        """
        async with asyncio.TaskGroup() as group:
            queries = [
                group.create_task(self._addresses(host, kind), name=f"{kind} of {host}")
                for kind in ("AAAA", "A")
            ]
        outcomes = [query.result() for query in queries]
        found = [a for outcome in outcomes if isinstance(outcome, tuple) for a in outcome]
        if not found:
            raise _not_found([e for e in outcomes if isinstance(e, DiscoveryError)])
        return found

    async def close(self) -> None:
        """Give up what is under way; nothing else may be called after."""
        for channel in self._channels:
            await channel.resolver.close()
        self._channels.clear()

    async def _minded(self, query: Awaitable[_Answer]) -> _Answer:
        """What a query gives; when many in a row give nothing, the administrator is told."""
        try:
            answer = await query
        except DnsFailureError as error:
            self._failures += 1
            if self._failures == FAILURES_TOLD:
                what = "DNS does not answer"
                event(_log, logging.WARNING, what, reason=str(error), failures=self._failures)
            raise
        except NoRecordError:
            self._answered()
            raise
        self._answered()
        return answer

    def _answered(self) -> None:
        if self.silent:
            event(_log, logging.INFO, "DNS answers again", failures=self._failures)
        self._failures = 0

    async def _addresses(
        self, host: str, kind: Literal["A", "AAAA"]
    ) -> tuple[str, ...] | DiscoveryError:
        try:
            records = await self._ask(host, kind)
        except DiscoveryError as error:
            return error
        datas = (record.data for record in records)
        return tuple(
            d.addr for d in datas if isinstance(d, (pycares.ARecordData, pycares.AAAARecordData))
        )

    async def _ask(self, name: str, kind: _Kind) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout), self._channel() as resolver:
                return (await resolver.query_dns(f"{name}.", kind)).answer
        except TimeoutError:
            raise DnsFailureError(f"no answer within {self._timeout:g} s") from None
        except DNSError as error:
            raise self._failure(*error.args) from error

    def _failure(self, code: int, text: str) -> DiscoveryError:
        if code in _ABSENT:
            return NoRecordError(_ABSENT[code])
        if code == aiodns.error.ARES_ETIMEOUT:
            return DnsFailureError(f"no answer within {self._timeout:g} s")
        return DnsFailureError(_FAILED.get(code) or printable(text))

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[aiodns.DNSResolver]:
        channel = self._current()
        channel.under_way += 1
        channel.asked += 1
        try:
            yield channel.resolver
        finally:
            channel.under_way -= 1
            await self._close_idle()

    def _current(self) -> "_Channel":
        now = self._clock()
        if not self._channels or self._channels[-1].is_over(now):
            self._channels.append(_Channel(self._resolver(), now))
        return self._channels[-1]

    async def _close_idle(self) -> None:
        """Close the channels whose time is over and whose queries are too."""
        for channel in self._channels[:-1]:
            if not channel.under_way:
                self._channels.remove(channel)
                await channel.resolver.close()

    def _resolver(self) -> aiodns.DNSResolver:
        # Each round of tries is given twice the time of the one before. There are more of them
        # than there is time for: what ends a query is the timeout around it.
        rounds = 2 + max(0, math.ceil(math.log2(self._timeout / _SHORTEST_TRY)))
        return aiodns.DNSResolver(
            self._nameservers, timeout=self._timeout * FIRST_TRY, tries=rounds
        )


@dataclass(eq=False, slots=True)
class _Channel:
    resolver: aiodns.DNSResolver
    made_at: float
    under_way: int = 0
    asked: int = 0

    def is_over(self, now: float) -> bool:
        """Whether new queries are for another channel."""
        return now >= self.made_at + CHANNEL_LIFE or self.asked >= CHANNEL_QUERIES


def _not_found(errors: Sequence[DiscoveryError]) -> HostNotFoundError:
    """Why a host has no address: a DNS that did not say weighs more than one that said no."""
    for error in errors:
        if isinstance(error, DnsFailureError):
            return HostNotFoundError(f"DNS failure: {error}")
    reasons = {str(error) for error in errors} - {_ABSENT[aiodns.error.ARES_ENODATA]}
    return HostNotFoundError(", ".join(sorted(reasons)) or "no address")
