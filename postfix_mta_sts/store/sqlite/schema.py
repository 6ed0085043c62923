"""The file of a SQLite store: create it, check that it is ours, migrate it, set it aside.

All functions block; call them in a thread. The tables are in `layout`.
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
from postfix_mta_sts.store.sqlite.exception_takeover import take_exceptions_over
from postfix_mta_sts.store.sqlite.layout import PROBE, RECORDS_PROBE, SCHEMA

_log = logging.getLogger(__name__)

APPLICATION_ID: Final = int.from_bytes(b"mSTS")
"""Marks a SQLite file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

# Primary result codes: https://sqlite.org/rescode.html
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS = ("", "-wal", "-shm", "-journal")


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
    seconds to wait for a lock. Raises `StoreError`; the file is then unchanged. One that a newer
    version made is used if that version says that we can, and our statements work there.
    """
    before = file_identity(path)
    try:
        _prepare(path, schema, lock_timeout)
    except DamagedStoreError as error:
        aside = set_aside(path, before, str(error), clock())
        _prepare(path, schema, lock_timeout, aside)
    return file_identity(path)


def prepare_heir(path: Path, aside: Path, lock_timeout: float) -> None:
    """Make the file that takes over the rows of one that was set aside. Raises `StoreError`."""
    _prepare(path, SCHEMA, lock_timeout, aside)


def read_only_uri(path: Path) -> str | None:
    """How SQLite opens a file on a read-only file system; None: it is not on one, or not there.

    Without a log nobody can change it, and SQLite would fail to make one.
    """
    with suppress(OSError):
        if path.is_file() and os.statvfs(path).f_flag & os.ST_RDONLY:
            log = Path(f"{path}-wal")
            at_rest = not (log.exists() and log.stat().st_size)
            return f"{path.as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"
    return None


def check_readable(path: Path, schema: Sequence[Sequence[str]], db: sqlite3.Connection) -> bool:
    """Return whether the file has the tables of `records`; an old one has not.

    Raises `StoreError` or `sqlite3.Error` if our statements cannot read policies in it.
    """
    if _version(path, db) > len(schema):
        _check_newer(path, db, len(schema))
    db.execute(PROBE)
    with suppress(sqlite3.Error):
        db.execute(RECORDS_PROBE)
        return True
    return False


def _prepare(
    path: Path, schema: Sequence[Sequence[str]], lock_timeout: float, aside: Path | None = None
) -> None:
    with translate_errors(path):
        _create(path)
        with closing(sqlite3.connect(path, timeout=lock_timeout, isolation_level=None)) as db:
            if _version(path, db) > len(schema):
                _check_newer(path, db, len(schema))
                return
            # Without effect on a file that has tables (https://sqlite.org/pragma.html).
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            # So that readers and the writer do not wait for each other (https://sqlite.org/wal.html).
            db.execute("PRAGMA journal_mode = WAL")
            _migrate(db, schema)
            db.execute(PROBE)
            db.execute(RECORDS_PROBE)
            if aside:
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT INTO takeover VALUES (?)", (str(aside),))
                take_exceptions_over(aside, APPLICATION_ID, db)
                db.execute("COMMIT")


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Do not open an existing file: closing it would release this process's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600))
    if not path.is_file():  # SQLite would open a device or a pipe and block
        raise StoreError(f"{path}: not a regular file")


def _version(path: Path, db: sqlite3.Connection) -> int:
    """Return the version of the schema; raise `DamagedStoreError` if the file is not ours."""
    db.execute("BEGIN")  # one consistent read of all three: another process may be migrating
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    db.execute("COMMIT")
    if application != APPLICATION_ID and (application or version or tables):
        raise DamagedStoreError(f"{path}: another program's database")
    return version


def _check_newer(path: Path, db: sqlite3.Connection, newest: int) -> None:
    """Raise `StoreError` if this version cannot use a file that a newer one made."""
    try:
        [(since,)] = db.execute("SELECT since FROM compatible").fetchall()
        db.execute(PROBE)
        db.execute(RECORDS_PROBE)
    except (sqlite3.Error, ValueError) as error:
        if _is_damage(error) and "no such" not in str(error):
            raise
        since = None
    if since is None or since > newest:
        raise StoreError(
            f"{path}: made by a newer version; upgrade this one, or move the file away"
        )


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


def set_aside(path: Path, opened: tuple[int, int] | None, reason: str, now: float) -> Path | None:
    """Rename the file, and those that SQLite keeps beside it; return the new name.

    `opened`: the `file_identity` of the file to rename. If `path` is another file by now, another
    process was faster, and nothing is done (None). Raises `StoreError`.
    """
    with translate_errors(path):
        if file_identity(path) != opened:
            return None
        aside = _free_name(path, now)
        for companion in _COMPANIONS:
            with suppress(FileNotFoundError):
                Path(f"{path}{companion}").rename(f"{aside}{companion}")
    logs.event(_log, logging.WARNING, "store set aside", path=path, to=aside, reason=reason)
    return Path(aside)


def _free_name(path: Path, now: float) -> str:
    stem = f"{path}.set-aside-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}"
    names = chain([stem], (f"{stem}-{n}" for n in count(2)))
    return next(name for name in names if not Path(name).exists())
