"""The row of the store, as one attempt reads and writes it.

It is read in time, late, or once more after a failure.
A read that takes longer than `read_patience` goes on beside the attempt's questions, with a second
one, if it fails; `wait` is for those to which the row matters, because it may hold a policy.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.weakening import weakenings
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.single_flight import Order
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.store import StoreError


class StoredRow:
    """Reads the row into what is `Known`, and writes that; call `close` last."""

    __slots__ = ("_domain", "_known", "_reading", "_replaced_by", "_shared", "is_read", "on_file")

    def __init__(self, shared: AttemptContext, domain: Domain, known: Known) -> None:
        self._shared = shared
        self._domain = domain
        self._known = known
        self._reading: asyncio.Future[State | None] | None = None
        self._replaced_by: State | None = None
        self.is_read = False
        """Whether the row itself was read, in this attempt."""
        self.on_file: State | None = None
        """The row, also if its policy has expired: what a weaker policy is compared with."""

    @property
    def is_unread(self) -> bool:
        """Whether a policy has replaced the row before it was read."""
        return self._replaced_by is not None

    @property
    def last_policy(self) -> State | None:
        """The policy that is known, or that was before it expired."""
        state = self._known.state
        return state if state and state.policy else self.on_file

    @property
    def asked_at(self) -> float:
        """When the domain was last asked for; 0: not known."""
        usage = self._shared.usage.get(self._domain)
        return max(usage.at if usage else 0.0, self._known.flight.asked_at)

    async def save(self, state: State) -> None:
        """Save a policy. The look-up that wants it counts as the last one, until usage is written.

        The usage may have been written a moment ago, when the domain had no row to take it.
        """
        usable = self._shared.usable(state) or state
        await self._shared.sources.store.save(self._domain, usable, self.asked_at)

    async def note(self) -> None:
        """Note in the row what has changed beside the policy."""
        if (state := self._shared.usable(self._known.state)) and state.policy:
            await self._shared.sources.store.note(self._domain, state)

    async def load(self, order: Order, on_late_row: Callable[[], None]) -> None:
        """Take the row that the order has; else read it, for `read_patience` at most.

        `on_late_row` is called when a row has come after that.
        """
        if order.row_was_read:
            self._take(order.row)
            return
        self._reading = asyncio.ensure_future(self._read(order.reading))
        patience = 0.0 if order.reading else self._shared.sources.read_patience
        await asyncio.wait([self._reading], timeout=patience)
        if self._reading.done():
            self._finish(self._reading)
        else:
            # Kept there, and not here: a reference to the attempt would make a cycle.
            self._reading.add_done_callback(partial(self._finish_late, on_late_row))

    async def wait(self) -> None:
        """Wait for the read that is under way; if it has failed, read again."""
        if self._reading and not self._reading.done():
            await asyncio.wait([self._reading])
        elif not self._known.row_is_known:
            with suppress(StoreError):
                self._take(await self._shared.sources.store.load(self._domain))

    async def take_newer(self) -> bool:
        """Use the row if another process has fetched the policy since; return whether it has."""
        before = self._known.state
        if before is None or before.policy is None:
            return False
        with suppress(StoreError):
            row = self._shared.usable(await self._shared.sources.store.load(self._domain))
            self.is_read, self.on_file = True, row
            if row and row.fetched_at > before.fetched_at:
                self._known.replace_state(row, self._shared.sources.clock())
                return True
        return False

    def is_replaced_by(self, state: State) -> None:
        """Note that this policy replaces the row, which may not have been read yet."""
        self._replaced_by = None if self._known.row_is_known else state

    def close(self) -> None:
        """End the read."""
        if self._reading:
            self._reading.cancel()

    async def _read(self, reading: asyncio.Future[State | None] | None) -> State | None:
        """The row, by the read that is under way, if one is; one that fails is made once more."""
        store = self._shared.sources.store
        try:
            return await (reading or store.load(self._domain))
        except StoreError:
            return await store.load(self._domain)

    def _finish(self, reading: asyncio.Future[State | None]) -> None:
        with suppress(StoreError):  # logged by the store
            self._take(reading.result())

    def _finish_late(
        self, on_late_row: Callable[[], None], reading: asyncio.Future[State | None]
    ) -> None:
        if not reading.cancelled():
            self._finish(reading)
            on_late_row()

    def _take(self, row: State | None) -> None:
        row, now = self._shared.usable(row), self._shared.sources.clock()
        if row and self._replaced_by:  # a policy came before the row that it replaces
            self._shared.report(weakenings(self._domain, row, self._replaced_by, now))
        self._replaced_by = None
        self.is_read, self.on_file = True, row
        self._known.take_row(row, now)
