"""Answer a request: from the reply cache, else from the state of its domain.

There is one `ReplyCache` for each protocol and default reply format; it does not handle
connections. A request that was answered before is found by its own bytes, frame included, and gets
the same reply while the state from which the reply was made is still current and fresh:
`reply_cache` has these replies.

`answers.AnswerRules` decides what a request is answered, and `protocol.reply.compose` makes the
text. This module asks both with what the resolver knows, for the key and the map of the request. If
an exception or a trial leaves nothing to look up, the answer is given at once, and the look-up that
would have been made for it goes on behind it: what is known must not depend on them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.decision import (
    UNASKED,
    Decision,
    Knowledge,
    PolicyStep,
    from_memory,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.lifecycle import Standing, State, fresh_until, standing
from postfix_mta_sts.mtasts.session_failure import SessionFailure, session_failure
from postfix_mta_sts.postfix.answers import AnswerRules, unmapped
from postfix_mta_sts.postfix.protocol.nexthop import UnmappedKeyError, dane_applies, policy_domain
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    TOO_LONG,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
)
from postfix_mta_sts.postfix.protocol.wire import Request, Wire
from postfix_mta_sts.postfix.reply_cache import FailedReply, MadeReply, NoteFailure, RequestCache
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.resolver.cache import CacheEntry, Limits
from postfix_mta_sts.resolver.fairness import DAEMON, Client
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source
from postfix_mta_sts.values import TrackedValue

_DEFAULT_RULES: Final = AnswerRules()

_log = logging.getLogger(__name__)


class PendingReply(TrackedValue, frozen=True):
    """A reply that needs a look-up first."""

    result: asyncio.Future[LookupResult]
    """The look-up; cancel it when the client is gone."""
    reply: Callable[[LookupResult], bytes]
    """Makes the reply from its result."""


class ReplyCache:
    """Replies for one protocol.

    `reply_format` gives the format for a map name. `limits`: of the requests kept. `rules`: what is
    answered. `counters` counts replies, and `note_failure` gets look-ups whose policy could not be
    had. `clock` gives epoch seconds, `monotonic` measures how long look-ups wait, `late` limits the
    warning that they waited in vain.
    """

    def __init__(  # noqa: PLR0913 - independent settings
        self,
        wire: Wire,
        reply_format: Callable[[str], ReplyFormat],
        resolver: Resolver,
        clock: Callable[[], float],
        *,
        limits: Limits,
        rules: AnswerRules = _DEFAULT_RULES,
        counters: Counters | None = None,
        note_failure: NoteFailure = lambda *_: None,
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
        self._rules = rules
        self._note_failure = note_failure
        self._requests = RequestCache(resolver, self._counters, clock, limits, note_failure)
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
        self._requests.asked_at = now = self._clock()
        if (on_trial := self._on_trial(parsed, domain, now)) is not None:
            self._resolver.usage.note_check(domain, on_trial=on_trial)
        entry = self._resolver.cached(domain)
        if entry is None or entry.state is None:
            return self._look_up(request, parsed, domain, client, now)
        return self._reply(request, parsed, domain, from_memory(entry.state), Source.MEMORY)

    def _look_up(
        self, request: bytes, parsed: Request, domain: Domain, client: Client, now: float
    ) -> bytes | PendingReply:
        """Look a domain up; the answer is given at once if it cannot depend on what is found."""
        if decision := self._decided_unasked(parsed, domain, now):
            self._resolver.find_behind(domain, client)
            encoded, kind = self._encode(parsed, domain, UNASKED, decision, now)
            self._counters.answers[kind, Source.NONE] += 1
            return encoded
        started = self._monotonic()
        is_decided = partial(self._is_decided, parsed, domain)
        result = self._resolver.find(domain, is_decided, client)
        return PendingReply(result, partial(self._looked_up, request, parsed, domain, started))

    def _unmapped(self, parsed: Request, error: UnmappedKeyError) -> bytes:
        """The reply to a key whose domain may have a policy, but whose A-labels are not known."""
        reply = unmapped(error, self._reply_format(parsed.map_name))
        if reply is NOT_FOUND:
            self._counters.answers[Answer.NOT_FOUND, Source.NONE] += 1
            return self._not_found
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
        return self.wire.encode_reply(reply)

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

    def reconfigure(self, rules: AnswerRules) -> None:
        """Answer by these rules; clears the cache, because replies may differ now."""
        self._rules = rules
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
            self._note_late(parsed, domain, result.knowledge, now)
        return self._reply(request, parsed, domain, result.knowledge, result.source)

    def _note_late(self, parsed: Request, domain: Domain, knowledge: Knowledge, now: float) -> None:
        """Log that mail went, or waits, without a policy for a reason that is not the domain's."""
        if self._replaces_policy(parsed, domain, self._clock()):
            return
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
            decision = self._decide(parsed, domain, knowledge, now, time_is_up=True)
            encoded, kind = self._encode(parsed, domain, knowledge, decision, now)
            self._counters.answers[kind, source] += 1
            self._report(domain, self._failure(parsed, domain, knowledge, decision, now))
            return encoded
        made = self._made(parsed, entry, state, now)
        self._counters.answers[made.kind, source] += 1
        self._report(domain, made.failure if isinstance(made, FailedReply) else None)
        reply = made.reply  # to keep it may evict its domain, which ends it
        self._requests.store(request, made, entry)
        return reply

    def _made(self, parsed: Request, entry: CacheEntry, state: State, now: float) -> MadeReply:
        """The reply in the state of an entry: the one that was made before, or a new one."""
        domain, outcome = entry.domain, state.dane.outcome if state.dane else None
        applies = self._rules.dane is not None and dane_applies(parsed.key, domain, outcome)
        on_trial = self._on_trial(parsed, domain, now)
        form = self._requests.form(on_trial, self._reply_format(parsed.map_name), applies)
        if made := self._requests.find(entry, form, now):
            event(_log, logging.DEBUG, "look-up", domain, map=parsed.map_name, reply=made.kind)
            return made
        known = from_memory(state)
        decision = self._decide(parsed, domain, known, now, time_is_up=True)
        encoded, kind = self._encode(parsed, domain, known, decision, now)
        is_shared = encoded is self._not_found
        until, change = fresh_until(state), self._rules.exceptions.next_change(domain, now)
        until = until if change is None else min(until, change)
        failure = self._failure(parsed, domain, known, decision, now)
        if failure:
            return FailedReply(until, domain, form, kind, encoded, is_shared, failure=failure)
        return MadeReply(until, domain, form, kind, encoded, is_shared)

    def _failure(
        self, parsed: Request, domain: Domain, knowledge: Knowledge, decision: Decision, now: float
    ) -> SessionFailure | None:
        """Why the policy could not be had, if nothing stands in its place."""
        failure = session_failure(knowledge, decision, now)
        return None if failure and self._replaces_policy(parsed, domain, now) else failure

    def _report(self, domain: Domain, failure: SessionFailure | None) -> None:
        if failure:
            self._note_failure(domain, failure, 1)

    def _encode(
        self,
        parsed: Request,
        domain: Domain,
        knowledge: Knowledge,
        decision: Decision,
        now: float,
    ) -> tuple[bytes, Answer]:
        """The reply to a look-up, as decided by what is known, and its kind for the counters."""
        form = self._reply_format(parsed.map_name)
        reply = self._rules.compose(domain, decision, knowledge, form, now)
        encoded = self._not_found if reply is NOT_FOUND else self.wire.encode_reply(reply)
        event(_log, logging.DEBUG, "look-up", domain, map=parsed.map_name, reply=_describe(reply))
        if not isinstance(reply, Found):
            kind = Answer.TRY_AGAIN if isinstance(reply, TryAgain) else Answer.NOT_FOUND
            return encoded, kind
        if encoded == self._too_long:
            event(_log, logging.ERROR, "policy too long for the protocol, mail is deferred", domain)
            return encoded, Answer.TRY_AGAIN
        return encoded, Answer.FOUND

    def _decided_unasked(self, parsed: Request, domain: Domain, now: float) -> Decision | None:
        """What a look-up is answered whatever is found; None: that depends on it."""
        if not self._replaces_policy(parsed, domain, now):  # most often
            return None
        decision = self._decide(parsed, domain, UNASKED, now, time_is_up=False)
        return None if decision is Decision.WAIT else decision

    def _replaces_policy(self, parsed: Request, domain: Domain, now: float) -> bool:
        """Whether an exception or a trial stands in place of the policy, known or not."""
        form = self._reply_format(parsed.map_name)
        return self._rules.override(domain, form, now).in_place is not None

    def _on_trial(self, parsed: Request, domain: Domain, now: float) -> bool | None:
        """Whether the map is on trial; None: nor is an exception in force, so no check is due."""
        if self._reply_format(parsed.map_name).trial:
            return True
        return None if self._rules.exceptions.in_force(domain, now) is None else False

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
