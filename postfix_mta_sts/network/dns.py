"""Query the DNS for the policy id of a Policy Domain and for the addresses of a Policy Host.

This is the only file that imports aiodns and pycares, which is c-ares. `mtasts.record` parses the
TXT records; this module separates a DNS that answers ("there is none") from one that does not
(SERVFAIL, REFUSED, no answer).

All names are absolute, so that no search list changes them.
"""

import asyncio
import logging
import math
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

# Private parts of aiodns, which a new release may change. `_Resolver` overrides or uses:
#   _make_channel    makes the c-ares channel
#   _sock_state_cb   watches the sockets of c-ares on the event loop
#   _start_timer, _timer_cb, _timer   run the timeouts of c-ares
#   _timeout         the timeout of the first try
# Reason: with documented means, c-ares uses a thread of its own; see `_Resolver`.
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
that off. Two checks of a domain are at least this far apart (`mtasts.lifecycle`), so no recheck
is answered from that cache.
"""

CHANNEL_QUERIES: Final = 500
"""Queries after which a new channel takes over too: its cache is useless and takes memory."""

FAILURES_LIMIT: Final = 20
"""Failed queries in a row after which the DNS is to blame, and not the queried domains."""

FIRST_TRY: Final = 0.2
"""The share of the timeout after which the query is also sent to the next name server."""
_SHORTEST_TRY = 0.25  # seconds: c-ares shortens its tries to this for servers that were fast

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
    aiodns.error.ARES_ECANCELLED: "cancelled at shutdown",
}

_RecordType = Literal["TXT", "A", "AAAA"]
_Records: TypeAlias = Sequence[pycares.DNSRecord]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """A TXT RRset with at least one record."""

    texts: tuple[bytes, ...]
    """One item for each record, its character-strings joined (RFC 8461 §3.1)."""
    ttl: int
    """Seconds: the lowest of the answer, including CNAMEs."""


class DnsClient:
    """Sends queries to `nameservers`: addresses with or without a port; empty: the system's.

    `timeout` limits one query in seconds, including all tries and servers. Can be made outside an
    event loop; the first query binds it to the running loop. `clock` gives monotonic seconds.
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
        self._failures = 0  # in a row
        self._channels: list[_Channel] = []  # the last takes new queries, the others finish

    @property
    def unanswered(self) -> bool:
        """Whether the last `FAILURES_LIMIT` queries or more all failed."""
        return self._failures >= FAILURES_LIMIT

    async def look_up_txt(self, domain: Domain) -> TxtAnswer:
        """Query the TXT records at `_mta-sts.<domain>` (RFC 8461 §3.1), following CNAMEs.

        Raises `NoRecordError` (NXDOMAIN, NODATA) or `DnsFailureError`.
        """
        (outcome,) = await self._query(record_name(domain), ("TXT",))
        self._count_failures(outcome)
        if isinstance(outcome, DiscoveryError):
            raise outcome
        texts = [r.data.data for r in outcome if isinstance(r.data, pycares.TXTRecordData)]
        if not texts:
            raise NoRecordError("a CNAME that leads to no TXT record")
        return TxtAnswer(tuple(texts), min(record.ttl for record in outcome))

    async def discover(self, domain: Domain) -> Discovered:
        """Find the policy id that a Policy Domain announces; raises `DiscoveryError`."""
        answer = await self.look_up_txt(domain)
        return Discovered(parse_records(answer.texts), answer.ttl)

    async def look_up_addresses(self, host: str) -> Sequence[str]:
        """Query all addresses of a host, IPv6 first; raises `HostNotFoundError` if none exist.

        An error in one address family does not matter if the other has addresses.
        """
        outcomes = await self._query(host, ("AAAA", "A"))
        answers = (outcome for outcome in outcomes if not isinstance(outcome, DiscoveryError))
        datas = (record.data for answer in answers for record in answer)
        found = [
            d.addr for d in datas if isinstance(d, (pycares.ARecordData, pycares.AAAARecordData))
        ]
        if not found:
            raise _not_found([e for e in outcomes if isinstance(e, DiscoveryError)])
        return found

    async def close(self) -> None:
        """Cancel the running queries; call nothing else afterwards."""
        for channel in self._channels:
            await channel.resolver.close()
        self._channels.clear()

    def _count_failures(self, outcome: "_Records | DiscoveryError") -> None:
        """Log when many queries in a row have failed, and when one is answered again."""
        if not isinstance(outcome, DnsFailureError):
            self._reset_failures()
            return
        self._failures += 1
        if self._failures == FAILURES_LIMIT:
            event(
                _log,
                logging.WARNING,
                "DNS does not answer",
                reason=str(outcome),
                failures=self._failures,
            )

    def _reset_failures(self) -> None:
        if self.unanswered:
            event(_log, logging.INFO, "DNS answers again", failures=self._failures)
        self._failures = 0

    async def _query(
        self, name: str, kinds: Sequence[_RecordType]
    ) -> "list[_Records | DiscoveryError]":
        """Query these types of records at a name, with one timeout for all."""
        channel = self._current_channel()
        channel.running += 1
        channel.queries += len(kinds)
        queries = [channel.resolver.query_dns(f"{name}.", kind) for kind in kinds]
        try:
            # No task for each: plain futures cost a fifth of that.
            await asyncio.wait(queries, timeout=self._timeout)
            return [self._outcome(query) for query in queries]
        finally:
            for query in queries:
                query.cancel()
            channel.running -= 1
            await self._close_idle()

    def _outcome(self, query: asyncio.Future[pycares.DNSResult]) -> "_Records | DiscoveryError":
        if not query.done():
            return DnsFailureError(f"no answer within {self._timeout:g} s")
        error = query.exception()
        return self._error(*error.args) if error else query.result().answer

    def _error(self, code: int, text: str) -> DiscoveryError:
        if code in _ABSENT:
            return NoRecordError(_ABSENT[code])
        if code == aiodns.error.ARES_ETIMEOUT:
            return DnsFailureError(f"no answer within {self._timeout:g} s")
        return DnsFailureError(_FAILED.get(code) or printable(text))

    def _current_channel(self) -> "_Channel":
        now = self._clock()
        if not self._channels or self._channels[-1].is_expired(now):
            self._channels.append(_Channel(self._new_resolver(), now))
        return self._channels[-1]

    async def _close_idle(self) -> None:
        """Close the expired channels whose queries have finished."""
        for channel in self._channels[:-1]:
            if not channel.running:
                self._channels.remove(channel)
                await channel.resolver.close()

    def _new_resolver(self) -> aiodns.DNSResolver:
        # Each round of tries lasts twice as long as the one before. There are more rounds than
        # the timeout allows, so that always the timeout in `_query` ends a query.
        rounds = 2 + max(0, math.ceil(math.log2(self._timeout / _SHORTEST_TRY)))
        return _Resolver(self._nameservers, timeout=self._timeout * FIRST_TRY, tries=rounds)


