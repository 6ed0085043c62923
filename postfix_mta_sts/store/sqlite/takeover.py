"""Take the readable rows of a damaged file over into the one that replaces it.

The damaged file is walked by rowid; what cannot be read is stepped over. Rows are checked by their
digest, so that nothing comes over that was never stored. The daemon works with the new file
meanwhile, and a row that is there already stays. After a restart in between the walk begins again.
SQLite's own `.recover` is part of its shell, not of its library.
"""

import asyncio
import logging
import re
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from postfix_mta_sts.logs import event
from postfix_mta_sts.store import HistoryEntry, Row, StoreError
from postfix_mta_sts.store.sqlite import reads, statements
from postfix_mta_sts.store.sqlite.connection import SqliteConnection
from postfix_mta_sts.store.sqlite.file import SqliteFile
from postfix_mta_sts.store.sqlite.layout import DAY_COLUMNS
from postfix_mta_sts.store.sqlite.rows import columns_of, day_columns, valid_rows
from postfix_mta_sts.store.sqlite.schema import APPLICATION_ID
from postfix_mta_sts.store.sqlite.thread import call_in_thread

TIME_LIMIT: Final = 600.0
"""Seconds for all of it: a million rows take 60 s of CPU, and the disk may be failing."""
_CHUNK_ROWS: Final = 200
_CHUNK_BYTES: Final = 2 * 2**20
"""What is read, and then written, together."""
_STEPS: Final = 100
"""Rows that are read one by one after a scan has found one that cannot be read."""
_ERRORS: Final = 100_000
"""Rowids that cannot be read, after which the rest of the file is given up."""
_ADDED_LATER: Final = frozenset(
    {"asked_count", "dane", "failures", "claimed_at", "digest", *DAY_COLUMNS}
)
"""Columns that an older file does not have."""

_log = logging.getLogger(__name__)


class OldRow(NamedTuple):
    """A row of the damaged file."""

    row: Row
    history: Sequence[HistoryEntry]


class Walk:
    """The walk over a damaged file; its methods run in the thread of the connection to it.

    `now`: the time of the wall clock.
    """

    def __init__(self, now: float) -> None:
        self.is_ours = False
        self.done = False
        self.found = 0
        """Rows that were readable."""
        self.total: int | None = None
        """Rows that the smallest index has; None if it is damaged."""
        self._now = now
        self._next = 1
        self._errors = 0
        self._scan_sql = statements.SCAN
        self._step_sql = statements.STEP

    def begin(self, db: sqlite3.Connection) -> None:
        """Prepare the walk; it is over at once if the file is not ours."""
        with suppress(sqlite3.Error):
            [(application,)] = db.execute("PRAGMA application_id").fetchall()
            self.is_ours = application == APPLICATION_ID
            columns = db.execute("SELECT name FROM pragma_table_info('policies')").fetchall()
            for name in _ADDED_LATER - {column.decode() for (column,) in columns}:
                self._scan_sql = re.sub(rf"\b{name}\b", "NULL", self._scan_sql)
                self._step_sql = re.sub(rf"\b{name}\b", "NULL", self._step_sql)
        with suppress(sqlite3.Error):
            [(self.total,)] = db.execute("SELECT count(*) FROM policies").fetchall()
        self.done = not self.is_ours

    def next_rows(self, db: sqlite3.Connection) -> list[OldRow]:
        """Return some of the rows that come next; the walk is over when `done` is set."""
        rows: list[OldRow] = []
        try:
            self._scan(rows, db)
        except sqlite3.Error:
            for _ in range(_STEPS):
                self._step(rows, db)
            if not rows:
                self._errors += _STEPS
        self.done |= self._errors >= _ERRORS
        self.found += len(rows)
        return rows

    def _scan(self, found: list[OldRow], db: sqlite3.Connection) -> None:
        size = 0
        for rowid, *columns in db.execute(self._scan_sql, (self._next,)):
            for row in valid_rows([columns], self._now):
                self._next = rowid + 1
                found.append(OldRow(row, self._history(row, db)))
                size += _size_of(row)
            if len(found) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                return
        self.done = True

    def _step(self, found: list[OldRow], db: sqlite3.Connection) -> None:
        """Read one row by its rowid: a scan loses the row before the one that it cannot read."""
        rowid, self._next = self._next, self._next + 1
        try:
            rows = db.execute(self._step_sql, (rowid,)).fetchall()
        except sqlite3.Error:
            self._errors += 1
        else:
            valid = valid_rows([columns for _, *columns in rows], self._now)
            found += [OldRow(row, self._history(row, db)) for row in valid]

    def _history(self, row: Row, db: sqlite3.Connection) -> Sequence[HistoryEntry]:
        with suppress(sqlite3.Error):
            return reads.history(row.domain, self._now, db)
        return ()


