"""What `FailsafeStore` does with the records for administrators, if the backend fails.

An exception is a decision of an administrator: it is on file, or the caller gets an error with the
reason. A check or an event that cannot be written is lost, and counted.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.store import Backend, StoreError
from postfix_mta_sts.store.guard import GuardedBackend
from postfix_mta_sts.store.records import Changes, FleetNotes


class GuardedRecords(GuardedBackend):
    """The `AdminRecords` of a backend that may fail."""

    records_lost = 0
    """Checks, events and notes that were never written."""

    async def exceptions(self) -> Sequence[PolicyException]:
        """See `AdminRecords`; raises `StoreError`."""
        await self._wait_for_opening()
        return await self._try(self._reading, lambda store: store.exceptions())

    async def put_exception(self, exception: PolicyException) -> None:
        """See `AdminRecords`; raises `StoreError`, and then nothing was added."""
        await self._try(self._writing, lambda store: store.put_exception(exception))

    async def remove_exception(self, scope: Scope) -> bool:
        """See `AdminRecords`; raises `StoreError`, and then nothing was removed."""
        return await self._try(self._writing, lambda store: store.remove_exception(scope))

    async def take_exceptions(self, changes: Changes, notes: FleetNotes) -> None:
        """See `AdminRecords`; raises `StoreError`, and then nothing was changed."""
        await self._try(self._writing, lambda store: store.take_exceptions(changes, notes))

    async def fleet_notes(self) -> FleetNotes:
        """See `AdminRecords`; raises `StoreError`."""
        return await self._try(self._reading, lambda store: store.fleet_notes())

    async def said_at(self) -> float | None:
        """See `AdminRecords`; None also if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._reading, lambda store: store.said_at())
        return None

    async def put_said_at(self, at: float) -> None:
        """See `AdminRecords`; if it is lost, a start says again what ends soon."""
        await self._write_or_lose(lambda store: store.put_said_at(at))

    async def put_check(self, check: Check) -> None:
        """See `AdminRecords`; a check that cannot be written is lost, and made again."""
        await self._write_or_lose(lambda store: store.put_check(check))

    async def check(self, domain: Domain) -> Check | None:
        """See `AdminRecords`; None also if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._listing, lambda store: store.check(domain))
        return None

    async def checks(self, since: float, after: Domain | None, limit: int) -> Sequence[Check]:
        """See `AdminRecords`; none if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._listing, lambda store: store.checks(since, after, limit))
        return ()

    async def put_weakenings(self, *weakenings: Weakening) -> None:
        """See `AdminRecords`; events that cannot be written are lost: the log has them, too."""
        number = len(weakenings)
        await self._write_or_lose(lambda store: store.put_weakenings(*weakenings), number)

    async def weakenings(self, since: float, limit: int) -> Sequence[Weakening]:
        """See `AdminRecords`; none if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._listing, lambda store: store.weakenings(since, limit))
        return ()

    async def _write_or_lose(
        self, write: Callable[[Backend], Awaitable[Any]], number: int = 1
    ) -> None:
        try:
            await self._call(self._writing, write)
        except StoreError:
            self.records_lost += number
