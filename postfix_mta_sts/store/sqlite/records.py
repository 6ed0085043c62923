"""The `AdminRecords` of a SQLite store; what its threads do is in `record_rows`."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from sqlite3 import Connection
from typing import Final, TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store.records import (
    CHECKS_LIMIT,
    WEAKENINGS_LIMIT,
    Changes,
    FleetNotes,
    short_check,
    short_weakening,
    too_many,
)
from postfix_mta_sts.store.sqlite import record_rows
from postfix_mta_sts.store.sqlite.file import SqliteFile
from postfix_mta_sts.store.sqlite.record_rows import Decoded

_T = TypeVar("_T")

_RECORD_BYTES: Final = 1_024
"""Bytes of a check or an event in the file, rather more than less."""
_EXCEPTION_BYTES: Final = 2_048
_MARK_BYTES: Final = 300
_CHECKS_SHARE: Final = 8
"""Checks take at most 1/8 of the size that the rows may have: policies are worth more."""
_WEAKENINGS_SHARE: Final = 16

_KINDS: Final = "exception", "fleet", "check", "weakening"

_log = logging.getLogger(__name__)


class SqliteRecords:
    """The part of a `SqliteStore` that administrators write and read."""

    def __init__(self, file: SqliteFile, clock: Callable[[], float]) -> None:
        self.file = file
        self._clock = clock
        self._record_lines = {kind: RateLimit() for kind in _KINDS}

    async def exceptions(self) -> Sequence[PolicyException]:
        """See `AdminRecords`; by the connection of look-ups, so that no list of policies delays it.

        That they are few is what keeps it short.
        """
        return await self._found("exception", record_rows.exceptions, is_short=True)

    async def put_exception(self, exception: PolicyException) -> None:
        """See `AdminRecords`."""
        if not await self.file.write(partial(record_rows.put_exception, exception)):
            raise too_many()

    async def remove_exception(self, scope: Scope) -> bool:
        """See `AdminRecords`."""
        return await self.file.write(partial(record_rows.remove_exception, scope)) > 0

    async def take_exceptions(self, changes: Changes, notes: FleetNotes) -> None:
        """See `AdminRecords`."""
        size = _EXCEPTION_BYTES * len(changes) + _MARK_BYTES * len(notes.marks)
        await self.file.write(partial(record_rows.take_exceptions, changes, notes), size)

    async def fleet_notes(self) -> FleetNotes:
        """See `AdminRecords`."""
        found = await self._found("fleet", record_rows.fleet_notes, is_short=True)
        return next(iter(found), FleetNotes())

    async def said_at(self) -> float | None:
        """See `AdminRecords`."""
        if not self.file.has_records:
            return None
        return await self.file.read(record_rows.said_at)

    async def put_said_at(self, at: float) -> None:
        """See `AdminRecords`."""
        await self.file.write(partial(record_rows.put_said_at, at))

    async def put_check(self, check: Check) -> None:
        """See `AdminRecords`."""
        limit = self._limit(CHECKS_LIMIT, _CHECKS_SHARE)
        await self.file.write(partial(record_rows.put_check, short_check(check), limit))

    async def check(self, domain: Domain) -> Check | None:
        """See `AdminRecords`."""
        work = partial(record_rows.check, domain, self._clock())
        return next(iter(await self._found("check", work)), None)

    async def checks(self, since: float, after: Domain | None, limit: int) -> Sequence[Check]:
        """See `AdminRecords`."""
        work = partial(record_rows.checks, since, after, limit, self._clock())
        return await self._found("check", work)

    async def put_weakenings(self, *weakenings: Weakening) -> None:
        """See `AdminRecords`."""
        limit = self._limit(WEAKENINGS_LIMIT, _WEAKENINGS_SHARE)
        work = partial(record_rows.put_weakenings, [*map(short_weakening, weakenings)], limit)
        await self.file.write(work)

    async def weakenings(self, since: float, limit: int) -> Sequence[Weakening]:
        """See `AdminRecords`."""
        work = partial(record_rows.weakenings, since, limit)
        return await self._found("weakening", work)

    def _limit(self, most: int, share: int) -> int:
        """Return how many records of a kind the file may have."""
        return min(most, self.file.size_limit // share // _RECORD_BYTES)

    async def _found(
        self, kind: str, work: Callable[[Connection], Decoded[_T]], *, is_short: bool = False
    ) -> list[_T]:
        """Read records; an older file that cannot be written has none."""
        if not self.file.has_records:
            return []
        read = self.file.read if is_short else self.file.read_slowly
        return self._usable(kind, await read(work))

    def _usable(self, kind: str, found: Decoded[_T]) -> list[_T]:
        """Return what can be used; say in the log if there is something else."""
        if found.damaged and (count := self._record_lines[kind].take(time.monotonic())):
            event(
                _log,
                logging.WARNING,
                "stored record is not readable",
                kind=kind,
                reason=found.damaged[0],
                count=max(count, len(found.damaged)),
            )
        return found.values
