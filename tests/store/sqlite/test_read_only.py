"""A store on a read-only file system: what is in it counts, and it is written when it can be."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite import file, schema
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.faulty_store import QUICK_RETRY, repaired
from tests.support.sqlite_file import execute, set_aside_files
from tests.support.states import a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")
REASON = "attempt to write a readonly database"


def refused(path: Path, *_: object) -> NoReturn:
    """In the place of `prepare`."""
    raise StoreError(f"{path}: {REASON}")


@pytest.fixture
async def filled(path: Path) -> Path:
    """A file with one policy, closed."""
    store = await SqliteStore.open(path)
    await store.save(GOOD, a_state(), 0.0)
    await store.close()
    return path


@pytest.fixture
def remount(filled: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the file system read-only; `undo` makes it writable again."""
    status = SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    monkeypatch.setattr(file, "prepare", refused)
    return monkeypatch


async def test_policies_are_read(filled: Path, remount: pytest.MonkeyPatch) -> None:
    """A policy on file is found, also in lists; nothing is written until it can be."""
    store = await SqliteStore.open(filled)
    with pytest.raises(StoreError, match=REASON):
        await store.save(OTHER, a_state(), 0.0)
    assert await store.load(GOOD) == a_state()
    assert (await store.row(GOOD)) is not None
    remount.undo()
    await store.save(OTHER, a_state(), 0.0)
    assert [await store.load(domain) for domain in (GOOD, OTHER)] == [a_state()] * 2
    assert (await store.row(OTHER)) is not None
    await store.close()


async def test_it_cannot_be_written_yet(filled: Path, remount: pytest.MonkeyPatch) -> None:
    """It is read all the same, and written later."""
    store = await SqliteStore.open(filled)
    assert (await store.row(GOOD)) is not None
    remount.setattr(file, "read_only_uri", lambda _: None)
    with pytest.raises(StoreError, match=REASON):
        await store.save(OTHER, a_state(), 0.0)
    assert await store.load(GOOD) == a_state()
    assert (await store.row(GOOD)) is not None
    remount.undo()
    await store.save(OTHER, a_state(), 0.0)
    assert await store.load(OTHER) == a_state()
    await store.close()


async def test_the_index_of_the_log_is_read_only(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash there is a log, whose index is opened for reading, too; writing goes on."""
    crashed = await SqliteStore.open(path)
    await crashed.save(GOOD, a_state(), 0.0)
    copy = tmp_path / "copy.db"
    for end in ("", "-wal", "-shm"):
        Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    await crashed.close()
    with monkeypatch.context() as remount:
        uri = f"{copy.as_uri()}?mode=ro&readonly_shm=1"  # as on a read-only file system
        remount.setattr(file, "read_only_uri", lambda _: uri)
        remount.setattr(file, "prepare", refused)
        store = await SqliteStore.open(copy)
        assert await store.load(GOOD) == a_state()
        assert (await store.row(GOOD)) is not None
    await store.save(OTHER, a_state(), 0.0)
    assert [await store.load(domain) for domain in (GOOD, OTHER)] == [a_state()] * 2
    assert (await store.row(OTHER)) is not None
    await store.close()


async def test_it_is_said_at_once(
    filled: Path, remount: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that writing fails before the first policy is to be written."""
    caplog.set_level("INFO")
    store = FailsafeStore(lambda: SqliteStore.open(filled), timing=QUICK_RETRY)
    await store.open()
    assert (store.readable, store.writable) == (True, False)
    assert await store.load(GOOD) == a_state()
    [line] = [each for each in caplog.messages if each.startswith("store failing")]
    assert line.startswith("store failing operation=writing reason=")
    remount.undo()
    await store.save(OTHER, a_state(), 0.0)
    await repaired(store)
    assert store.writable
    await store.close()
    assert any(each.startswith("store recovered operation=writing") for each in caplog.messages)


@pytest.mark.usefixtures("remount")
@pytest.mark.parametrize(
    "change",
    [
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 99",
        "ALTER TABLE policies RENAME COLUMN digest TO something_else",
        "DROP TABLE policies",
    ],
)
async def test_files_that_are_not_usable(filled: Path, change: str) -> None:
    """They are neither read nor set aside; the error is why the file cannot be written."""
    execute(filled, change)
    execute(filled, "UPDATE compatible SET since = 98")
    with pytest.raises(StoreError, match=REASON):
        await SqliteStore.open(filled)
    assert set_aside_files(filled) == []


@pytest.mark.usefixtures("remount")
async def test_damage_is_not_set_aside(filled: Path) -> None:
    """It could not be: the file that takes its place could not be made."""
    store = await SqliteStore.open(filled)
    with pytest.raises(StoreError, match="no such column"):
        await store.file.read(lambda db: db.execute("SELECT no_such FROM policies"))
    await store.close()
    assert set_aside_files(filled) == []


def test_a_log_beside_the_file(filled: Path, remount: pytest.MonkeyPatch) -> None:
    """SQLite takes the log into account, if there is one; only without one nothing can change."""
    assert (schema.read_only_uri(filled) or "").endswith("?mode=ro&immutable=1")
    Path(f"{filled}-wal").write_bytes(b"a log")
    assert (schema.read_only_uri(filled) or "").endswith("?mode=ro")
    assert schema.read_only_uri(filled.with_name("none")) is None
    remount.undo()
    assert schema.read_only_uri(filled) is None
