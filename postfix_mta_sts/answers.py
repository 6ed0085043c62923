"""Request bytes → reply bytes: from memory, else by way of the resolver.

Border: one `Answers` a wire and dress; it knows nothing of connections. What was answered before
is found by the request's own bytes, frame and all, and is given again as long as the state from
which it was made stands and is fresh.
"""

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, fresh_until
from postfix_mta_sts.postfix.nexthop import policy_domain
from postfix_mta_sts.postfix.reply import NOT_FOUND, TOO_LONG, Dress, Found, TryAgain, compose
from postfix_mta_sts.postfix.wire import Request, Wire
from postfix_mta_sts.recent import drop_oldest
from postfix_mta_sts.resolver import Known, Resolver

_log = logging.getLogger(__name__)


class _Remembered:
    """A reply, and what must hold for it to be given again."""

    __slots__ = ("known", "reply", "state", "until")

    def __init__(self, reply: bytes, known: Known, state: State) -> None:
        self.reply = reply
        self.known = known
        self.state = state
        self.until = fresh_until(state)


class Answers:
    """What is answered to those who ask on one wire.

    `dress` gives the dress for a map name. `entries`: how many replies are remembered. `defer`:
    try again, instead of not found, where the DNS did not say whether there is a policy.
    """

    def __init__(
        self,
        wire: Wire,
        dress: Callable[[str], Dress],
        resolver: Resolver,
        clock: Callable[[], float],
        *,
        entries: int,
        defer: bool = False,
    ) -> None:
        self.wire = wire
        self._dress = dress
        self._resolver = resolver
        self._clock = clock
        self._entries = entries
        self._defer = defer
        self._memory: dict[bytes, _Remembered] = {}
        self._not_found = wire.encode_reply(NOT_FOUND)  # one for all absences
        self._too_long = wire.encode_reply(TOO_LONG)

    def remembered(self, request: bytes) -> bytes | None:
        """The reply to a request that was answered before, if it still holds. The hot path."""
        entry = self._memory.pop(request, None)
        if entry is None or entry.known.state is not entry.state or self._clock() >= entry.until:
            return None
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
            if entry is None or entry.known.state is not entry.state or now >= entry.until:
                break
            memory[requests.popleft()] = entry
            replies.append(entry.reply)
            most -= len(entry.reply)
        return replies

    def answer(self, request: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        """The reply, at once where it needs no waiting, else as a coroutine.

        Raises `WireError` where the frame holds no request.
        """
        asked = self.wire.parse_request(request)
        domain = policy_domain(asked.key)
        if domain is None:
            return self._not_found
        known = self._resolver.recall(domain)
        if known is None or known.state is None:
            return self._look_up(request, asked, domain)
        return self._remember(request, asked, domain, known, known.state)

    def forget(self) -> None:
        """Remember no reply: the clock was set, and none knows how long it holds."""
        self._memory.clear()

    async def _look_up(self, request: bytes, asked: Request, domain: Domain) -> bytes:
        state = await self._resolver.look_up(domain)
        if state is None:
            event(_log, logging.DEBUG, "look-up not answered in time", domain)
            return self._not_found
        known = self._resolver.known(domain)
        if known and known.state is state:
            return self._remember(request, asked, domain, known, state)
        return self._compose(asked, domain, state)

    def _remember(
        self, request: bytes, asked: Request, domain: Domain, known: Known, state: State
    ) -> bytes:
        entry = _Remembered(self._compose(asked, domain, state), known, state)
        self._memory[request] = entry
        drop_oldest(self._memory, self._entries)
        return entry.reply

    def _compose(self, asked: Request, domain: Domain, state: State) -> bytes:
        if state.undecided and self._defer:
            reason = state.failure.reason if state.failure else ""
            return self.wire.encode_reply(TryAgain(f"MTA-STS: DNS failure for {domain}: {reason}"))
        reply = compose(domain, state, self._dress(asked.map_name))
        if not isinstance(reply, Found):
            event(_log, logging.DEBUG, "look-up", domain, map=asked.map_name, reply="not found")
            return self._not_found
        encoded = self.wire.encode_reply(reply)
        told = reply.variants[-1]
        if encoded == self._too_long:
            event(_log, logging.ERROR, "policy too long for the wire: deferred", domain)
        event(_log, logging.DEBUG, "look-up", domain, map=asked.map_name, reply=told)
        return encoded
