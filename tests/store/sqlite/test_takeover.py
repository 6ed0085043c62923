"""What is taken over from a damaged file, and when."""

import asyncio
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Failure
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import DamagedStoreError, LastAsked, StoreError
from postfix_mta_sts.store.sqlite import takeover
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.schema import APPLICATION_ID
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.support.sqlite_file import execute, overwrite, set_aside_files
from tests.support.states import a_policy, a_state

GOOD = Domain("good.test")
FAILED = replace(
    a_state(),
    failure=Failure("status", "", "HTTP 404", 2, 1200.0),
    backoffs=(Backoff(PolicyId("id1"), 2, 5000.0),),
)
LAST = a_state(policy=a_policy(note="n" * 50_000))
"""Its pages are at the end of the file."""
MANY = [Domain(f"d{n}.test") for n in range(500)]


async def damaged(path: Path) -> None:
    """Make a file with `GOOD` and others, of which the last pages are garbage."""
    store = await SqliteStore.open(path)
    await store.save(GOOD, a_state(500.0, policy_id="id0"), 0.0)
    await store.save(GOOD, FAILED, 0.0)
    await store.touch({GOOD: LastAsked(7000.0, 3)})
    await asyncio.gather(*(store.save(domain, a_state(), 0.0) for domain in MANY))
    await store.save(Domain("last.test"), LAST, 0.0)
    await store.close()
    overwrite(path, path.stat().st_size - 12_000)


async def replaced(path: Path) -> SqliteStore:
    """Let a store find the damage and be closed; open the next one and wait for its rows."""
    store = await SqliteStore.open(path)
    with pytest.raises(DamagedStoreError):
        await store.load(Domain("last.test"))
    await store.close()
    return await SqliteStore.open(path)


async def test_readable_rows_are_taken_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows keep their state, when and how often they were asked for, and their history."""
    await damaged(path)
    store = await replaced(path)
    await store._taking_over
    row = await store.row(GOOD)
    assert row
    assert (row.state, row.asked_at, row.asked_count) == (FAILED, 7000.0, 3)
    assert row.asked_days == ((0, 3),)
    assert [entry.policy_id for entry in await store.history(GOOD)] == ["id1", "id0"]
    assert (await store.load_all(MANY)).keys() == set(MANY)
    assert await store.load(Domain("last.test")) is None
    await store.close()
    assert len(set_aside_files(path)) == 1
    assert execute(path, "SELECT * FROM takeover") == []
    assert "policies taken over from the damaged file" in caplog.text
    assert "count=501 lost=1" in caplog.text


async def test_a_full_disk_when_the_file_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is made by the next `close`, and still takes the rows over."""
    await damaged(path)
    store = await SqliteStore.open(path)
    with pytest.raises(DamagedStoreError):
        await store.load(Domain("last.test"))

    def full(*_: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("postfix_mta_sts.store.sqlite.file.prepare_heir", full)
        with pytest.raises(StoreError, match="disk full"):
            await store.close()
    await store.close()
    again = await SqliteStore.open(path)
    await again._taking_over
    assert await again.load(GOOD) == FAILED
    await again.close()


async def test_a_newer_row_stays(path: Path) -> None:
    """What was saved in the new file before its old row came is not replaced."""
    await damaged(path)
    store = await replaced(path)
    newer = a_state(9000.0, policy_id="id2")
    await store.save(GOOD, newer, 0.0)
    await store._taking_over
    assert await store.load(GOOD) == newer
    await store.close()


async def test_a_takeover_goes_on_after_a_restart(path: Path) -> None:
    """A daemon that ends in between loses nothing: the next one begins the walk again."""
    await damaged(path)
    store = await replaced(path)
    await store.close()
    again = await SqliteStore.open(path)
    await again._taking_over
    assert await again.load(GOOD) == FAILED
    await again.close()


async def test_a_takeover_ends_in_time(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk that takes too long is given up, once and for all."""
    await damaged(path)
    monkeypatch.setattr(takeover, "TIME_LIMIT", 0.0)
    store = await replaced(path)
    await store._taking_over
    await store.close()
    assert execute(path, "SELECT * FROM takeover") == []


async def test_a_file_that_is_gone(path: Path) -> None:
    """The administrator has removed the damaged file: there is nothing to take over."""
    await damaged(path)
    store = await replaced(path)
    await store.close()
    for file in set_aside_files(path):
        file.unlink()
    execute(path, "DELETE FROM policies")
    again = await SqliteStore.open(path)
    await again._taking_over
    assert await again.load(GOOD) is None
    await again.close()
    assert execute(path, "SELECT * FROM takeover") == []


async def test_a_file_of_the_first_version(path: Path, tmp_path: Path) -> None:
    """Its rows lack columns and a digest; they are taken over as they are."""
    old = tmp_path / "old.db"
    for statement in (*SCHEMA[0], f"PRAGMA application_id = {APPLICATION_ID}"):
        execute(old, statement)
    row = ("good.test", "id1", a_policy().text, 1000.0, 2000.0, 9e9, 3.0)
    execute(old, "INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    await (await SqliteStore.open(path)).close()
    execute(path, "INSERT INTO takeover VALUES (?)", str(old))
    store = await SqliteStore.open(path)
    await store._taking_over
    assert await store.load(GOOD) == a_state()
    await store.close()


async def test_another_programs_file_is_not_walked(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What another program keeps in a table of that name is not ours."""
    old = tmp_path / "old.db"
    for statement in SCHEMA[0]:
        execute(old, statement)
    await (await SqliteStore.open(path)).close()
    execute(path, "INSERT INTO takeover VALUES (?)", str(old))
    store = await SqliteStore.open(path)
    await store._taking_over
    await store.close()
    assert "taken over" not in caplog.text
