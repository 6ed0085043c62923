"""The file of a SQLite store: created for its owner only, migrated, or set aside."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.store import DamagedStoreError, LastAsked, Overview, Row, StoreError
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.schema import APPLICATION_ID, file_identity, set_aside
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.states import a_policy, a_state, policies

GOOD = Domain("good.test")
NOW = 1_700_000_000.0
ASIDE = "policies.db.set-aside-20231114T221320"


async def opened_once(path: Path, schema: Sequence[Sequence[str]] = SCHEMA) -> None:
    """Open a store, save one policy, and close it."""
    store = await SqliteStore.open(path, schema=schema, clock=lambda: NOW)
    await store.save(GOOD, a_state(), 1000.0)
    await store.close()


async def found_after(path: Path, schema: Sequence[Sequence[str]] = SCHEMA) -> State | None:
    """Open a store and load the state of good.test."""
    store = await SqliteStore.open(path, schema=schema, clock=lambda: NOW)
    try:
        return await store.load(GOOD)
    finally:
        await store.close()


def sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Execute statements as another program; return the rows of the last one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [db.execute(statement).fetchall() for statement in statements][-1]


def set_aside_names(path: Path) -> list[str]:
    """Return the names of the files that were set aside."""
    return sorted(entry.name for entry in path.parent.iterdir() if "set-aside" in entry.name)


async def test_new_file(tmp_path: Path) -> None:
    """Only the owner can access the folder, the file, and the files of SQLite beside it."""
    path = tmp_path / "state" / "policies.db"
    store = await SqliteStore.open(path)
    await store.save(GOOD, a_state(), 1000.0)
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
    await store.close()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == {f"policies.db{end}": 0o600 for end in ("", "-wal", "-shm")}


async def test_marks(path: Path) -> None:
    """The file has our application id and the schema version, and is in WAL mode."""
    await opened_once(path)
    assert sql(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert sql(path, "PRAGMA user_version") == [(len(SCHEMA),)]
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]


async def test_reopened(path: Path) -> None:
    """A policy survives closing and opening; nothing is set aside."""
    await opened_once(path)
    assert await found_after(path) == a_state()
    assert not set_aside_names(path)


async def test_link_is_followed(tmp_path: Path, path: Path) -> None:
    """A symbolic link stays a link: the store uses the file that it points to."""
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.db"
    path.symlink_to(target)
    await opened_once(path)
    assert path.is_symlink()
    assert await found_after(target) == a_state()


NEWER = (*SCHEMA, ["ALTER TABLE policies ADD COLUMN note TEXT", "CREATE TABLE notes (note TEXT)"])


async def test_migrates_forward(path: Path) -> None:
    """A file with an older schema is migrated, and keeps its rows."""
    await opened_once(path)
    assert await found_after(path, NEWER) == a_state()
    assert sql(path, "PRAGMA user_version", "SELECT note FROM policies") == [(None,)]
    assert sql(path, "PRAGMA user_version") == [(len(NEWER),)]
    assert not set_aside_names(path)


async def test_failed_migration_changes_nothing(path: Path) -> None:
    """A migration that fails half-way leaves the file unchanged and in its place."""
    await opened_once(path)
    before = sql(path, "SELECT sql FROM sqlite_master")
    with pytest.raises(StoreError, match="syntax error") as caught:
        await SqliteStore.open(path, schema=(*NEWER, ["CREATE TABLE half (a TEXT)", "FAIL"]))
    assert not isinstance(caught.value, DamagedStoreError)
    assert sql(path, "SELECT sql FROM sqlite_master") == before
    assert sql(path, "PRAGMA user_version") == [(len(SCHEMA),)]
    assert await found_after(path) == a_state()
    assert not set_aside_names(path)


async def test_first_schema(path: Path) -> None:
    """A file of the first version keeps its policies, and their modes are known at once."""
    sql(path, *SCHEMA[0], "PRAGMA user_version = 1", f"PRAGMA application_id = {APPLICATION_ID}")
    with closing(sqlite3.connect(path)) as db, db:
        row = ("good.test", "id1", a_policy().text, 1.0, 2.0, 9e9, 3.0)
        db.execute("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    store = await SqliteStore.open(path)
    assert await store.row(GOOD) == Row(GOOD, a_state(1.0, 2.0), asked_at=3.0, asked_count=0)
    await store.touch({GOOD: LastAsked(4.0, 2)})
    assert await store.row(GOOD) == Row(GOOD, a_state(1.0, 2.0), 4.0, 2, ((0, 2),))
    modes = {Mode.ENFORCE: 1, Mode.TESTING: 0, Mode.NONE: 0}
    assert await store.overview(5.0, 3.0) == Overview(modes, 1.0)
    assert await store.history(GOOD) == []
    await store.close()
    assert not set_aside_names(path)


ADDITIVE = ["ALTER TABLE policies ADD COLUMN note TEXT", "PRAGMA user_version = 99"]


async def test_an_additive_newer_schema_is_used(path: Path) -> None:
    """A file of a newer version that older ones can use is read and written (A11)."""
    await opened_once(path)
    sql(path, *ADDITIVE)
    assert await found_after(path) == a_state()
    await opened_once(path)
    assert sql(path, "PRAGMA user_version") == [(99,)]
    assert not set_aside_names(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE compatible SET since = 99",
        "DROP TABLE compatible",
        "DELETE FROM compatible",
        "ALTER TABLE policies RENAME COLUMN dane TO verdict",
    ],
)
async def test_another_newer_schema_is_left_alone(path: Path, change: str) -> None:
    """A file of a newer version that we cannot use stays where and as it is (A11)."""
    await opened_once(path)
    sql(path, change, *ADDITIVE)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="made by a newer version; upgrade") as caught:
        await SqliteStore.open(path)
    assert not isinstance(caught.value, DamagedStoreError)
    assert not set_aside_names(path)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("uncovered")
@settings(max_examples=200, deadline=None)
@given(policies=st.lists(policies(), min_size=1, max_size=5))
def test_mode_is_read_from_the_policy(policies: list[Policy]) -> None:
    """The SQL expression gives the same mode as the parser, in any layout of the policy."""
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in chain.from_iterable(SCHEMA):
            db.execute(statement)
        rows = [(f"d{n}.test", policy.text) for n, policy in enumerate(policies)]
        db.executemany(
            """
            INSERT INTO policies
                (domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at)
                VALUES (?, 'id', ?, 0, 0, 0, 0)
            """,
            rows,
        )
        modes = [mode for (mode,) in db.execute("SELECT mode FROM policies ORDER BY rowid")]
    assert modes == [policy.mode for policy in policies]


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["PRAGMA application_id = 1"], "another program's database"),
        (["PRAGMA user_version = 1"], "another program's database"),
        (["CREATE TABLE mail (id INTEGER)"], "another program's database"),
        (
            [f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1"],
            "no such table: policies",
        ),
    ],
)
async def test_foreign_file(
    path: Path, caplog: pytest.LogCaptureFixture, statements: list[str], reason: str
) -> None:
    """The database of another program is set aside unchanged, with a warning."""
    marks = ["PRAGMA application_id", "PRAGMA user_version"]
    sql(path, *statements)
    before = [sql(path, mark) for mark in marks]
    await opened_once(path)
    assert set_aside_names(path) == [ASIDE]
    assert [sql(path.with_name(ASIDE), mark) for mark in marks] == before
    assert await found_after(path) == a_state()
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "store set aside" in record.getMessage()
    assert ASIDE in record.getMessage()
    assert reason in record.getMessage()


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 8192, b"root:x:0:0\n", b"SQLite format 3\0" + b"\xff" * 8192]
)
async def test_garbage_at_start(path: Path, garbage: bytes) -> None:
    """A file that is not a database is set aside unchanged."""
    path.write_bytes(garbage)
    await opened_once(path)
    assert path.with_name(ASIDE).read_bytes() == garbage
    assert await found_after(path) == a_state()


def test_companions(path: Path) -> None:
    """The files of SQLite beside a file are renamed with it."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"policies.db{end}").write_text(f"text{end}")
    set_aside(path, file_identity(path), "damaged", NOW)
    contents = {entry.name: entry.read_text() for entry in path.parent.iterdir()}
    assert contents == {f"{ASIDE}{e}": f"text{e}" for e in ("", "-wal", "-shm", "-journal")}


