"""Where states are kept; one backend a file, and `failsafe` before them.

Border: only states that hold a policy are kept: an absence is cheaper to find again than to
write. A backend raises `StoreError`; `failsafe` alone decides what becomes of that.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId


class StoreError(Exception):
    """The store could not do what was asked; nothing has changed. `str()` is the reason."""


class DamagedStoreError(StoreError):
    """What is on file cannot be read as a store of ours, now or later."""


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

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """Replace the domain's row; when this returns, the row outlives a `kill -9`.

        `state.policy` and `state.policy_id` are not None. A policy that was fetched before the
        one in the row, by another process say, leaves the row as it is, unless that one is from
        the future (the clock was set back). The row keeps the later of its last-asked time and
        `asked_at`.
        """

    async def touch(self, asked: Mapping[Domain, float]) -> None:
        """Note when domains were last asked for; those without a row are passed over."""

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """At most `limit` domains to fetch again, the longest overdue first.

        Those with refetch_at <= now, not expired, last asked for at or after `asked_since`.
        """

    async def remove_expired(self, before: float) -> int:
        """Remove the rows that expired before this time, thousands at once; how many they were.

        A backend may leave more for the next call, so that no save waits long behind this one.
        """

    async def close(self) -> None:
        """Write what is to be written and let go of the file; nothing else may be called after."""
