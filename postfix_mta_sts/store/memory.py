"""A store that is a dict: for tests, and for what `failsafe` cannot write yet."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.store import held


class Row(NamedTuple):
    """What is kept of one domain."""

    state: State
    asked_at: float


class MemoryStore:
    """A `Store` that forgets everything with the process, and never fails."""

    def __init__(self) -> None:
        self.rows: dict[Domain, Row] = {}
        """In the order in which they were last saved."""

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        row = self.rows.get(domain)
        if row is None:
            return None
        return restored(*held(row.state), row.state.fetched_at, row.state.refetch_at)

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        held(state)
        before = self.rows.get(domain)
        if before:
            if state.fetched_at < before.state.fetched_at <= state.checked_at:
                return
            asked_at = max(before.asked_at, asked_at)
            del self.rows[domain]
        self.rows[domain] = Row(state, asked_at)

    async def touch(self, asked: Mapping[Domain, float]) -> None:
        """See `Store`."""
        for domain, asked_at in asked.items():
            row = self.rows.get(domain)
            if row and row.asked_at < asked_at:
                self.rows[domain] = row._replace(asked_at=asked_at)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        due = [
            (row.state.refetch_at, domain)
            for domain, row in self.rows.items()
            if row.state.refetch_at <= now < row.state.expires_at and row.asked_at >= asked_since
        ]
        return [domain for _, domain in sorted(due)[:limit]]

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        expired = [d for d, row in self.rows.items() if row.state.expires_at < before]
        for domain in expired:
            del self.rows[domain]
        return len(expired)

    async def close(self) -> None:
        """See `Store`."""
