"""Ask the DNS: for the policy id of a Policy Domain, and for the addresses of a Policy Host.

Border: the one place that knows aiodns and the c-ares beneath it. What a TXT record says is for
`mtasts.record` to judge; here it is only told apart what the DNS says ("there is none") from
what it does not say (SERVFAIL, REFUSED, silence).

Names are asked for as absolute ones, so that no search list makes another name of them.
"""

import asyncio
import logging
import math
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import aiodns
import pycares

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    HostNotFoundError,
    NoRecordError,
    printable,
)
from postfix_mta_sts.mtasts.lifecycle import Discovered
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

_RecordType = Literal["TXT", "A", "AAAA"]
_Records: TypeAlias = Sequence[pycares.DNSRecord]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """A TXT RRset that is not empty."""

    texts: tuple[bytes, ...]
    """One item a record, its character-strings joined (RFC 8461 §3.1)."""
    ttl: int
    """Seconds: the least of the answer, the CNAMEs on the way included."""


class DnsClient:
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
    def unanswered(self) -> bool:
        """Whether the last queries, `FAILURES_TOLD` or more, had no answer at all."""
        return self._failures >= FAILURES_TOLD

    async def txt(self, domain: Domain) -> TxtAnswer:
        """The TXT records at `_mta-sts.<domain>` (RFC 8461 §3.1), CNAMEs followed.

        Raises `NoRecordError` (NXDOMAIN, NODATA) or `DnsFailureError`.
        """
        (outcome,) = await self._ask(record_name(domain), ("TXT",))
        self._mind(outcome)
        if isinstance(outcome, DiscoveryError):
            raise outcome
        texts = [r.data.data for r in outcome if isinstance(r.data, pycares.TXTRecordData)]
        if not texts:
            raise NoRecordError("a CNAME that leads to no TXT record")
        return TxtAnswer(tuple(texts), min(record.ttl for record in outcome))

    async def discover(self, domain: Domain) -> Discovered:
        """The policy id that a Policy Domain announces; raises `DiscoveryError`."""
        answer = await self.txt(domain)
        return Discovered(parse_records(answer.texts), answer.ttl)

    async def addresses(self, host: str) -> Sequence[str]:
        """All addresses of a host, IPv6 first; raises `HostNotFoundError` if there are none.

        What one of the two address families fails with does not matter if the other is there.
        """
        outcomes = await self._ask(host, ("AAAA", "A"))
        answers = (outcome for outcome in outcomes if not isinstance(outcome, DiscoveryError))
        datas = (record.data for answer in answers for record in answer)
        found = [
            d.addr for d in datas if isinstance(d, (pycares.ARecordData, pycares.AAAARecordData))
        ]
        if not found:
            raise _not_found([e for e in outcomes if isinstance(e, DiscoveryError)])
        return found

    async def close(self) -> None:
        """Give up what is under way; nothing else may be called after."""
        for channel in self._channels:
            await channel.resolver.close()
        self._channels.clear()

    def _mind(self, outcome: "_Records | DiscoveryError") -> None:
        """Tell the administrator when many queries in a row fail, and when that is over."""
        if not isinstance(outcome, DnsFailureError):
            self._answered()
            return
        self._failures += 1
        if self._failures == FAILURES_TOLD:
            event(
                _log,
                logging.WARNING,
                "DNS does not answer",
                reason=str(outcome),
                failures=self._failures,
            )

    def _answered(self) -> None:
        if self.unanswered:
            event(_log, logging.INFO, "DNS answers again", failures=self._failures)
        self._failures = 0

    async def _ask(
        self, name: str, kinds: Sequence[_RecordType]
    ) -> "list[_Records | DiscoveryError]":
        """What the DNS says of a name, for each of `kinds`, within one timeout for all."""
        channel = self._current()
        channel.under_way += 1
        channel.asked += len(kinds)
        queries = [channel.resolver.query_dns(f"{name}.", kind) for kind in kinds]
        try:
            # Not a task for each: futures alone cost a fifth of that.
            await asyncio.wait(queries, timeout=self._timeout)
            return [self._outcome(query) for query in queries]
        finally:
            for query in queries:
                query.cancel()
            channel.under_way -= 1
            await self._close_idle()

    def _outcome(self, query: asyncio.Future[pycares.DNSResult]) -> "_Records | DiscoveryError":
        if not query.done():
            return DnsFailureError(f"no answer within {self._timeout:g} s")
        error = query.exception()
        return self._failure(*error.args) if error else query.result().answer

    def _failure(self, code: int, text: str) -> DiscoveryError:
        if code in _ABSENT:
            return NoRecordError(_ABSENT[code])
        if code == aiodns.error.ARES_ETIMEOUT:
            return DnsFailureError(f"no answer within {self._timeout:g} s")
        return DnsFailureError(_FAILED.get(code) or printable(text))

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
        return _Resolver(self._nameservers, timeout=self._timeout * FIRST_TRY, tries=rounds)


class _Resolver(aiodns.DNSResolver):
    """c-ares on the event loop, not in a thread of its own whose answers wait for its turn.

    It is what aiodns falls back to by itself where c-ares has no such thread.
    """

    def _make_channel(self, **kwargs: Any) -> tuple[bool, pycares.Channel]:  # noqa: ANN401 (theirs)
        changed = weakref.WeakMethod(self._sock_state_cb)  # else a channel would keep itself alive

        def watch(*state: Any) -> None:  # noqa: ANN401 (a descriptor, to read, to write)
            if tell := changed():
                tell(*state)

        return False, pycares.Channel(sock_state_cb=watch, timeout=self._timeout, **kwargs)

    def _start_timer(self) -> None:
        # c-ares shortens its tries, and learns that one is over only when it is asked to look.
        self._timer = self.loop.call_later(_SHORTEST_TRY, self._timer_cb)


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