class _Resolver(aiodns.DNSResolver):
    """Runs c-ares on the event loop, not in a thread whose answers wait for their turn.

    aiodns itself falls back to this where c-ares has no thread.
    """

    def _make_channel(self, **kwargs: Any) -> tuple[bool, pycares.Channel]:  # noqa: ANN401 (as in aiodns)
        method = weakref.WeakMethod(self._sock_state_cb)  # the channel must not keep us alive

        def on_change(*state: Any) -> None:  # noqa: ANN401 (a descriptor, readable, writable)
            if callback := method():
                callback(*state)

        return False, pycares.Channel(sock_state_cb=on_change, timeout=self._timeout, **kwargs)

    def _start_timer(self) -> None:
        # c-ares shortens its tries, and notices that one is over only when this timer runs.
        self._timer = self.loop.call_later(_SHORTEST_TRY, self._timer_cb)


@dataclass(eq=False, slots=True)
class _Channel:
    resolver: aiodns.DNSResolver
    made_at: float
    running: int = 0
    queries: int = 0

    def is_expired(self, now: float) -> bool:
        """Whether new queries need another channel."""
        return now >= self.made_at + CHANNEL_LIFE or self.queries >= CHANNEL_QUERIES


def _not_found(errors: Sequence[DiscoveryError]) -> HostNotFoundError:
    """Why a host has no address; a DNS failure takes precedence over a negative answer."""
    for error in errors:
        if isinstance(error, DnsFailureError):
            return HostNotFoundError(f"DNS failure: {error}")
    reasons = {str(error) for error in errors} - {_ABSENT[aiodns.error.ARES_ENODATA]}
    return HostNotFoundError(", ".join(sorted(reasons)) or "no address")
