"""The states of domains in memory, bounded: the least recently used is evicted first.

Two limits apply, whichever is reached first: a number of entries, and bytes by the estimate of
`sizes`. The bytes of an entry include what others made from its state and attached to it (`Made`).

The cache does not judge states: `Resolver` decides whether one can be served. Code that holds a
`CacheEntry` sees its state change.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from postfix_mta_sts.mtasts.believable import believable
from postfix_mta_sts.mtasts.dane import DANE_KINDS
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.verdict import is_due
from postfix_mta_sts.resolver.sizes import state_size
from postfix_mta_sts.values import Entry, Value, replace

K = TypeVar("K")

SLICE: Final = 250
"""Entries that are visited before other tasks run; 2 ms at most."""
_EVICTED_SHARE: Final = 64
"""1/64 of the limit is evicted at once: to find the oldest, a dict skips those removed before."""
_EVICTED_AT_ONCE: Final = 1_000
"""Entries, for the same reason as `SLICE`; what is left goes with the next insertions."""


class Limits(Value, frozen=True):
    """How large a cache may become."""

    entries: int
    memory: int
    """Bytes, by estimate."""

    def allow(self, entries: int, memory: int) -> bool:
        """Whether a cache may be as large as this."""
        return entries <= self.entries and memory <= self.memory


class Made(Entry):
    """Something that was made from the state of an entry, and is useless once that is replaced."""

    until: float
    """When it ends (epoch seconds)."""

    @property
    def size(self) -> int:
        """Bytes of memory, by estimate."""
        raise NotImplementedError

    def end(self) -> None:
        """End it now, because the state was replaced or evicted."""
        self.until = -math.inf


class CacheEntry(Entry):
    """The current state of a domain."""

    domain: Domain
    _state: State | None
    asked_at: float
    """When the domain was last asked for; up to a minute too early, because uses of cached replies
    are counted once a minute."""
    size: int = 0
    """Bytes of memory, by estimate."""
    made: tuple[Made, ...] = ()

    @property
    def state(self) -> State | None:
        """None once the entry is evicted; only `StateCache` changes it."""
        return self._state


class StateCache:
    """At most `limits` domains; `evicted` is called with each domain that is evicted."""

    def __init__(self, limits: Limits, evicted: Callable[[Domain], None]) -> None:
        self.limits = limits
        """A lower limit is reached by the insertions that follow."""
        self.used = 0
        """Bytes of memory, by estimate."""
        self.policies = 0
        """Entries whose state holds a policy."""
        self._evicted = evicted
        self._entries: dict[Domain, CacheEntry] = {}
        self._second = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, domain: Domain) -> CacheEntry | None:
        """The entry of a domain, servable or not."""
        return self._entries.get(domain)

    def use(self, entry: CacheEntry, now: float) -> None:
        """Note that a domain was asked for, at `now` (epoch seconds): it is evicted last."""
        self._entries[entry.domain] = self._entries.pop(entry.domain)
        entry.asked_at = self._whole_second(now)

    def put(self, domain: Domain, state: State, now: float) -> None:
        """Store a state in a new entry, as the most recently used one."""
        self.drop(domain)
        entry = self._entries[domain] = CacheEntry(domain, None, self._whole_second(now))
        self._set_state(entry, state)
        self._evict()

    def update(self, entry: CacheEntry, state: State) -> None:
        """Replace the state of an entry that is in the cache; ends what was made from the old."""
        if state is not entry.state:
            self._set_state(entry, state)
            self._evict()

    def attach(self, entry: CacheEntry, made: Made, now: float) -> None:
        """Keep something that was made from the state of this entry, as long as the state."""
        for ended in entry.made:
            if ended.until <= now:
                self._detach(entry, ended)
        entry.made += (made,)
        self._grow(entry, made.size)
        self._evict()

    def drop(self, domain: Domain) -> bool:
        """Remove a domain; return whether it was there."""
        if entry := self._entries.pop(domain, None):
            self._set_state(entry, None)
        return entry is not None

    def slices(self) -> Iterator[list[CacheEntry]]:
        """All entries, a few at a time: let other tasks run before the next slice.

        Entries that are removed meanwhile are left out, and so are some that are added.
        """
        domains = list(self._entries)
        for start in range(0, len(domains), SLICE):
            found = map(self._entries.get, domains[start : start + SLICE])
            yield [entry for entry in found if entry]

    def correct_times(self, now: Callable[[], float]) -> Iterator[None]:
        """Give all states times that are believable, one slice with each step."""
        for entries in self.slices():
            for entry in entries:
                if entry.state:
                    self.update(entry, believable(entry.state, now()))
            yield

    def drop_verdicts(self) -> Iterator[None]:
        """Remove the DANE verdicts of all domains, one slice with each step."""
        for entries in self.slices():
            for entry in entries:
                if entry.state and entry.state.dane:
                    self.update(entry, replace(entry.state, dane=None))
            yield

    def verdicts_due(self, asked_since: float, now: float) -> Iterator[list[Domain]]:
        """DANE domains asked for since `asked_since` whose verdict is due, slice by slice."""
        for entries in self.slices():
            yield [
                entry.domain
                for entry in entries
                if entry.asked_at >= asked_since and _verdict_is_due(entry.state, now)
            ]

    def _set_state(self, entry: CacheEntry, state: State | None) -> None:
        for made in entry.made:
            made.end()
        self.policies += _holds_policy(state) - _holds_policy(entry.state)
        entry._state, entry.made = state, ()  # noqa: SLF001 (nobody else may)
        self._grow(entry, (state_size(entry.domain, state) if state else 0) - entry.size)

    def _detach(self, entry: CacheEntry, ended: Made) -> None:
        entry.made = tuple(made for made in entry.made if made is not ended)
        self._grow(entry, -ended.size)

    def _grow(self, entry: CacheEntry, number: int) -> None:
        """Note that an entry takes this many bytes more, or less."""
        entry.size += number
        self.used += number

    def _evict(self) -> None:
        """Remove the oldest entries, if there are too many."""
        if self.limits.allow(len(self._entries), self.used):
            return
        sizes = ((entry, entry.size) for entry in self._entries.values())
        for entry in surplus(sizes, len(self._entries), self.used, self.limits):
            self.drop(entry.domain)
            self._evicted(entry.domain)

    def _whole_second(self, now: float) -> float:
        """`now` rounded down, as one float object per second: there may be many entries."""
        if now // 1 != self._second:
            self._second = now // 1
        return self._second


def surplus(sizes: Iterable[tuple[K, int]], count: int, used: int, limits: Limits) -> list[K]:
    """The keys to remove from a cache of `count` keys and `used` bytes that is above its limits.

    `sizes`: the keys and their bytes, least recently used first. A dict has this order if code that
    uses a key removes and inserts it again: half the memory of an OrderedDict, and no more time.
    """
    if limits.allow(count, used):
        return []
    entries = limits.entries - limits.entries // _EVICTED_SHARE
    memory = limits.memory - limits.memory // _EVICTED_SHARE
    keys = []
    for key, size in islice(sizes, _EVICTED_AT_ONCE):
        if count <= entries and used <= memory:
            break
        keys.append(key)
        count -= 1
        used -= size
    return keys


def _holds_policy(state: State | None) -> bool:
    return state is not None and state.policy is not None


def _verdict_is_due(state: State | None, now: float) -> bool:
    verdict = state.dane if state else None
    return verdict is not None and is_due(verdict, now) and verdict.kind in DANE_KINDS
