"""What is known of domains, as far as there is room: least recently used, first forgotten.

Border: states and where they stand; what a state is worth, and what is done about it, the resolver
knows. Who holds a `CacheEntry` sees it change.
"""

from collections.abc import Callable

from postfix_mta_sts.mtasts.dane import DANE_KINDS, is_due
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.recent import drop_oldest
from postfix_mta_sts.values import Entry, replace


class CacheEntry(Entry):
    """Where a domain's current state stands in memory."""

    domain: Domain
    state: State | None
    """None once it stands there no more."""
    asked_at: float
    """When the domain was last asked for, to the minute."""


class StateCache:
    """At most `entries` domains; `evicted` is told each that had to go for want of room."""

    def __init__(self, entries: int, evicted: Callable[[Domain], None]) -> None:
        self.entries = entries
        self._evicted = evicted
        self._known: dict[Domain, CacheEntry] = {}
        self._second = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, domain: Domain) -> CacheEntry | None:
        """Where the domain's state stands, whatever it is worth."""
        return self._known.get(domain)

    def use(self, known: CacheEntry, now: float) -> None:
        """Note that a domain was asked for, at `now` (epoch seconds): it is forgotten last."""
        self._known[known.domain] = self._known.pop(known.domain)
        known.asked_at = self._coarse(now)

    def put(self, domain: Domain, state: State, now: float) -> None:
        """Let a domain have this state, as the one that was used last."""
        self.drop(domain)
        self._known[domain] = CacheEntry(domain, state, self._coarse(now))
        for forgotten in drop_oldest(self._known, self.entries):
            forgotten.state = None
            self._evicted(forgotten.domain)

    def drop(self, domain: Domain) -> bool:
        """Forget a domain; whoever holds it sees that. Whether it was there."""
        if known := self._known.pop(domain, None):
            known.state = None
        return known is not None

    def drop_verdicts(self) -> None:
        """Forget what DANE said of any domain."""
        for known in self._known.values():
            if known.state and known.state.dane:
                known.state = replace(known.state, dane=None)

    def states(self) -> list[tuple[Domain, State]]:
        """All states."""
        states = ((domain, known.state) for domain, known in self._known.items())
        return [(domain, state) for domain, state in states if state]

    def verdicts_due(self, asked_since: float, now: float) -> list[Domain]:
        """DANE domains that were asked for since, and of which the DNS is to be asked again."""
        return [
            known.domain
            for known in self._known.values()
            if known.asked_at >= asked_since and known.state and _is_due(known.state, now)
        ]

    def _coarse(self, now: float) -> float:
        """The second in which `now` is, one number for all who ask in it: there may be many."""
        if now // 1 != self._second:
            self._second = now // 1
        return self._second


def _is_due(state: State, now: float) -> bool:
    verdict = state.dane
    return verdict is not None and verdict.kind in DANE_KINDS and is_due(verdict, now)
