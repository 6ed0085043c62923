"""Take the readable exceptions of a damaged file over into the one that replaces it.

They are few, so that this is done before the new file is used: no look-up is answered without them.
With them go the notes about those of a fleet: what is not readable here comes back from there.
`takeover` does the same with policies, later.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, FleetNotes
from postfix_mta_sts.store.sqlite.record_rows import (
    fleet_notes,
    insert_exception,
    take_exceptions,
    valid_exceptions,
)

_COLUMNS: Final = "rowid, CAST(scope AS TEXT), CAST(content AS TEXT), CAST(digest AS BLOB)"
_SCAN: Final = f"SELECT {_COLUMNS} FROM exceptions ORDER BY rowid"  # noqa: S608 (constant columns)
_STEP: Final = f"SELECT {_COLUMNS} FROM exceptions WHERE rowid = ?"  # noqa: S608 (the same)
_LIMIT: Final = 2 * EXCEPTIONS_LIMIT
"""Rows that are read, and rowids that are tried after a row that cannot be read."""

_log = logging.getLogger(__name__)


def take_exceptions_over(aside: Path, application_id: int, db: sqlite3.Connection) -> None:
    """Insert the exceptions of the file `aside`, if it has this id, into the new file.

    Raises `sqlite3.Error` if the new file cannot be written.
    """
    rows: list[Sequence[Any]] = []
    notes: list[FleetNotes] = []
    reason = ""
    with suppress(sqlite3.Error), closing(_opened(aside)) as damaged:
        if _has_exceptions(damaged, application_id):
            reason = _collect(rows, damaged)
            notes = fleet_notes(damaged).values
    found = valid_exceptions(rows)
    for exception in found.values:
        insert_exception(exception, db)
    for each in notes:
        take_exceptions({}, each, db)
    if found.values or found.damaged or reason:
        event(
            _log,
            logging.WARNING,
            "exceptions taken over from the damaged file",
            path=aside,
            count=len(found.values),
            reason=reason or next(iter(found.damaged), None),
        )


def _opened(path: Path) -> sqlite3.Connection:
    """Open a file that was set aside, without a change to it."""
    # Without a log SQLite would make one, and leave it there.
    immutable = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro{immutable}", uri=True)
    db.text_factory = bytes
    return db


def _has_exceptions(db: sqlite3.Connection, application_id: int) -> bool:
    [(found,)] = db.execute("PRAGMA application_id")
    tables = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'exceptions'").fetchall()
    return bool(found == application_id and tables)


def _collect(rows: list[Sequence[Any]], db: sqlite3.Connection) -> str:
    """Add the rows that can be read; return why others cannot, if so."""
    last = 0
    try:
        for last, *columns in db.execute(f"{_SCAN} LIMIT {_LIMIT}"):  # noqa: B007 (used after an error)
            rows.append(columns)
    except sqlite3.Error as error:
        for rowid in range(last + 1, last + 1 + _LIMIT):
            with suppress(sqlite3.Error):
                rows += [columns for _, *columns in db.execute(_STEP, (rowid,))]
        return str(error)
    return ""
