"""Where states are kept; one backend a file, and `failsafe` before them.

Border: only states that hold a policy are kept: an absence is cheaper to find again than to
write. A backend raises `StoreError`; `failsafe` alone decides what becomes of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from postfix_mta_sts.mtasts.dane import Verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import Value

HISTORY_MOST: Final = 20
"""Policies that are remembered of one domain, the last seen of them."""


class StoreError(Exception):
    """The store could not do what was asked; nothing has changed. `str()` is the reason."""


class DamagedStoreError(StoreError):
    """What is on file cannot be read as a store of ours, now or later."""


class LastAsked(Value, frozen=True):
    """That a domain was asked for."""

    at: float
    """When last; up to a second earlier where that was once."""
    times: int
    """How often, since this was last told."""


class Row(Value, frozen=True):
    """All that is kept of one domain, but for its history."""

    domain: Domain
    state: State
    asked_at: float
    """When the domain was last asked for, up to the minute."""
    asked_count: int = 0
    """How often, since it has a row."""


class HistoryEntry(Value, frozen=True):
    """A policy that was accepted, and between which times it was fetched."""

    policy_id: PolicyId
    mode: Mode
    mx: tuple[str, ...]
    seen_from: float
    seen_to: float


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows are wanted: those that fit all that is said."""

    now: float
    """Those that have not expired at this time."""
    mode: Mode | None = None
    expiring_before: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """What is on file, unexpired, in numbers."""

    by_mode: Mapping[Mode, int]
    """All modes, also where there is none."""
    oldest_fetched_at: float | None
    """Of the policies in use, when the one was fetched that is longest due to be fetched again."""


def held(state: State) -> tuple[Policy, PolicyId]:
    """The policy that a state holds, and its id; `ValueError` for an absence: it has no row."""
    if state.policy is None or state.policy_id is None:
        raise ValueError("only a state that holds a policy is stored")
    return state.policy, state.policy_id


class Store(Protocol):
    """What the resolver and the refresher need of a place for states. Times are epoch seconds.

    Every method raises `StoreError` (a backend) or never raises (`FailsafeStore`).
    """

    async def load(self, domain: Domain) -> State | None:
        """The state as `lifecycle.restored` makes it, expired or not; None if there is none."""

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """The same of many; a domain of which there is nothing is not in it."""

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """Replace the domain's row; when this returns, the row outlives a `kill -9`.

        `state.policy` and `state.policy_id` are not None. A policy that was fetched before the
        one in the row, by another process say, leaves the row as it is, unless that one is from
        the future (the clock was set back). The row keeps the later of its last-asked time and
        `asked_at`. The policy becomes part of the domain's history.
        """

    async def note_verdict(self, domain: Domain, verdict: Verdict) -> None:
        """Keep what DANE says of a domain beside its policy; without a row it is passed over."""

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """Note that domains were asked for; those without a row are passed over."""

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """At most `limit` domains to fetch again, the longest overdue first.

        Those with refetch_at <= now, not expired, last asked for at or after `asked_since`.
        """

    async def row(self, domain: Domain) -> Row | None:
        """All that is kept of a domain, expired or not; None if there is nothing."""

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """The policies that were accepted, at most `HISTORY_MOST`, the last seen first."""

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """At most `limit` rows, in the order of their domains, from the one behind `after` on.

        The next page is behind the last row of this one; the last page is an empty one.
        """

    async def overview(self, now: float, asked_since: float) -> Overview:
        """The rows that have not expired, in numbers; in use is what was asked for since."""

    async def forget(self, domain: Domain) -> bool:
        """Remove a domain's row and history; whether there was anything."""

    async def remove_expired(self, before: float) -> int:
        """Remove the rows that expired before this time, thousands at once; how many they were.

        A backend may leave more for the next call, so that no save waits long behind this one.
        """

    async def close(self) -> None:
        """Write what is to be written and let go of the file; nothing else may be called after."""
