"""The states of domains in memory, bounded: the least recently used is evicted first.

The cache does not judge states: `Resolver` decides whether one can be served. Code that holds a
`CacheEntry` sees its state change.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeVar

from postfix_mta_sts.mtasts.believable import believable
from postfix_mta_sts.mtasts.dane import DANE_KINDS, is_due
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.values import Entry, replace

K = TypeVar("K")
V = TypeVar("V")

_SLICE: Final = 500
"""Entries that are changed at once: about a millisecond."""
_EVICTED_SHARE: Final = 64
"""1/64 of the entries is evicted at once: to find the oldest, a dict skips those removed before."""


class CacheEntry(Entry):
    """The current state of a domain."""

    domain: Domain
    state: State | None
    """None once the entry is evicted or replaced."""
    asked_at: float
    """When the domain was last asked for; up to a minute too early, because uses of cached replies
    are counted once a minute."""


class StateCache:
    """At most `entries` domains; `evicted` is called with each domain that is evicted."""

    def __init__(self, entries: int, evicted: Callable[[Domain], None]) -> None:
        self.entries = entries
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
        """Store a state, as the most recently used one."""
        self.drop(domain)
        self._entries[domain] = CacheEntry(domain, state, self._whole_second(now))
        for entry in evict_oldest(self._entries, self.entries):
            entry.state = None
            self._evicted(entry.domain)

    def drop(self, domain: Domain) -> bool:
        """Remove a domain; return whether it was there."""
        if entry := self._entries.pop(domain, None):
            entry.state = None
        return entry is not None

    def drop_verdicts(self) -> None:
        """Remove the DANE verdicts of all domains."""
        for entry in self._entries.values():
            if entry.state and entry.state.dane:
                entry.state = replace(entry.state, dane=None)

    async def correct_times(self, clock: Callable[[], float]) -> None:
        """Give all states times that are believable; in slices, because there may be many."""
        for number, entry in enumerate(list(self._entries.values()), 1):
            if entry.state:
                entry.state = believable(entry.state, clock())
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def states(self) -> list[tuple[Domain, State]]:
        """All states."""
        states = ((domain, entry.state) for domain, entry in self._entries.items())
        return [(domain, state) for domain, state in states if state]

    def verdicts_due(self, asked_since: float, now: float) -> list[Domain]:
        """DANE domains asked for since `asked_since` whose verdict is due for a look-up."""
        return [
            entry.domain
            for entry in self._entries.values()
            if entry.asked_at >= asked_since and entry.state and _verdict_is_due(entry.state, now)
        ]

    def _whole_second(self, now: float) -> float:
        """`now` rounded down, as one float object per second: there may be many entries."""
        if now // 1 != self._second:
            self._second = now // 1
        return self._second


def evict_oldest(memory: dict[K, V], limit: int) -> list[V]:
    """Remove the oldest entries of a dict that has more than `limit`; return them, oldest first.

    A dict keeps the order of insertion; code that uses an entry removes and inserts it again. That
    takes half the memory of an OrderedDict, and no more time.
    """
    if len(memory) <= limit:
        return []
    keys = list(islice(memory, len(memory) - limit + limit // _EVICTED_SHARE))
    return [memory.pop(key) for key in keys]


def _verdict_is_due(state: State, now: float) -> bool:
    verdict = state.dane
    return verdict is not None and verdict.kind in DANE_KINDS and is_due(verdict, now)
