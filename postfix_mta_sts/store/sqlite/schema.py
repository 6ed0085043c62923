"""The file of a SQLite store: create it, check that it is ours, migrate it, set it aside.

All functions block; call them in a thread. This module reads and writes no rows.
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
"""Marks a SQLite file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

# The policy with LF line ends and without blanks, and a LF before its first line. The name of a
# field contains no blanks, so that the mode is what follows the first line start with "mode:".
_FLAT = r"""
    char(10) || replace(replace(replace(policy, char(13), char(10)), ' ', ''), char(9), '')
"""

SCHEMA: Final[Sequence[Sequence[str]]] = (
    (
        # With rowids: a policy may have 64 KiB, too much for a page of a WITHOUT ROWID table.
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
        # All columns that `due` reads, so that it never reads the table.
        "CREATE INDEX policies_due ON policies (refetch_at, asked_at, expires_at, domain)",
        "CREATE INDEX policies_expired ON policies (expires_at)",
    ),
    (
        "ALTER TABLE policies ADD COLUMN asked_count INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE policies ADD COLUMN dane TEXT",  # NULL: nothing is known
        # Virtual: computed from the policy, so that the migration writes no rows and the two never
        # differ.
        f"""
        ALTER TABLE policies ADD COLUMN mode TEXT GENERATED ALWAYS AS (
            CASE substr({_FLAT}, instr({_FLAT}, char(10) || 'mode:') + 6, 4)
                WHEN 'enfo' THEN 'enforce'
                WHEN 'test' THEN 'testing'
                WHEN 'none' THEN 'none'
            END
        ) VIRTUAL
        """,
        # All columns that lists and counts read. With a million rows it takes 1.5 s to create.
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
    (
        "ALTER TABLE policies ADD COLUMN failures TEXT",  # NULL: the last attempt succeeded
    ),
)
"""The migrations, starting from an empty file; user_version counts those that were applied."""

# Primary result codes: https://sqlite.org/rescode.html
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_PROBE = """
    SELECT p.domain, p.policy_id, policy, fetched_at, refetch_at, expires_at, asked_at,
        asked_count, dane, failures, p.mode, h.domain, h.policy_id, h.mode, mx, seen_from, seen_to
    FROM policies AS p, history AS h LIMIT 0
"""


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite, aiosqlite and the system as `StoreError`; its text names the path."""
    try:
        yield
    # RuntimeError: no more threads can be started; ValueError: aiosqlite's connection is closed.
    except (sqlite3.Error, OSError, RuntimeError, ValueError) as error:
        kind = DamagedStoreError if _is_damage(error) else StoreError
        raise kind(f"{path}: {error}") from error


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    # "no such table", "no such column": the file does not have our schema.
    missing = code == sqlite3.SQLITE_ERROR and str(error).startswith("no such ")
    return missing or code in _DAMAGED


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes the file at `path` from a later one of that name; None if none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def prepare(
    path: Path, schema: Sequence[Sequence[str]], lock_timeout: float, clock: Callable[[], float]
) -> tuple[int, int] | None:
    """Create or migrate the file, all or nothing; return its `file_identity`.

    A file that is damaged or belongs to another program is set aside first. `lock_timeout`:
    seconds to wait for a lock. Raises `StoreError`; the file is then unchanged.
    """
    before = file_identity(path)
    try:
        _prepare(path, schema, lock_timeout)
    except DamagedStoreError as error:
        set_aside(path, before, str(error), clock())
        _prepare(path, schema, lock_timeout)
    return file_identity(path)


def _prepare(path: Path, schema: Sequence[Sequence[str]], lock_timeout: float) -> None:
    with translate_errors(path):
        _create(path)
        with closing(sqlite3.connect(path, timeout=lock_timeout, isolation_level=None)) as db:
            _check_ownership(path, db, len(schema))
            # So that readers and the writer do not wait for each other (https://sqlite.org/wal.html).
            db.execute("PRAGMA journal_mode = WAL")
            _migrate(db, schema)
            db.execute(_PROBE)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Do not open an existing file: closing it would release this process's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600))
    if not path.is_file():  # SQLite would open a device or a pipe and block
        raise StoreError(f"{path}: not a regular file")


def _check_ownership(path: Path, db: sqlite3.Connection, newest: int) -> None:
    db.execute("BEGIN")  # one consistent read of all three: another process may be migrating
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    db.execute("COMMIT")
    if application == APPLICATION_ID:
        if version > newest:
            raise DamagedStoreError(
                f"{path}: schema {version} is newer than {newest}, the newest supported"
            )
    elif application or version or tables:
        raise DamagedStoreError(f"{path}: another program's database")


def _migrate(db: sqlite3.Connection, schema: Sequence[Sequence[str]]) -> None:
    # Without a COMMIT, closing the connection rolls back.
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


def set_aside(path: Path, opened: tuple[int, int] | None, reason: str, now: float) -> None:
    """Rename the file, and those that SQLite keeps beside it; the new name contains `now`.

    `opened`: the `file_identity` of the file to rename. If `path` is another file by now, another
    process was faster, and nothing is done. Raises `StoreError`.
    """
    with translate_errors(path):
        if file_identity(path) != opened:
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
