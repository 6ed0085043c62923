"""A store that does not fail: it wraps a backend that may, and keeps unwritten policies in memory.

Of the methods of `Store` only `load` and `load_all` raise: their caller must know whether there is
no row, or whether it could not be read. `guarded_records` has the methods of `AdminRecords`. No
fault of the disk loses a policy that is in memory. `guard` calls the backend, which may be of any
kind; this module merges what it has with what is in memory.

`save` first puts a state into the write buffer, which every read consults before the backend. The
state leaves the buffer when the backend has it. While writing is known to fail, `save` does
nothing else: the task `store repair`, which runs only while there is something to repair, writes
the state later.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter, methodcaller
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import (
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    StoreError,
    keep_verdict,
)
from postfix_mta_sts.store.days import merge
from postfix_mta_sts.store.guarded_records import GuardedRecords
from postfix_mta_sts.store.history import merge_history
from postfix_mta_sts.store.write_buffer import write_row
from postfix_mta_sts.values import replace

_TOUCH_BATCH: Final = 5000
"""Last-asked times that are written in one call, so that a save gets its turn in between."""


class FailsafeStore(GuardedRecords):
    """A `Store` of which only `load` and `load_all` raise; call `open` first and `close` last.

    Of its `AdminRecords` those about exceptions raise.
    """

    asked_lost = 0
    """Last-asked times that were never written."""

    async def load(self, domain: Domain) -> State | None:
        """See `Store`; raises `StoreError`."""
        return (await self.load_all([domain])).get(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`; raises `StoreError` if one of the rows must be read and cannot be."""
        buffered = await self._buffer.load_all(domains) if self._buffer.rows else {}
        stored: Mapping[Domain, State] = {}
        if others := [domain for domain in domains if domain not in buffered]:
            await self._wait_for_opening()
            stored = await self._call(self._reading, lambda store: store.load_all(others))
        if not self._buffer.rows and not buffered:
            return stored
        # A row that was written during the read has left the buffer, and was not read.
        newer = {**buffered, **await self._buffer.load_all(domains)}
        return {**stored, **{d: keep_verdict(stored.get(d), state) for d, state in newer.items()}}

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`; a state that cannot be written stays in memory and is written later."""
        row = await self._buffer.add(domain, state, asked_at)
        try:
            if not self._writing.failing:
                await self._call(self._writing, lambda store: write_row(store, row))
                self._buffer.remove_written(row)
        except StoreError:
            pass  # `_call` has recorded it
        finally:  # also if the caller was cancelled while it waited
            if domain in self._buffer.rows:  # or what was noted meanwhile
                self._start_repair()

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`; what cannot be written is found again by a later attempt."""
        await self._buffer.note(domain, state)
        with suppress(StoreError):
            await self._call(self._writing, lambda store: store.note(domain, state))

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`; times that cannot be written are lost, except of policies in memory."""
        await self._buffer.touch(asked)
        items = list(asked.items())
        for start in range(0, len(items), _TOUCH_BATCH):
            batch = dict(items[start : start + _TOUCH_BATCH])
            try:
                await self._touch_backend(batch)
            except StoreError:
                self.asked_lost += len(batch)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`; domains in memory come first."""
        due = list(await self._buffer.due(now, asked_since, limit))
        buffered = frozenset(self._buffer.rows)
        with suppress(StoreError):
            stored = await self._call(
                self._reading, lambda store: store.due(now, asked_since, limit)
            )
            due += [domain for domain in stored if domain not in buffered]
        return due[:limit]

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`; only what is in memory if the backend cannot be read."""
        row = await self._buffer.row(domain)
        with suppress(StoreError):
            stored = await self._call(self._reading, lambda store: store.row(domain))
            if row and stored:  # only the backend counts what was asked before this fetch
                return replace(
                    row,
                    state=keep_verdict(stored.state, row.state),
                    asked_at=max(row.asked_at, stored.asked_at),
                    asked_count=max(row.asked_count, stored.asked_count),
                    asked_days=merge(row.asked_days, stored.asked_days),
                )
            row = row or stored
        return row

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`; only what is in memory if the backend cannot be read."""
        history = list(await self._buffer.history(domain))[::-1]
        with suppress(StoreError):
            stored = await self._call(self._reading, lambda store: store.history(domain))
            for entry in stored:
                history = merge_history(history, entry)
        return history[::-1]

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; only what is in memory if the backend cannot be read."""
        rows: list[Row] = []
        with suppress(StoreError):
            rows = [row async for row in self._backend_rows(query, after, limit)]
        rows += await self._buffer.page(query, after, limit)
        return sorted(rows, key=attrgetter("domain"))[:limit]

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`; counts what is in memory only if the backend cannot be read."""
        with suppress(StoreError):
            return await self._call(self._listing, lambda store: store.overview(now, asked_since))
        return await self._buffer.overview(now, asked_since)

    async def forget(self, domain: Domain) -> bool:
        """See `Store`; a row that the backend cannot remove is read again later."""
        found = await self._buffer.forget(domain)
        with suppress(StoreError):
            found |= await self._call(self._writing, lambda store: store.forget(domain))
        return found

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        removed = await self._buffer.remove_expired(before)
        with suppress(StoreError):
            removed += await self._call(self._writing, lambda store: store.remove_expired(before))
        return removed

    async def remove_idle(self, before: float) -> int:
        """See `Store`."""
        removed = await self._buffer.remove_idle(before)
        with suppress(StoreError):
            removed += await self._call(self._writing, lambda store: store.remove_idle(before))
        return removed

    async def _backend_rows(
        self, query: RowFilter, after: Domain | None, limit: int
    ) -> AsyncIterator[Row]:
        """Yield rows of which memory has nothing newer: at least `limit`, if there are as many.

        It may yield more than `limit`: the merge with memory is complete only up to the last row
        that was read.
        """
        found = 0
        while found < limit:
            read_page = methodcaller("page", query, after, limit)
            rows: Sequence[Row] = await self._call(self._listing, read_page)
            if not rows:
                return
            after = rows[-1].domain
            for row in rows:
                if row.domain not in self._buffer.rows:
                    found += 1
                    yield row

    async def _touch_backend(self, asked: Mapping[Domain, LastAsked]) -> None:
        await self._call(self._writing, lambda store: store.touch(asked))
