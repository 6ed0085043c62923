"""The size of the file: which rows leave it when it is too large, and how it shrinks.

Functions that the thread of the writing connection calls, in steps of a few MiB, so that a save
gets its turn in between. Pages that hold nothing are used again, and are not counted.
"""

import sqlite3
from typing import Final

from postfix_mta_sts.store.sqlite import statements

LOG_BYTES: Final = 16 * 2**20
"""The write-ahead log is cut to this size after a checkpoint."""
STEP: Final = 8 * 2**20
"""Bytes of policies that one step removes; more than one transaction writes."""
_ROOM_SHARE: Final = 32
"""1/32 of the limit is free after an eviction."""
_ROWS: Final = 2_000
"""Rows that one step removes at most."""
_ROW_OVERHEAD: Final = 500
"""Bytes of a row beside its policy: the other columns, the indices, the history."""
_VACUUM_PAGES: Final = 500
_SHRINK_SHARE: Final = 4
"""The file shrinks if more than 1/4 of its pages hold nothing."""
_INCREMENTAL: Final = 2  # https://sqlite.org/pragma.html#pragma_auto_vacuum


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold something."""
    pages = _pragma(db, "page_count") - _pragma(db, "freelist_count")
    return pages * _pragma(db, "page_size")


def needs_step(db: sqlite3.Connection, limit: int) -> bool:
    """Whether `step` has something to do."""
    if used_bytes(db) <= limit:
        return _can_shrink(db)
    [(is_empty,)] = db.execute(statements.IS_EMPTY).fetchall()
    return not is_empty


def step(limit: int, db: sqlite3.Connection) -> int:
    """Remove the rows that nobody has asked for the longest, or shrink the file; return how many.

    The caller calls it again while `needs_step`.
    """
    excess = used_bytes(db) - limit
    if excess > 0:
        return _evict(db, min(STEP, excess + limit // _ROOM_SHARE))
    db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return 0


def _evict(db: sqlite3.Connection, enough: int) -> int:
    """Remove rows until about `enough` bytes are free."""
    removed = size = 0
    for rowid, length in db.execute(statements.OLDEST_ASKED, (_ROWS,)).fetchall():
        if size >= enough:
            break
        size += (length or 0) + _ROW_OVERHEAD
        db.execute(statements.EVICT_HISTORY, (rowid,))
        removed += db.execute(statements.EVICT, (rowid,)).rowcount
    return removed


def _can_shrink(db: sqlite3.Connection) -> bool:
    """Whether many pages hold nothing, and the file was made so that it can shrink."""
    pages, free = _pragma(db, "page_count"), _pragma(db, "freelist_count")
    large = free > _VACUUM_PAGES and free > pages // _SHRINK_SHARE
    return large and _pragma(db, "auto_vacuum") == _INCREMENTAL


def _pragma(db: sqlite3.Connection, name: str) -> int:
    [(value,)] = db.execute(f"PRAGMA {name}").fetchall()
    return int(value)
