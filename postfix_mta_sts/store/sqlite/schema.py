"""The file of a SQLite store: made, told apart from others, brought up to date, set aside.

Border: everything here blocks, and is called in a thread. No row is read or written.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Final

from postfix_mta_sts import logs
from postfix_mta_sts.store import DamagedStoreError, StoreError

_log = logging.getLogger(__name__)

APPLICATION_ID: Final = int.from_bytes(b"mSTS")
"""What marks a SQLite file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

# A valid policy has neither blanks nor other fields in the name before a colon, so that without
# any blanks its mode can be found by what comes after the first "mode:" of a line.
_FLAT = r"""
    char(10) || replace(replace(replace(policy, char(13), char(10)), ' ', ''), char(9), '')
"""

SCHEMA: Final[Sequence[Sequence[str]]] = (
    (
        # With rowids: a policy may have 64 KiB, too much for a key's own page.
        """
        CREATE TABLE policies (
            domain TEXT NOT NULL PRIMARY KEY,
            policy_id TEXT NOT NULL,
            policy TEXT NOT NULL, -- as it was served
            fetched_at REAL NOT NULL, -- times are epoch seconds
            refetch_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            asked_at REAL NOT NULL
        )
        """,
        # All that `due` reads, so that it never turns to the table.
        "CREATE INDEX policies_due ON policies (refetch_at, asked_at, expires_at, domain)",
        "CREATE INDEX policies_expired ON policies (expires_at)",
    ),
    (
        "ALTER TABLE policies ADD COLUMN asked_count INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE policies ADD COLUMN dane TEXT",  # NULL: nothing is known
        # Read from the policy, not kept: no row is written for it, and the two never differ.
        f"""
        ALTER TABLE policies ADD COLUMN mode TEXT GENERATED ALWAYS AS (
            CASE substr({_FLAT}, instr({_FLAT}, char(10) || 'mode:') + 6, 4)
                WHEN 'enfo' THEN 'enforce'
                WHEN 'test' THEN 'testing'
                WHEN 'none' THEN 'none'
            END
        ) VIRTUAL
        """,
        # All that is asked of many rows at once. With a million of them it takes 1.5 s to make.
        "CREATE INDEX policies_listed ON policies (domain, mode, expires_at)",
        """
        CREATE TABLE history (
            domain TEXT NOT NULL,
            policy_id TEXT NOT NULL,
            mode TEXT NOT NULL,
            mx TEXT NOT NULL, -- separated by blanks
            seen_from REAL NOT NULL,
            seen_to REAL NOT NULL,
            PRIMARY KEY (domain, policy_id, mode, mx)
        ) WITHOUT ROWID
        """,
    ),
)
"""The steps from an empty file to ours; user_version counts those that are done."""

# Primary result codes: https://sqlite.org/rescode.html
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_COLUMNS = """
    SELECT p.domain, p.policy_id, policy, fetched_at, refetch_at, expires_at, asked_at,
        asked_count, dane, p.mode, h.domain, h.policy_id, h.mode, mx, seen_from, seen_to
    FROM policies AS p, history AS h LIMIT 0
"""


@contextmanager
def as_store_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite, aiosqlite and the system raise as `StoreError`, with the path in it."""
    try:
        yield
    # RuntimeError: no more threads; ValueError: what aiosqlite says of a closed connection.
    except (sqlite3.Error, OSError, RuntimeError, ValueError) as error:
        kind = DamagedStoreError if _is_damage(error) else StoreError
        raise kind(f"{path}: {error}") from error


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    # "no such table", "no such column": the file is not laid out as ours are.
    gone = code == sqlite3.SQLITE_ERROR and str(error).startswith("no such ")
    return gone or code in _DAMAGED


def identity(path: Path) -> tuple[int, int] | None:
    """What tells the file at `path` from any other, also of the same name; None if none is."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def prepare(
    path: Path, schema: Sequence[Sequence[str]], busy: float, clock: Callable[[], float]
) -> tuple[int, int] | None:
    """Make the file, or bring it up to date, all or nothing; its `identity`.

    A file that is not ours, or no longer whole, is set aside first. A lock is waited for `busy`
    seconds. Raises `StoreError`; the file is then as it was.
    """
    found = identity(path)
    try:
        _prepare(path, schema, busy)
    except DamagedStoreError as error:
        set_aside(path, found, str(error), clock())
        _prepare(path, schema, busy)
    return identity(path)


def _prepare(path: Path, schema: Sequence[Sequence[str]], busy: float) -> None:
    with as_store_errors(path):
        _make(path)
        with closing(sqlite3.connect(path, timeout=busy, isolation_level=None)) as db:
            _recognise(path, db, len(schema))
            # Readers and the writer do not wait for each other (https://sqlite.org/wal.html).
            db.execute("PRAGMA journal_mode = WAL")
            _migrate(db, schema)
            db.execute(_COLUMNS)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An existing file is not even opened: closing it would give up this process's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600))
    if not path.is_file():  # SQLite would open a device or a pipe, and wait for it
        raise StoreError(f"{path}: not a file")


def _recognise(path: Path, db: sqlite3.Connection, newest: int) -> None:
    db.execute("BEGIN")  # one view of all three, while another process may be at the first step
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    db.execute("COMMIT")
    if application == APPLICATION_ID:
        if version > newest:
            raise DamagedStoreError(
                f"{path}: schema {version} is newer than {newest}, the newest known"
            )
    elif application or version or tables:
        raise DamagedStoreError(f"{path}: another program's database")


def _migrate(db: sqlite3.Connection, schema: Sequence[Sequence[str]]) -> None:
    # Closing the connection rolls back what has not come to its COMMIT.
    db.execute("BEGIN IMMEDIATE")
    done = _pragma(db, "user_version")
    if done < len(schema):
        for statement in chain.from_iterable(schema[done:]):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(schema)}")
    db.execute("COMMIT")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    [(value,)] = db.execute(f"PRAGMA {name}")
    return int(value)


def set_aside(path: Path, found: tuple[int, int] | None, reason: str, now: float) -> None:
    """Give the file, and what SQLite keeps beside it, another name; `now` becomes part of it.

    Nothing is done where `path` is no longer the file that was `found` there: another process
    has been faster. Raises `StoreError`.
    """
    with as_store_errors(path):
        if identity(path) != found:
            return
        aside = _free_name(path, now)
        for companion in _COMPANIONS:
            with suppress(FileNotFoundError):
                Path(f"{path}{companion}").rename(f"{aside}{companion}")
    logs.event(_log, logging.WARNING, "store set aside", path=path, to=aside, reason=reason)


def _free_name(path: Path, now: float) -> str:
    stem = f"{path}.set-aside-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}"
    names = chain([stem], (f"{stem}-{n}" for n in count(2)))
    return next(name for name in names if not Path(name).exists())
