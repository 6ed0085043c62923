"""Answer a request: from the reply cache, else from the state of its domain.

There is one `ReplyCache` for each protocol and default reply format; it does not handle
connections. A request that was answered before is found by its own bytes, frame included, and gets
the same reply while the state from which the reply was made is still current and fresh:
`reply_cache` has these replies.

`answers.AnswerRules` decides what a request is answered, and `protocol.reply.compose` makes the
text. This module asks both with what the resolver knows, for the key and the map of the request.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.decision import (
    Decision,
    Knowledge,
    PolicyStep,
    from_memory,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.lifecycle import Standing, State, fresh_until, standing
from postfix_mta_sts.postfix.answers import AnswerRules, unmapped
from postfix_mta_sts.postfix.protocol.nexthop import UnmappedKeyError, dane_applies, policy_domain
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    TOO_LONG,
    DaneRule,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
    compose,
)
from postfix_mta_sts.postfix.protocol.wire import Request, Wire
from postfix_mta_sts.postfix.reply_cache import MadeReply, RequestCache
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.resolver.cache import CacheEntry, Limits
from postfix_mta_sts.resolver.fairness import DAEMON, Client
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Answer, Counters, Source
from postfix_mta_sts.values import TrackedValue

_log = logging.getLogger(__name__)


class PendingReply(TrackedValue, frozen=True):
    """A reply that needs a look-up first."""

    result: asyncio.Future[LookupResult]
    """The look-up; cancel it when the client is gone."""
    reply: Callable[[LookupResult], bytes]
    """Makes the reply from its result."""


class ReplyCache:
    """Replies for one protocol.

    `reply_format` gives the format for a map name. `limits`: of the requests kept. `defer`: answer
    "try again" instead of "not found" if the DNS did not answer. `rule`: the answer if there is a
    DANE verdict; None: DANE is off. `counters` counts replies. `clock` gives epoch seconds,
    `monotonic` measures how long look-ups wait, `late` limits the warning that they waited in vain.
    """

    def __init__(  # noqa: PLR0913 - independent settings
        self,
        wire: Wire,
        reply_format: Callable[[str], ReplyFormat],
        resolver: Resolver,
        clock: Callable[[], float],
        *,
        limits: Limits,
        defer: bool = False,
        rule: DaneRule | None = None,
        counters: Counters | None = None,
        late: RateLimit | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wire = wire
        self._late = late or RateLimit()
        self._unmapped_keys = RateLimit()
        self._counters = counters or Counters()
        self._reply_format = reply_format
        self._resolver = resolver
        self._clock = clock
        self._monotonic = monotonic
        self._rules = AnswerRules(rule, defer)
        self._requests = RequestCache(resolver, self._counters, clock, limits)
        self.cached: Callable[[bytes], bytes | None] = self._requests.get
        """The cached reply to a request, if it is still valid: no call more on the hot path."""
        self._not_found = wire.encode_reply(NOT_FOUND)  # one object for all absences
        self._too_long = wire.encode_reply(TOO_LONG)

    def reply(self, request: bytes, client: Client = DAEMON) -> bytes | PendingReply:
        """The reply, at once if no look-up is needed; `client` asks for it.

        Raises `WireError` if the frame holds no request.
        """
        parsed = self.wire.parse_request(request)
        try:
            domain = policy_domain(parsed.key)
        except UnmappedKeyError as error:
            return self._unmapped(parsed, error)
        if domain is None:
            self._counters.answers[Answer.NOT_FOUND, Source.NONE] += 1
            return self._not_found
        self._requests.asked_at = self._clock()
        entry = self._resolver.cached(domain)
        if entry is None or entry.state is None:
            started = self._monotonic()
            is_decided = partial(self._is_decided, parsed, domain)
            result = self._resolver.find(domain, is_decided, client)
            return PendingReply(result, partial(self._looked_up, request, parsed, domain, started))
        return self._reply(request, parsed, domain, from_memory(entry.state), Source.MEMORY)

    def _unmapped(self, parsed: Request, error: UnmappedKeyError) -> bytes:
        """Try again: the domain may have a policy, but its A-labels are not known."""
        self._counters.answers[Answer.TRY_AGAIN, Source.NONE] += 1
        if count := self._unmapped_keys.take(self._monotonic()):
            event(
                _log,
                logging.WARNING,
                "domain without known A-labels, mail is deferred",
                key=printable(parsed.key.decode("utf-8", "replace")),
                reason=str(error),
                count=count,
            )
        return self.wire.encode_reply(unmapped(error))

    def leave(self, client: Client) -> None:
        """Note that a connection is closed; what it asked for is still looked up."""
        self._resolver.leave(client)

    @property
    def entries(self) -> int:
        """Replies in the cache."""
        return len(self._requests)

    @property
    def asked_at(self) -> float:
        """When a domain was last asked for; 0: never."""
        return self._requests.asked_at

    @property
    def limits(self) -> Limits:
        """The limits of the requests kept."""
        return self._requests.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._requests.limits = limits

    async def count(self) -> None:
        """Add the uses of cached replies to the counters."""
        await self._requests.count()

    def reconfigure(self, *, defer: bool, rule: DaneRule | None) -> None:
        """Apply new settings; clears the cache, because replies may differ now."""
        self._rules = AnswerRules(rule, defer)
        self.clear()

    def clear(self) -> None:
        """Remove all cached replies: the clock was set, or settings changed."""
        self._requests.clear()

    def _is_decided(self, parsed: Request, domain: Domain, knowledge: Knowledge) -> bool:
        """Whether this look-up can be answered before its time is up."""
        if knowledge.is_complete:  # most often
            return True
        now = self._clock()
        return self._decide(parsed, domain, knowledge, now, time_is_up=False) is not Decision.WAIT

    def _looked_up(
        self, request: bytes, parsed: Request, domain: Domain, started: float, result: LookupResult
    ) -> bytes:
        """The reply after a look-up, made of what is known."""
        now = self._monotonic()
        self._counters.count_wait(now - started)
        is_own_fault = result.knowledge.step is PolicyStep.OWN_FAULT
        if (result.time_is_up or is_own_fault) and result.knowledge.lacks_policy:
            self._note_late(domain, result.knowledge, now)
        return self._reply(request, parsed, domain, result.knowledge, result.source)

    def _note_late(self, domain: Domain, knowledge: Knowledge, now: float) -> None:
        """Log that mail went, or waits, without a policy for a reason that is not the domain's."""
        step = knowledge.step.value
        event(_log, logging.DEBUG, "look-up not answered in time", domain, reason=step)
        if count := self._late.take(now):
            event(
                _log,
                logging.WARNING,
                "look-ups answered before the policy was known",
                domain,
                reason=step,
                count=count,
            )

    def _reply(
        self, request: bytes, parsed: Request, domain: Domain, knowledge: Knowledge, source: Source
    ) -> bytes:
        now, state, entry = self._clock(), knowledge.state, self._resolver.entry(domain)
        is_fresh = standing(state, now, dane=self._rules.dane is not None) is Standing.FRESH
        if state is None or entry is None or entry.state is not state or not is_fresh:
            encoded, kind = self._encode(parsed, domain, knowledge, now)
            self._counters.answers[kind, source] += 1
            return encoded
        made = self._made(parsed, entry, state, now)
        self._counters.answers[made.kind, source] += 1
        reply = made.reply  # to keep it may evict its domain, which ends it
        self._requests.store(request, made, entry)
        return reply

    def _made(self, parsed: Request, entry: CacheEntry, state: State, now: float) -> MadeReply:
        """The reply in the state of an entry: the one that was made before, or a new one."""
        domain, outcome = entry.domain, state.dane.outcome if state.dane else None
        applies = self._rules.dane is not None and dane_applies(parsed.key, domain, outcome)
        form = self._requests.form(self._reply_format(parsed.map_name), applies)
        if made := self._requests.find(entry, form):
            event(_log, logging.DEBUG, "look-up", domain, map=parsed.map_name, reply=made.kind)
            return made
        encoded, kind = self._encode(parsed, domain, from_memory(state), now)
        is_shared = encoded is self._not_found
        return MadeReply(fresh_until(state), domain, form, kind, encoded, is_shared)

    def _encode(
        self, parsed: Request, domain: Domain, knowledge: Knowledge, now: float
    ) -> tuple[bytes, Answer]:
        """The reply to a look-up by what is known, and its kind for the counters."""
        decision = self._decide(parsed, domain, knowledge, now, time_is_up=True)
        reply = compose(domain, decision, knowledge, self._reply_format(parsed.map_name), now)
        encoded = self._not_found if reply is NOT_FOUND else self.wire.encode_reply(reply)
        event(_log, logging.DEBUG, "look-up", domain, map=parsed.map_name, reply=_describe(reply))
        if not isinstance(reply, Found):
            kind = Answer.TRY_AGAIN if isinstance(reply, TryAgain) else Answer.NOT_FOUND
            return encoded, kind
        if encoded == self._too_long:
            event(_log, logging.ERROR, "policy too long for the protocol, mail is deferred", domain)
            return encoded, Answer.TRY_AGAIN
        return encoded, Answer.FOUND

    def _decide(
        self, parsed: Request, domain: Domain, knowledge: Knowledge, now: float, *, time_is_up: bool
    ) -> Decision:
        form = self._reply_format(parsed.map_name)
        return self._rules.decide(parsed.key, domain, knowledge, form, now, time_is_up=time_is_up)


def _describe(reply: Reply) -> str:
    """A reply as the log shows it."""
    if isinstance(reply, Found):
        return reply.variants[-1]
    return reply.reason if isinstance(reply, TryAgain) else "not found"
