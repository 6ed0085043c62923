"""The `Backend` in a SQLite file.

What it keeps beside policies is in `records` and `record_rows`. What the threads of the file do
with policies is in `reads`, `writes`, `size` and `takeover`, the SQL in
`statements`, the conversion of rows in `rows`, the file itself in `file`, `schema` and `layout`;
`failsafe` handles failures.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store import (
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    policy_and_id,
)
from postfix_mta_sts.store.sqlite import reads, writes
from postfix_mta_sts.store.sqlite.file import LOCK_TIMEOUT, NO_LIMIT, SqliteFile
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.records import SqliteRecords
from postfix_mta_sts.store.sqlite.takeover import take_over

_ASKED_BYTES: Final = 100
"""Bytes of one last-asked time that waits to be written."""

_log = logging.getLogger(__name__)


class SqliteStore(SqliteRecords):
    """A `Backend` in a file; made by `open`. Its methods raise `StoreError`.

    After a `DamagedStoreError` only `close` may be called; it sets the file aside.
    """

    def __init__(self, file: SqliteFile, clock: Callable[[], float]) -> None:
        super().__init__(file, clock)
        self._lines = RateLimit()
        # Rows are taken over if the file replaces a damaged one.
        self._taking_over = asyncio.create_task(take_over(file, clock()), name="store takeover")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        schema: Sequence[Sequence[str]] = SCHEMA,
        lock_timeout: float = LOCK_TIMEOUT,
        clock: Callable[[], float] = time.time,
        size_limit: Callable[[], int] = lambda: NO_LIMIT,
    ) -> Self:
        """Open or create the store at `path`; see `SqliteFile.open`."""
        file = await SqliteFile.open(
            path, schema=schema, lock_timeout=lock_timeout, clock=clock, size_limit=size_limit
        )
        return cls(file, clock)

    @property
    def unwritable(self) -> str:
        """See `Backend`."""
        return self.file.unwritable

    async def load(self, domain: Domain) -> State | None:
        """See `Store`; a row that is damaged is removed, and None returned."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`; rows that are damaged are removed."""
        now = self._clock()
        loaded = await self.file.read(partial(reads.load, domains, now))
        for domain, reason in loaded.damaged.items():
            self._remove_damaged(domain, reason)
        for domain in loaded.to_correct:
            self.file.write_behind(partial(writes.correct, domain, now))
        return loaded.states

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        policy, _ = policy_and_id(state)
        work = partial(writes.save, domain, state, asked_at, self._clock())
        await self.file.write(work, len(policy.text))

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`."""
        if state.policy:
            work = partial(writes.note, domain, state, self._clock())
            await self.file.write(work, len(state.policy.text))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`."""
        work = partial(writes.touch, asked, self._clock())
        await self.file.write(work, len(asked) * _ASKED_BYTES)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        return await self.file.read_slowly(partial(reads.due, now, asked_since, limit))

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        return await self.file.read_slowly(partial(reads.row, domain, self._clock()))

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`."""
        return await self.file.read_slowly(partial(reads.history, domain, self._clock()))

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; a row that is damaged is left out."""
        return await self.file.read_slowly(partial(reads.page, query, after, limit, self._clock()))

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        return await self.file.read_slowly(partial(reads.overview, now, asked_since))

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        return await self.file.write(partial(writes.forget, domain)) > 0

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        return await self.file.write(partial(writes.remove_expired, before))

    async def remove_idle(self, before: float) -> int:
        """See `Store`."""
        return await self.file.write(partial(writes.remove_idle, before))

    async def close(self) -> None:
        """See `Store`; set the file aside if it is damaged."""
        self.file.refuse_calls()
        self._taking_over.cancel()
        await asyncio.wait([self._taking_over])
        await self.file.close()

    def _remove_damaged(self, domain: Domain, reason: str) -> None:
        if count := self._lines.take(time.monotonic()):
            event(
                _log,
                logging.WARNING,
                "stored policy is not readable",
                domain,
                reason=reason,
                count=count,
            )
        self.file.write_behind(partial(writes.remove_damaged, domain, self._clock()))
