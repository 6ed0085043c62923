"""What other programs and bad disks do to a SQLite file: lock it, change it, damage it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, how: str = "IMMEDIATE") -> Iterator[None]:
    """Hold a lock of another program: IMMEDIATE stops writers, EXCLUSIVE new readers as well."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"BEGIN {how}")
        yield
        db.execute("ROLLBACK")


def execute(path: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """Execute a statement on a connection of its own; return its rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(sql, parameters).fetchall()


def overwrite(path: Path, start: int) -> None:
    """Write garbage from offset `start` to the end of the file, which may be open."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(start)
        file.write(b"\xa5" * (size - start))


def set_aside_files(path: Path) -> list[Path]:
    """Return the files that were set aside, without those that SQLite keeps beside them."""
    return [p for p in path.parent.glob("*.set-aside-*") if not p.name.endswith(("-wal", "-shm"))]
