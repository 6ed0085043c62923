"""Request bytes → reply bytes: from memory, else by way of the resolver.

Border: one `ReplyCache` a wire and dress; it knows nothing of connections. What was answered before
is found by the request's own bytes, frame and all, and is given again as long as the state from
which it was made stands and is fresh.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DANE_KINDS
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, fresh_until
from postfix_mta_sts.postfix.protocol.nexthop import policy_domain, verdict_on
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    STRICT,
    TOO_LONG,
    DaneRule,
    Found,
    ReplyFormat,
    TryAgain,
    compose,
)
from postfix_mta_sts.postfix.protocol.wire import Request, Wire
from postfix_mta_sts.resolver.cache import CacheEntry
from postfix_mta_sts.resolver.flight import LookupResult
from postfix_mta_sts.resolver.recent import drop_oldest
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Answer, Counters, Source
from postfix_mta_sts.values import Entry

COUNTED_AT_ONCE: Final = 1_000
"""Entries that are counted before others have their turn."""

_log = logging.getLogger(__name__)


class PendingReply(NamedTuple):
    """A reply that is not known yet."""

    found: asyncio.Future[LookupResult]
    """What it is made of; cancelled when nobody waits for it any more."""
    reply: Callable[[LookupResult], bytes]
    """Makes it."""


class _CachedReply(Entry):
    """A reply, and what must hold for it to be given again."""

    reply: bytes
    kind: Answer
    known: CacheEntry
    state: State
    """CacheEntry has to be in this one still."""
    until: float
    asked: int = 0
    """How often it was given again, since that was last counted."""


class ReplyCache:
    """What is answered to those who ask on one wire.

    `reply_format` gives the format for a map name. `entries`: replies remembered. `defer`:
    try again, instead of not found, where the DNS did not say whether there is a policy. `rule`:
    what is answered where there is a verdict of DANE; None: there are none.
    `counters`: where what is answered is counted. `monotonic` measures real time.
    """

    def __init__(  # noqa: PLR0913 - each is a matter of its own
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
        self._entries = entries
        self._defer = defer
        self._rule = rule
        self._memory: dict[bytes, _CachedReply] = {}
        self._not_found = wire.encode_reply(NOT_FOUND)  # one for all absences
        self._too_long = wire.encode_reply(TOO_LONG)

    def remembered(self, request: bytes) -> bytes | None:
        """The reply to a request that was answered before, if it still holds. The hot path."""
        entry = self._memory.pop(request, None)
        if entry is None:
            return None
        if entry.known.state is not entry.state or self._clock() >= entry.until:
            self._count(entry)
            return None
        entry.asked += 1
        self._memory[request] = entry  # the most recently used is the last
        return entry.reply

    def recite(self, requests: deque[bytes], most: int) -> list[bytes]:
        """The same for many: as far as they are remembered, and until `most` bytes are reached.

        Takes the requests that it answers out of `requests`, from the left.
        """
        memory, now = self._memory, self._clock()
        replies: list[bytes] = []
        while requests and most > 0:
            entry = memory.pop(requests[0], None)
            if entry is None:
                break
            if entry.known.state is not entry.state or now >= entry.until:
                self._count(entry)
                break
            entry.asked += 1
            memory[requests.popleft()] = entry
            replies.append(entry.reply)
            most -= len(entry.reply)
        return replies

    def recited(self, stream: bytes, most: int) -> tuple[list[bytes], bytes]:
        """The same for the requests that a stream begins with, uncut; and the rest of the stream.

        What stands before an end and is remembered is a whole request: a frame that begins there
        can be no other. Where a key holds that byte nothing is found, and cutting finds it.
        """
        memory, now, end = self._memory, self._clock(), self.wire.END
        replies: list[bytes] = []
        taken = 0
        for piece in stream.split(end):
            request = piece + end
            entry = memory.pop(request, None)
            if entry is None:
                break
            if entry.known.state is not entry.state or now >= entry.until:
                self._count(entry)
                break
            entry.asked += 1
            memory[request] = entry
            replies.append(entry.reply)
            taken += len(request)
            most -= len(entry.reply)
            if most <= 0:
                break
        return replies, stream[taken:]

    def answer(self, request: bytes) -> bytes | PendingReply:
        """The reply, at once where it needs no waiting.

        Raises `WireError` where the frame holds no request.
        """
        asked = self.wire.parse_request(request)
        domain = policy_domain(asked.key)
        if domain is None:
            self._counters.answers[Answer.NOT_FOUND, Source.NONE] += 1
            return self._not_found
        known = self._resolver.recall(domain)
        if known is None or known.state is None:
            begun = self._monotonic()
            found = self._resolver.find(domain)
            return PendingReply(found, partial(self._found, request, asked, domain, begun))
        return self._reply(request, asked, domain, known.state, Source.MEMORY)

    @property
    def entries(self) -> int:
        """How many replies are remembered."""
        return len(self._memory)

    async def count(self) -> None:
        """Bring the counts up to date with what was answered from memory."""
        for number, entry in enumerate(list(self._memory.values()), 1):
            if entry.asked:
                self._count(entry)
            if number % COUNTED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def reconfigure(self, *, defer: bool, rule: DaneRule | None, entries: int) -> None:
        """Answer so from now on, also where it was answered in another way or dress before."""
        self._defer = defer
        self._rule = rule
        self._entries = entries
        self.forget()

    def forget(self) -> None:
        """Remember no reply: the clock was set, or what is told has changed."""
        for entry in self._memory.values():
            self._count(entry)
        self._memory.clear()

    def _found(
        self, request: bytes, asked: Request, domain: Domain, begun: float, found: LookupResult
    ) -> bytes:
        self._counters.wait(self._monotonic() - begun)
        if found.state is None:
            event(_log, logging.DEBUG, "look-up not answered in time", domain)
            self._counters.answers[Answer.NOT_FOUND, found.source] += 1
            return self._not_found
        return self._reply(request, asked, domain, found.state, found.source)

    def _reply(
        self, request: bytes, asked: Request, domain: Domain, state: State, source: Source
    ) -> bytes:
        reply, kind = self._compose(asked, domain, state)
        self._counters.answers[kind, source] += 1
        known, until = self._resolver.known(domain), fresh_until(state)
        if known and known.state is state and until > self._clock():
            self._remember(request, _CachedReply(reply, kind, known, state, until))
        return reply

    def _remember(self, request: bytes, entry: _CachedReply) -> None:
        if before := self._memory.pop(request, None):
            self._count(before)
        self._memory[request] = entry
        for forgotten in drop_oldest(self._memory, self._entries):
            self._count(forgotten)

    def _count(self, entry: _CachedReply) -> None:
        """Count what was answered by this entry since it was last counted."""
        times, entry.asked = entry.asked, 0
        self._counters.answers[entry.kind, Source.MEMORY] += times
        if times:
            now = entry.known.asked_at = self._clock()
            if entry.state.policy:
                self._resolver.usage.note(entry.known.domain, times, now)

    def _compose(self, asked: Request, domain: Domain, state: State) -> tuple[bytes, Answer]:
        verdict = verdict_on(asked.key, domain, state.dane) if self._rule and state.dane else None
        if state.undecided and self._defer and not (verdict and verdict.kind in DANE_KINDS):
            reason = state.failure.reason if state.failure else ""
            later = TryAgain(f"MTA-STS: DNS failure for {domain}: {reason}")
            return self.wire.encode_reply(later), Answer.TRY_AGAIN
        reply = compose(
            domain, state, self._reply_format(asked.map_name), verdict, self._rule or STRICT
        )
        if isinstance(reply, TryAgain):
            event(_log, logging.DEBUG, "look-up", domain, map=asked.map_name, reply=reply.reason)
            return self.wire.encode_reply(reply), Answer.TRY_AGAIN
        if not isinstance(reply, Found):
            event(_log, logging.DEBUG, "look-up", domain, map=asked.map_name, reply="not found")
            return self._not_found, Answer.NOT_FOUND
        encoded = self.wire.encode_reply(reply)
        told = reply.variants[-1]
        event(_log, logging.DEBUG, "look-up", domain, map=asked.map_name, reply=told)
        if encoded == self._too_long:
            event(_log, logging.ERROR, "policy too long for the wire: deferred", domain)
            return encoded, Answer.TRY_AGAIN
        return encoded, Answer.FOUND
