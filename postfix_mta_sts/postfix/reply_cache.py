"""The replies that were given before, by the bytes of their requests: the hot path.

A `MadeReply` is made from one state of a domain, in one form, and all requests that get it share
it. It is attached to the cache entry of its domain, whose bytes include it, and ends when the state
is replaced, when it is no longer fresh, when the exception ends that it was made by, or when the
domain is evicted. The dictionary here only has the requests, whose number and bytes are limited.

`replies` decides what a reply says.
"""

import asyncio
import math
from collections.abc import Callable, Hashable, Sized
from dataclasses import dataclass
from sys import getsizeof
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.session_failure import SessionFailure
from postfix_mta_sts.resolver.cache import SLICE, CacheEntry, Limits, Made, surplus
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sizes import SLOT
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source

NoteFailure: TypeAlias = Callable[[Domain, SessionFailure, int], None]
"""Takes for how many look-ups the policy could not be had."""

REQUEST_LIMIT: Final = 512
"""Bytes of a request that is kept: a map name of 100 bytes, the longest domain and a port fit."""
REQUESTS_LIMIT: Final = 32
"""Requests kept for one reply; a domain has many keys (`d:1`, `d:2` …), Postfix uses a few."""

_REPLY: Final = 56
"""Bytes of the tuple that attaches a reply to its entry."""
_FAILURE: Final = 72
"""Bytes of a failure; its reason is that of the state."""
_REQUEST: Final = SLOT + 80
"""Bytes for one request beside its text: its object, its slot, and its share of a `MadeReply`."""


@dataclass(eq=False, slots=True)
class Form:
    """All of which a reply depends apart from the state; compared by identity."""

    on_trial: bool | None
    """See `Usage.note_check`; None: the domain needs no check."""
    is_over: bool = False
    """Whether the cache was cleared since: no request gets these replies any more."""


class MadeReply(Made):
    """A reply made from a state."""

    domain: Domain
    form: Form
    """See `RequestCache.form`."""
    kind: Answer
    reply: bytes
    is_shared: bool
    """Whether `reply` is one object for all domains."""
    uses: int = 0
    """How often it was given again since that was last counted."""
    requests: int = 0
    """Requests in the cache that get it."""

    @property
    def size(self) -> int:
        """See `Made`."""
        return _REPLY if self.is_shared else _REPLY + getsizeof(self.reply)

    def end(self) -> None:
        """See `Made`; requests that are not repeated must not keep the bytes."""
        super().end()
        self.reply = b""


class FailedReply(MadeReply, kw_only=True):
    """One whose policy could not be had; a class of its own, for the memory of all others."""

    failure: SessionFailure

    @property
    def size(self) -> int:
        """See `Made`."""
        return super().size + _FAILURE


class RequestCache:
    """Requests and the replies that they get.

    `resolver` notes the uses of replies, and `counters` counts them; `note_failure` gets those
    whose policy could not be had. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        resolver: Resolver,
        counters: Counters,
        clock: Callable[[], float],
        limits: Limits,
        note_failure: NoteFailure,
    ) -> None:
        self.limits = limits
        """A lower limit is reached by the insertions that follow."""
        self.used = 0
        """Bytes of memory, by estimate."""
        self.asked_at = 0.0
        """When a domain was last asked for; 0: never."""
        self._resolver = resolver
        self._counters = counters
        self._clock = clock
        self._note_failure = note_failure
        self._replies: dict[bytes, MadeReply] = {}
        self._cleared: list[dict[bytes, MadeReply]] = []  # their uses are not counted yet
        self._forms: dict[Hashable, Form] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, request: bytes) -> bytes | None:
        """The reply to a request, if it is still valid. This is the hot path."""
        made = self._replies.pop(request, None)
        if made is None:
            return None
        self.asked_at = now = self._clock()
        if now >= made.until:
            self._removed(request, made)
            return None
        made.uses += 1
        self._replies[request] = made  # the most recently used is the last
        return made.reply

    def form(self, on_trial: bool | None, *choices: Hashable) -> Form:  # noqa: FBT001 (one choice)
        """The object that stands for all of which a reply depends, apart from the state."""
        return self._forms.setdefault((on_trial, *choices), Form(on_trial))

    def find(self, entry: CacheEntry, form: Form, now: float) -> MadeReply | None:
        """The reply in this form that was made from the current state of an entry, and holds."""
        for made in entry.made:
            if isinstance(made, MadeReply) and made.form is form and now < made.until:
                return made
        return None

    def store(self, request: bytes, made: MadeReply, entry: CacheEntry) -> None:
        """Keep a reply made from the state of `entry`, and give it to the request from now on.

        A long request is not kept, nor is one of too many that get the same reply.
        """
        if made not in entry.made:
            _end_cleared(entry)
            self._resolver.attach(entry, made)
        if self._clock() >= made.until or len(request) > REQUEST_LIMIT:
            return
        if made.requests < REQUESTS_LIMIT:
            self._put(request, made)

    def clear(self) -> None:
        """Remove all requests, and make every reply again."""
        if self._replies:
            self._cleared.append(self._replies)
        for form in self._forms.values():
            form.is_over = True
        self._replies, self._forms, self.used = {}, {}, 0

    async def count(self) -> None:
        """Count the uses of replies, and let other tasks run in between."""
        for number, made in enumerate(list(self._replies.values()), 1):
            self._count(made)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        while self._cleared:
            self._count_cleared(self._cleared[-1])
            await asyncio.sleep(0)

    def _count_cleared(self, replies: dict[bytes, MadeReply]) -> None:
        """Count and remove a slice: to free a whole dict at once takes long."""
        for _ in range(min(SLICE, len(replies))):
            self._count(replies.popitem()[1])
        if not replies:
            self._cleared.remove(replies)

    def _put(self, request: bytes, made: MadeReply) -> None:
        if before := self._replies.pop(request, None):
            self._removed(request, before)
        self._replies[request] = made
        made.requests += 1
        self.used += _REQUEST + len(request)
        if not self.limits.allow(len(self._replies), self.used):
            self._evict()

    def _evict(self) -> None:
        sizes = ((each, _REQUEST + len(each)) for each in self._replies)
        for oldest in surplus(sizes, len(self._replies), self.used, self.limits):
            self._removed(oldest, self._replies.pop(oldest))

    def _removed(self, request: Sized, made: MadeReply) -> None:
        self.used -= _REQUEST + len(request)
        made.requests -= 1
        self._count(made)

    def _count(self, made: MadeReply) -> None:
        """Count the uses of a reply since they were last counted."""
        if made.uses:
            uses, made.uses = made.uses, 0
            self._counters.answers[made.kind, Source.MEMORY] += uses
            self._resolver.note_uses(made.domain, uses, self._clock())
            if isinstance(made, FailedReply):
                self._note_failure(made.domain, made.failure, uses)
            if made.form.on_trial is not None:
                self._resolver.usage.note_check(made.domain, on_trial=made.form.on_trial)


def _end_cleared(entry: CacheEntry) -> None:
    """Have the next `attach` drop the replies of before a `clear`, which nothing would find."""
    for made in entry.made:
        if isinstance(made, MadeReply) and made.form.is_over:
            made.until = -math.inf  # not `end`: the size must be what was added
