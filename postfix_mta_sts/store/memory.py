"""A store that is a dict: for tests, and the base of the write buffer of `failsafe`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from operator import attrgetter

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import (
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    days,
    keep_verdict,
    policy_and_id,
)
from postfix_mta_sts.store.history import history_entry, merge_history
from postfix_mta_sts.store.memory_records import MemoryRecords
from postfix_mta_sts.values import replace


class MemoryStore(MemoryRecords):
    """A `Store` that never fails and loses everything when the process ends."""

    unwritable = ""
    """See `Backend`."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[Domain, Row] = {}
        """In the order in which they were last saved."""
        self._histories: dict[Domain, list[HistoryEntry]] = {}

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        row = self.rows.get(domain)
        return _restored(row).state if row else None

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        rows = ((domain, self.rows.get(domain)) for domain in domains)
        return {domain: _restored(row).state for domain, row in rows if row}

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        history = self._histories.get(domain, ())
        self._histories[domain] = merge_history(history, history_entry(state))
        row = Row(domain, state, asked_at)
        if before := self.rows.get(domain):
            if state.fetched_at < before.state.fetched_at <= state.checked_at:
                return
            asked_at, state = max(before.asked_at, asked_at), keep_verdict(before.state, state)
            row = replace(before, state=state, asked_at=asked_at)
            del self.rows[domain]
        self.rows[domain] = row

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`."""
        row = self.rows.get(domain)
        if row and state.policy and row.state.fetched_at == state.fetched_at:
            self.rows[domain] = replace(row, state=_noted(row.state, state))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`."""
        for domain, last in asked.items():
            if row := self.rows.get(domain):
                self.rows[domain] = replace(
                    row,
                    asked_at=max(row.asked_at, last.at),
                    asked_count=row.asked_count + last.times,
                    asked_days=days.add(row.asked_days, days.day_of(last.at), last.times),
                )

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        due = (r for r in self._in_use(now, asked_since) if r.state.refetch_at <= now)
        return [row.domain for row in nsmallest(limit, due, key=_due_order)]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        row = self.rows.get(domain)
        return _restored(row) if row else None

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`."""
        return self._histories.get(domain, [])[::-1]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`."""
        rows = (r for d, r in self.rows.items() if _matches(r, query) and d > (after or ""))
        return [_restored(row) for row in nsmallest(limit, rows, key=attrgetter("domain"))]

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        by_mode = Counter(dict.fromkeys(Mode, 0))
        by_mode.update(
            row.state.policy.mode
            for row in self.rows.values()
            if row.state.policy and now < row.state.expires_at
        )
        oldest = min(self._in_use(now, asked_since), key=_due_order, default=None)
        return Overview(by_mode, oldest.state.fetched_at if oldest else None)

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        self.drop_check(domain)
        return self.drop(domain)

    def drop(self, domain: Domain) -> bool:
        """Remove a row and its history, as `forget` does, without a coroutine."""
        history = self._histories.pop(domain, None)
        return bool(self.rows.pop(domain, None) or history)

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        expired = [d for d, row in self.rows.items() if row.state.expires_at < before]
        for domain in expired:
            self.drop(domain)
        return len(expired)

    async def remove_idle(self, before: float) -> int:
        """See `Store`."""
        rows = self.rows.items()
        idle = [d for d, r in rows if r.asked_at < before and r.state.fetched_at < before]
        for domain in idle:
            self.drop(domain)
        return len(idle)

    async def close(self) -> None:
        """See `Store`."""

    def _in_use(self, now: float, asked_since: float) -> Iterable[Row]:
        rows = self.rows.values()
        return (r for r in rows if now < r.state.expires_at and r.asked_at >= asked_since)


def _matches(row: Row, query: RowFilter) -> bool:
    state = row.state
    return (
        state.policy is not None
        and query.now < state.expires_at
        and query.mode in {None, state.policy.mode}
        and (query.expiring_before is None or state.expires_at < query.expiring_before)
        and (query.asked_since is None or row.asked_at >= query.asked_since)
    )


def _due_order(row: Row) -> tuple[float, Domain]:
    return row.state.refetch_at, row.domain


def _restored(row: Row) -> Row:
    """Return the row as a backend would: `restored` drops what is never written."""
    state = row.state
    policy, policy_id = policy_and_id(state)
    rest = state.dane, state.failure, state.backoffs, state.record_was_gone
    kept = restored(policy, policy_id, state.fetched_at, state.refetch_at, *rest)
    return replace(row, state=kept)


def _noted(stored: State, state: State) -> State:
    """Return the stored state with what `Store.note` saves."""
    return replace(
        stored,
        refetch_at=state.refetch_at,
        dane=state.dane,
        failure=state.failure,
        backoffs=state.backoffs,
        record_was_gone=state.record_was_gone,
    )
