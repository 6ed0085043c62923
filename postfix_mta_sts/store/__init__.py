"""The interface of a store of policies, and the values that it takes and returns.

Each backend has a file or a folder of its own; `failsafe` wraps a backend so that its callers see
no errors. A store keeps only states that hold a policy: looking up an absence again is cheaper
than writing it. A backend raises `StoreError`; only `failsafe` decides what happens then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store.days import DayCounts
from postfix_mta_sts.store.errors import DamagedStoreError, StoreError
from postfix_mta_sts.store.records import AdminRecords
from postfix_mta_sts.values import Value, replace

__all__ = [
    "MAX_HISTORY",
    "Backend",
    "DamagedStoreError",
    "HistoryEntry",
    "LastAsked",
    "Overview",
    "Row",
    "RowFilter",
    "Store",
    "StoreError",
    "differs_on_file",
    "keep_verdict",
    "policy_and_id",
]

MAX_HISTORY: Final = 20
"""Maximum number of policies in the history of one domain; the oldest are removed first."""


class LastAsked(Value, frozen=True):
    """When and how often a domain was looked up since the last `touch`."""

    at: float
    """Time of the last look-up; up to a second early after a single one."""
    times: int
    """Number of look-ups."""


class Row(Value, frozen=True):
    """All that a store keeps of one domain, except its history."""

    domain: Domain
    state: State
    asked_at: float
    """Time of the last look-up, accurate to a minute."""
    asked_count: int = 0
    """Number of look-ups since the domain has had a row."""
    asked_days: DayCounts = ()
    """Of these, those on each of the last days."""
    is_dated: bool = True
    """Whether the time of the fetch is the one that was noted then; otherwise that was in the
    future, and nobody knows how old the policy is."""


class HistoryEntry(Value, frozen=True):
    """A policy that was accepted, with the times of its first and last fetch."""

    policy_id: PolicyId
    mode: Mode
    mx: tuple[str, ...]
    seen_from: float
    seen_to: float


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Selects rows; a row must meet all conditions."""

    now: float
    """Only rows that have not expired at this time."""
    mode: Mode | None = None
    expiring_before: float | None = None
    asked_since: float | None = None
    """Only rows that were last asked for at this time or later."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Numbers about the rows that have not expired."""

    by_mode: Mapping[Mode, int]
    """Rows by mode; every mode is a key, also with 0 rows."""
    oldest_fetched_at: float | None
    """When the policy that is due first, among those in use, was fetched."""


def policy_and_id(state: State) -> tuple[Policy, PolicyId]:
    """Return the policy of a state and its id.

    Raises `ValueError` for an absence: it has no row.
    """
    if state.policy is None or state.policy_id is None:
        raise ValueError("only a state that holds a policy is stored")
    return state.policy, state.policy_id


def differs_on_file(before: State | None, after: State) -> bool:
    """Whether an attempt without a new policy has changed anything that `Store.note` saves."""
    return before is None or _noted(before) != _noted(after)


def keep_verdict(before: State | None, after: State) -> State:
    """Return the state with the verdict of the row that it replaces, if it has none of its own.

    It has none if the policy was fetched before that row was read, or by `import` or `seed`.
    """
    known = before.dane if before and after.dane is None else None
    return replace(after, dane=known) if known else after


def _noted(state: State) -> tuple[object, ...]:
    return state.dane, state.failure, state.backoffs, state.refetch_at, state.record_was_gone


class Store(Protocol):
    """What the resolver and the refresher need of a store. Times are seconds since the epoch.

    Every method of a backend raises `StoreError`; of `FailsafeStore` only `load` and `load_all` do.
    """

    async def load(self, domain: Domain) -> State | None:
        """Return the state as `lifecycle.restored` makes it, expired or not; None if none.

        Raises `StoreError` if the row could not be read: then it is not known whether there is one.
        """

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """Load many states at once; a domain without a row is not in the result.

        Raises `StoreError` if the rows could not be read.
        """

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """Replace the domain's row; when this returns, the row survives a `kill -9`.

        `state.policy` and `state.policy_id` are not None. A policy that was fetched before the
        one in the row (another process may have written that) leaves the row as it is, unless
        the one in the row is from the future (the clock was set back). The row keeps the later
        of its last-asked time and `asked_at`, and its verdict if the state has none. The policy is
        added to the domain's history.
        """

    async def note(self, domain: Domain, state: State) -> None:
        """Save what an attempt without a new policy has changed.

        That is the verdict, the failure, the back-offs, `refetch_at` and `record_was_gone`. They go
        into the row that holds the policy with the same `fetched_at`; without such a row nothing is
        done.
        """

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """Save when and how often domains were asked for; ignore domains without a row.

        All look-ups of a domain count as made on the day of the last one.
        """

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """Return at most `limit` domains to fetch again, the longest overdue first.

        A domain is due if refetch_at <= now, it has not expired, and it was last asked for at
        or after `asked_since`.
        """

    async def row(self, domain: Domain) -> Row | None:
        """Return the domain's row, expired or not; None if there is none."""

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """Return the policies that were accepted, at most `MAX_HISTORY`, the newest first."""

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """Return at most `limit` rows that come after the domain `after`, ordered by domain.

        To get the next page, pass the last domain of this one. An empty page is the last.
        """

    async def overview(self, now: float, asked_since: float) -> Overview:
        """Return numbers about unexpired rows; a row is in use if asked for since `asked_since`."""

    async def forget(self, domain: Domain) -> bool:
        """Remove a domain's row and history; return whether there was one.

        Its last check goes with them, its exception stays: see `records`.
        """

    async def remove_expired(self, before: float) -> int:
        """Remove rows that expired before this time, thousands at once; return how many.

        A backend may leave some for the next call, so that no save waits long behind this one.
        """

    async def remove_idle(self, before: float) -> int:
        """Remove rows that were last asked for and fetched before this time.

        The rest is as for `remove_expired`.
        """

    async def close(self) -> None:
        """Write what is still to be written and close the file; call nothing afterwards."""


class Backend(Store, AdminRecords, Protocol):
    """What `failsafe` needs of a store that may fail."""

    @property
    def unwritable(self) -> str:
        """Why nothing can be written at present, if that is known without a try; else empty."""