async def take_over(file: SqliteFile, now: float) -> None:
    """Take rows over, if the file replaces a damaged one; `now` is the time of the wall clock."""
    with suppress(StoreError):  # the new file fails, too: begin again when it is opened next
        if paths := await file.read(_pending):
            try:
                await _take_over_from(Path(paths[0]), file, Walk(now))
            except (ValueError, OverflowError) as error:  # damage that we did not think of
                event(_log, logging.ERROR, "takeover failed by an internal error", exc_info=error)
            await file.write(_end)


async def _take_over_from(path: Path, file: SqliteFile, walk: Walk) -> None:
    reason = await _walk(path, file, walk)
    if walk.is_ours:
        lost = None if walk.total is None else max(0, walk.total - walk.found)
        event(
            _log,
            logging.WARNING,
            "policies taken over from the damaged file",
            path=path,
            count=walk.found,
            lost=lost,
            reason=reason,
        )


async def _walk(path: Path, file: SqliteFile, walk: Walk) -> str | None:
    """Carry out the walk; return why it ended early, if it did."""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            damaged = await _open_damaged(path)
            try:
                await damaged.run(walk.begin)
                while not walk.done:
                    rows = await damaged.run(walk.next_rows)
                    size = sum(_size_of(old.row) for old in rows)
                    await file.write(partial(_insert_all, rows), size)
            finally:
                await damaged.close()
    except TimeoutError:
        return f"it took longer than {TIME_LIMIT:g} s"
    except sqlite3.Error as error:
        return str(error)
    return None


async def _open_damaged(path: Path) -> SqliteConnection:
    """Open a file that was set aside, without a change to it. Raises `sqlite3.Error`."""
    has_log = await call_in_thread(Path(f"{path}-wal").exists)
    # Without a log SQLite would make one, and leave it there.
    options = "mode=ro" if has_log else "mode=ro&immutable=1"
    return await SqliteConnection.open(f"{path.as_uri()}?{options}", 0.0)


def _size_of(row: Row) -> int:
    return len(row.state.policy.text) if row.state.policy else 0


def _pending(db: sqlite3.Connection) -> list[str]:
    """Return the path of the file whose rows are to be taken over, if there is one."""
    rows = db.execute("SELECT CAST(path AS TEXT) FROM takeover").fetchall()
    return [path.decode("utf-8", "surrogateescape") for (path,) in rows]


def _insert_all(rows: Sequence[OldRow], db: sqlite3.Connection) -> int:
    return sum(_insert(row, history, db) for row, history in rows)


def _insert(row: Row, history: Sequence[HistoryEntry], db: sqlite3.Connection) -> int:
    """Add a row to the new file, unless it has one; return how many were added."""
    claimed_at = None if row.is_dated else row.state.fetched_at
    columns = columns_of(row.domain, row.state, claimed_at)
    given = (*columns, row.asked_at, row.asked_count, *day_columns(row.asked_days))
    if db.execute(statements.TAKE_OVER, given).rowcount < 1:
        return 0
    for entry in history:
        policy = entry.policy_id, entry.mode, " ".join(entry.mx)
        seen = entry.seen_from, entry.seen_to
        db.execute(statements.TAKE_OVER_HISTORY, (row.domain, *policy, *seen))
    return 1


def _end(db: sqlite3.Connection) -> int:
    return db.execute("DELETE FROM takeover").rowcount
