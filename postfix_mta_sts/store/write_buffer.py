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
BUFFER_BYTES: Final = 32 * 2**20
"""Bytes of their texts; the same."""
_ROW_BYTES: Final = 1_000
"""Bytes of a row beside the text of its policy."""
_BATCH: Final = 500
_BATCH_BYTES: Final = 4 * 2**20
"""Rows that are written together when the backend works again."""


class WriteBuffer(MemoryStore):
    """A `MemoryStore` of at most `limit` rows, from which a row is removed once it is written."""

    def __init__(self, limit: int = BUFFER_LIMIT, bytes_limit: int = BUFFER_BYTES) -> None:
        super().__init__()
        self.dropped = 0
        """Policies that were removed unwritten, because there were too many."""
        self._limit = limit
        self._bytes_limit = bytes_limit
        self._sizes: dict[Domain, int] = {}  # of the rows that `add` has added, oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.rows)

    async def add(self, domain: Domain, state: State, asked_at: float) -> Row:
        """Save a state that is to be written; return the row of the domain."""
        self._forget_size(domain)
        await self.save(domain, state, asked_at)
        row = self.rows[domain]
        self._sizes[domain] = size_of(row)
        self._bytes += self._sizes[domain]
        while len(self._sizes) > self._limit or self._bytes > self._bytes_limit:
            self.drop(next(iter(self._sizes)))
            self.dropped += 1
        return row

    def add_missing(self, states: Iterable[tuple[Domain, State]]) -> None:
        """Add the states that hold a policy; rows that are in the buffer already are newer.

        The caller holds them in memory in any case, so that the limits do not count them.
        """
        rows = {d: Row(d, s, s.checked_at) for d, s in states if s.policy}
        self.rows = rows | self.rows

    def drop(self, domain: Domain) -> bool:
        """See `MemoryStore`."""
        self._forget_size(domain)
        return super().drop(domain)

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
        while rows := self._next_batch():
            saves = (write_row(backend, row) for row in rows)
            results = await asyncio.gather(*saves, return_exceptions=True)
            for row, error in zip(rows, results, strict=True):
                if error:
                    raise error
                self.remove_written(row)
            written += len(rows)
        return written

    def _next_batch(self) -> list[Row]:
        size = 0
        batch: list[Row] = []
        for row in islice(self.rows.values(), _BATCH):
            batch.append(row)
            size += size_of(row)
            if size > _BATCH_BYTES:
                break
        return batch

    def _forget_size(self, domain: Domain) -> None:
        self._bytes -= self._sizes.pop(domain, 0)


def size_of(row: Row) -> int:
    """Return about how many bytes a row takes."""
    return _ROW_BYTES + (len(row.state.policy.text) if row.state.policy else 0)


def write_row(backend: Store, row: Row) -> Awaitable[None]:
    """Save one row in the backend."""
    return backend.save(row.domain, row.state, row.asked_at)
