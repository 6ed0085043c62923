"""Policies that were saved and are not in the backend yet.

`failsafe` decides when to write them; this module keeps the newest state of each domain, limits
their number, and writes them in batches.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import Row, Store
from postfix_mta_sts.store.memory import MemoryStore

BUFFER_LIMIT: Final = 10_000
"""Policies kept for a backend that fails; beyond that the oldest are dropped."""
_BATCH: Final = 500
"""Rows that are written together when the backend works again."""


class WriteBuffer(MemoryStore):
    """A `MemoryStore` of at most `limit` rows, from which a row is removed once it is written."""

    def __init__(self, limit: int = BUFFER_LIMIT) -> None:
        super().__init__()
        self.dropped = 0
        """Policies that were removed unwritten, because there were too many."""
        self._limit = limit

    def __len__(self) -> int:
        return len(self.rows)

    async def add(self, domain: Domain, state: State, asked_at: float) -> Row:
        """Save a state that is to be written; return the row of the domain."""
        await self.save(domain, state, asked_at)
        row = self.rows[domain]
        if len(self) > self._limit:
            self.drop(next(iter(self.rows)))
            self.dropped += 1
        return row

    def add_missing(self, states: Iterable[tuple[Domain, State]]) -> None:
        """Add the states that hold a policy; rows that are in the buffer already are newer."""
        rows = {d: Row(d, s, s.checked_at) for d, s in states if s.policy}
        self.rows = rows | self.rows

    def contains(self, row: Row) -> bool:
        """Whether this row is still to be written, and no newer one of its domain."""
        current = self.rows.get(row.domain)
        return current is not None and current.state is row.state

    def remove_written(self, row: Row) -> None:
        """Remove a row that is in the backend now; a newer one of its domain stays."""
        if self.contains(row):
            self.drop(row.domain)

    async def write_to(self, backend: Store) -> int:
        """Write all rows, in batches; return how many. Raises `StoreError`."""
        written = 0
        while rows := list(islice(self.rows.values(), _BATCH)):
            saves = (write_row(backend, row) for row in rows)
            results = await asyncio.gather(*saves, return_exceptions=True)
            for row, error in zip(rows, results, strict=True):
                if error:
                    raise error
                self.remove_written(row)
            written += len(rows)
        return written


def write_row(backend: Store, row: Row) -> Awaitable[None]:
    """Save one row in the backend."""
    return backend.save(row.domain, row.state, row.asked_at)
