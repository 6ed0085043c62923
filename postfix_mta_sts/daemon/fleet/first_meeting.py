"""How long the start of a relay waits for the shared store: Postfix defers mail until it listens.

A relay that knows no policy, or has never seen the exceptions of its fleet, waits, for its first
answers could be weaker than those of the others. One that knows both does not: what has changed
meanwhile it learns within seconds, as all relays do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from postfix_mta_sts.daemon.fleet.tasks import Role
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import Row, RowFilter, StoreError
from postfix_mta_sts.store.records import FleetNotes

LIMIT: Final = 3.0
"""Seconds by which the shared store delays a start, with all that is asked of it. Of these, the
network process takes half a second until it is ready, and longer on a busy machine."""


class OwnStore(Protocol):
    """What a relay has kept."""

    async def page(self, query: RowFilter, after: Domain | None, limit: int, /) -> Sequence[Row]:
        """See `Store`."""

    async def fleet_notes(self) -> FleetNotes:
        """See `AdminRecords`; raises `StoreError`."""


async def meet_fleet(
    role: Role | None,
    own: OwnStore,
    meet: Callable[[float], Awaitable[None]],
    now: float,
    monotonic: Callable[[], float],
) -> float:
    """Wait for the store if that is worth it; return for how many seconds to wait for exceptions.

    `role` None: there is no fleet. `meet` waits for the store, for so many seconds at most; `now`:
    epoch seconds.
    """
    if role is None:
        return 0.0
    end = monotonic() + LIMIT
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT):
            if await _knows_enough(role, own, now):
                return 0.0
    await meet(max(0.0, end - monotonic()))
    return max(0.0, end - monotonic())


async def _knows_enough(role: Role, own: OwnStore, now: float) -> bool:
    """Whether a relay has a policy that has not expired, and has seen the exceptions of its fleet.

    A store that cannot be read knows nothing.
    """
    if not await own.page(RowFilter(now), None, 1):
        return False
    if not role.shares_exceptions:
        return True
    with suppress(StoreError):
        seen = (await own.fleet_notes()).keys
        return not {*seen}.isdisjoint(role.membership.keys)
    return False