async def test_names_do_not_clash(path: Path) -> None:
    """Files that are set aside in the same second get different names."""
    for _ in range(3):
        path.write_bytes(b"garbage")
        await opened_once(path)
    assert set_aside_names(path) == [ASIDE, f"{ASIDE}-2", f"{ASIDE}-3"]


async def test_empty_file_is_used(path: Path) -> None:
    """An empty file, which systemd-tmpfiles may have created, is used as a new one."""
    path.touch()
    await opened_once(path)
    assert await found_after(path) == a_state()
    assert not set_aside_names(path)


async def test_not_a_file(path: Path) -> None:
    """A folder in place of the file is an error, and stays where it is."""
    path.mkdir()
    with pytest.raises(StoreError, match="not a regular file"):
        await SqliteStore.open(path)
    assert path.is_dir()


async def test_no_folder(path: Path) -> None:
    """A file in place of the folder is an error with the path in its reason."""
    path.touch()
    with pytest.raises(StoreError, match=str(path)):
        await SqliteStore.open(path / "policies.db")


async def test_another_process_was_faster(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that another process has just created is not set aside."""
    path.write_bytes(b"garbage")
    found = file_identity(path)
    set_aside(path, found, "damaged", NOW)
    await opened_once(path)
    set_aside(path, found, "damaged", NOW)
    assert await found_after(path) == a_state()
    assert set_aside_names(path) == [ASIDE]
    assert len(caplog.records) == 1


async def test_cannot_be_set_aside(path: Path) -> None:
    """A damaged file that cannot be renamed stays, and the reason is in the error."""
    path.write_bytes(b"garbage")
    long_path = path.with_name("n" * 250)  # with the suffix, too long for a file name
    path.rename(long_path)
    with pytest.raises(StoreError, match="name too long"):
        await SqliteStore.open(long_path)
    assert long_path.read_bytes() == b"garbage"
