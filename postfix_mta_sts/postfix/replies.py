"""Answer a request: from the reply cache, else from the state of its domain.

There is one `ReplyCache` for each protocol and default reply format; it does not handle
connections. A request that was answered before is found by its own bytes, frame included, and gets
the same reply while the state from which the reply was made is still current and fresh.

`protocol.reply.compose` decides the reply for a state. Two replies are decided here: the one
without a state (`_looked_up`), and the one if the DNS did not answer (`_compose`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DANE_KINDS
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, fresh_until
from postfix_mta_sts.postfix.protocol.nexthop import applicable_verdict, policy_domain
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    STRICT,
    TOO_LONG,
    DaneRule,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
    compose,
)
from postfix_mta_sts.postfix.protocol.wire import Request, Wire
from postfix_mta_sts.resolver.cache import CacheEntry, evict_oldest
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Answer, Counters, Source
from postfix_mta_sts.values import Entry

COUNTED_AT_ONCE: Final = 1_000
"""Replies that are counted before other tasks run."""

_log = logging.getLogger(__name__)


class PendingReply(NamedTuple):
    """A reply that needs a look-up first."""

    result: asyncio.Future[LookupResult]
    """The look-up; cancel it when the client is gone."""
    reply: Callable[[LookupResult], bytes]
    """Makes the reply from its result."""


class _CachedReply(Entry):
    """A reply, and the conditions under which it may be given again."""

    reply: bytes
    kind: Answer
    entry: CacheEntry
    state: State
    """The reply is valid while `entry` still holds this state."""
    until: float
    uses: int = 0
    """How often it was given again since that was last counted."""


class ReplyCache:
    """Replies for one protocol.

    `reply_format` gives the format for a map name. `entries`: replies in the cache. `defer`: answer
    "try again" instead of "not found" if the DNS did not answer. `rule`: the answer if there is a
    DANE verdict; None: DANE is off. `counters` counts replies. `clock` gives epoch seconds,
    `monotonic` measures how long look-ups wait.
    """

    def __init__(  # noqa: PLR0913 - independent settings
        self,
        wire: Wire,
        reply_format: Callable[[str], ReplyFormat],
        resolver: Resolver,
        clock: Callable[[], float],
        *,
        entries: int,
        defer: bool = False,
        rule: DaneRule | None = None,
        counters: Counters | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wire = wire
        self._counters = counters or Counters()
        self._reply_format = reply_format
        self._resolver = resolver
        self._clock = clock
        self._monotonic = monotonic
        self._limit = entries
        self._defer = defer
        self._rule = rule
        self._replies: dict[bytes, _CachedReply] = {}
        self._not_found = wire.encode_reply(NOT_FOUND)  # one object for all absences
        self._too_long = wire.encode_reply(TOO_LONG)

    def cached(self, request: bytes) -> bytes | None:
        """The cached reply to a request, if it is still valid. This is the hot path."""
        cached = self._replies.pop(request, None)
        if cached is None:
            return None
        if cached.entry.state is not cached.state or self._clock() >= cached.until:
            self._count(cached)
            return None
        cached.uses += 1
        self._replies[request] = cached  # the most recently used is the last
        return cached.reply

    def reply(self, request: bytes) -> bytes | PendingReply:
        """The reply, at once if no look-up is needed.

        Raises `WireError` if the frame holds no request.
        """
        parsed = self.wire.parse_request(request)
        domain = policy_domain(parsed.key)
        if domain is None:
            self._counters.answers[Answer.NOT_FOUND, Source.NONE] += 1
            return self._not_found
        entry = self._resolver.cached(domain)
        if entry is None or entry.state is None:
            started = self._monotonic()
            result = self._resolver.find(domain)
            return PendingReply(result, partial(self._looked_up, request, parsed, domain, started))
        return self._reply(request, parsed, domain, entry.state, Source.MEMORY)

    @property
    def entries(self) -> int:
        """Replies in the cache."""
        return len(self._replies)

    async def count(self) -> None:
        """Add the uses of cached replies to the counters."""
        for number, cached in enumerate(list(self._replies.values()), 1):
            if cached.uses:
                self._count(cached)
            if number % COUNTED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def reconfigure(self, *, defer: bool, rule: DaneRule | None, entries: int) -> None:
        """Apply new settings; clears the cache, because replies may differ now."""
        self._defer = defer
        self._rule = rule
        self._limit = entries
        self.clear()

    def clear(self) -> None:
        """Remove all cached replies: the clock was set, or settings changed."""
        for cached in self._replies.values():
            self._count(cached)
        self._replies.clear()

    def _looked_up(
        self, request: bytes, parsed: Request, domain: Domain, started: float, result: LookupResult
    ) -> bytes:
        """The reply after a look-up; "not found" without a state, whatever the cause.

        `LookupResult.state` lists the causes, which the result does not tell apart.
        """
        self._counters.count_wait(self._monotonic() - started)
        if result.state is None:
            event(_log, logging.DEBUG, "look-up not answered in time", domain)
            self._counters.answers[Answer.NOT_FOUND, result.source] += 1
            return self._not_found
        return self._reply(request, parsed, domain, result.state, result.source)

    def _reply(
        self, request: bytes, parsed: Request, domain: Domain, state: State, source: Source
    ) -> bytes:
        encoded, kind = self._encode(parsed, domain, state)
        self._counters.answers[kind, source] += 1
        entry, until = self._resolver.entry(domain), fresh_until(state)
        if entry and entry.state is state and until > self._clock():
            self._store(request, _CachedReply(encoded, kind, entry, state, until))
        return encoded

    def _store(self, request: bytes, cached: _CachedReply) -> None:
        if before := self._replies.pop(request, None):
            self._count(before)
        self._replies[request] = cached
        for evicted in evict_oldest(self._replies, self._limit):
            self._count(evicted)

    def _count(self, cached: _CachedReply) -> None:
        """Count the uses of a cached reply since they were last counted."""
        uses, cached.uses = cached.uses, 0
        self._counters.answers[cached.kind, Source.MEMORY] += uses
        if uses:
            now = cached.entry.asked_at = self._clock()
            if cached.state.policy:
                self._resolver.usage.note(cached.entry.domain, uses, now)

    def _encode(self, parsed: Request, domain: Domain, state: State) -> tuple[bytes, Answer]:
        """The reply to a look-up in this state, and its kind for the counters."""
        reply = self._compose(parsed, domain, state)
        encoded = self._not_found if reply is NOT_FOUND else self.wire.encode_reply(reply)
        event(_log, logging.DEBUG, "look-up", domain, map=parsed.map_name, reply=_describe(reply))
        if not isinstance(reply, Found):
            kind = Answer.TRY_AGAIN if isinstance(reply, TryAgain) else Answer.NOT_FOUND
            return encoded, kind
        if encoded == self._too_long:
            event(_log, logging.ERROR, "policy too long for the protocol, mail is deferred", domain)
            return encoded, Answer.TRY_AGAIN
        return encoded, Answer.FOUND

    def _compose(self, parsed: Request, domain: Domain, state: State) -> Reply:
        verdict = None
        if self._rule and state.dane:
            verdict = applicable_verdict(parsed.key, domain, state.dane)
        has_dane = verdict is not None and verdict.kind in DANE_KINDS
        if state.undecided and self._defer and not has_dane:
            reason = state.failure.reason if state.failure else ""
            return TryAgain(f"MTA-STS: DNS failure for {domain}: {reason}")
        reply_format = self._reply_format(parsed.map_name)
        return compose(domain, state, reply_format, verdict, self._rule or STRICT)


def _describe(reply: Reply) -> str:
    """A reply as the log shows it."""
    if isinstance(reply, Found):
        return reply.variants[-1]
    return reply.reason if isinstance(reply, TryAgain) else "not found"
