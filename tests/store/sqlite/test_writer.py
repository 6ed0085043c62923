"""SqliteStore: which writes share a commit, what waits for a lock, and what fails with what."""

import asyncio
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.store.sqlite.writer import BATCH_BYTES
from tests.support.sqlite_file import locked
from tests.support.states import a_policy, a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")
MANY = [Domain(f"d{n}.test") for n in range(200)]
UNTIL_RELEASED = 60.0  # a lock timeout that no test reaches: only the release ends the wait


async def until_writing() -> None:
    """Wait until the rows of a save that has just started are being written."""
    for _ in range(2):  # first the save queues its row, then the writer takes it
        await asyncio.sleep(0)


async def test_saves_share_a_commit(store: SqliteStore) -> None:
    """Saves that are called together share one commit: 200 of them."""
    await asyncio.gather(*(store.save(domain, a_state(), 0.0) for domain in MANY))
    assert store.file.commits == 1
    assert len(await store.due(5000.0, 0.0, 1000)) == len(MANY)


async def test_saves_wait_for_the_next_commit(path: Path) -> None:
    """All saves that are called during a transaction go into the next one."""
    store = await SqliteStore.open(path, lock_timeout=UNTIL_RELEASED)
    with locked(path):
        first = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
        await until_writing()
        rest = [asyncio.create_task(store.save(domain, a_state(), 0.0)) for domain in MANY]
        await asyncio.sleep(0)  # each queues its row
        assert store.file.commits == 0
    await asyncio.gather(first, *rest)
    assert store.file.commits == 2
    await store.close()


async def test_commits_reach_the_disk(store: SqliteStore) -> None:
    """A commit ends when it is on disk, so that it survives a power failure (FULL is 2)."""
    synchronous = await store.file.writing.run(
        lambda db: db.execute("PRAGMA synchronous").fetchall()
    )
    assert synchronous == [(2,)]


async def test_order_is_kept(store: SqliteStore) -> None:
    """Of several saves of one domain in one commit, the last one wins."""
    states = [a_state(1000.0 + n, policy_id=f"id{n}") for n in range(5)]
    await asyncio.gather(*(store.save(GOOD, state, 0.0) for state in states))
    assert store.file.commits == 1
    assert await store.load(GOOD) == states[-1]


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
async def test_a_locked_file_fails_writes_only(store: SqliteStore, path: Path, how: str) -> None:
    """While the file is locked, writes fail and reads succeed; then writes succeed again."""
    await store.save(GOOD, a_state(), 0.0)
    with locked(path, how):
        with pytest.raises(StoreError, match="locked"):
            await store.save(OTHER, a_state(), 0.0)
        with pytest.raises(StoreError, match="locked"):
            await store.remove_expired(1e12)
        assert await store.load(GOOD) == a_state()
        assert await store.due(5000.0, 0.0, 9) == [GOOD]
    await store.save(OTHER, a_state(), 0.0)
    assert await store.load(OTHER) == a_state()


async def test_reads_pass_a_waiting_writer(path: Path) -> None:
    """A read is answered while a write waits for a lock."""
    store = await SqliteStore.open(path, lock_timeout=UNTIL_RELEASED)
    await store.save(GOOD, a_state(), 0.0)
    with locked(path):
        waiting = asyncio.create_task(store.save(OTHER, a_state(), 0.0))
        await until_writing()
        assert await store.load(GOOD) == a_state()
        assert not waiting.done()
    await waiting
    await store.close()


async def test_failing_saves_fail_together(path: Path) -> None:
    """Saves that were queued while a write waited fail together with it."""
    store = await SqliteStore.open(path, lock_timeout=0.2)
    with locked(path):
        first = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
        await until_writing()
        second = asyncio.create_task(store.save(OTHER, a_state(), 0.0))
        results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError]
    assert results[0] is not results[1]
    assert store.file.writer.task is None
    await store.close()


async def test_a_cancelled_save_is_written(path: Path) -> None:
    """A cancelled save removes nothing from its transaction, not even its own rows."""
    store = await SqliteStore.open(path, lock_timeout=UNTIL_RELEASED)
    with locked(path):
        saves = [asyncio.create_task(store.save(d, a_state(), 0.0)) for d in (GOOD, OTHER)]
        await until_writing()
        saves[0].cancel()
    await saves[1]
    assert await store.load(GOOD) == a_state()
    await store.close()


async def test_a_failure_reaches_the_saves_that_wait(path: Path) -> None:
    """If a transaction fails, the saves that were not cancelled raise its error."""
    store = await SqliteStore.open(path, lock_timeout=0.2)
    with locked(path):
        saves = [asyncio.create_task(store.save(d, a_state(), 0.0)) for d in (GOOD, OTHER)]
        await until_writing()
        saves[0].cancel()
        results = await asyncio.gather(*saves, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, StoreError]
    await store.close()


async def test_long_policies_are_written_in_several_transactions(store: SqliteStore) -> None:
    """No transaction takes more than some MiB, however many saves wait."""
    long = a_state(policy=a_policy(note="n" * 60_000))
    await asyncio.gather(*(store.save(domain, long, 0.0) for domain in MANY))
    assert store.file.commits >= len(MANY) * 60_000 // BATCH_BYTES


async def test_what_waits_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk hangs, a write is refused above the limit, and others are not lost."""
    monkeypatch.setattr("postfix_mta_sts.store.sqlite.writer.QUEUE_BYTES", 2**20)
    store = await SqliteStore.open(path, lock_timeout=UNTIL_RELEASED)
    long = a_state(policy=a_policy(note="n" * 60_000))
    with locked(path):
        saves = [asyncio.create_task(store.save(d, long, 0.0)) for d in MANY[:5]]
        await until_writing()
        more = [asyncio.create_task(store.save(d, long, 0.0)) for d in MANY[:30]]
        await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
    results = await asyncio.gather(*saves, *more, return_exceptions=True)
    refused = [str(error) for error in results if error]
    assert set(refused) == {"too much waits to be written"}
    assert (len(results) - len(refused)) * 60_000 < 2 * 2**20
    await store.close()


async def test_a_fault_of_ours_ends_no_writer(store: SqliteStore) -> None:
    """A write that fails by a bug fails alone with those of its transaction; the next works."""

    def broken(_: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(StoreError, match="internal error"):
        await store.file.write(broken)
    await store.save(GOOD, a_state(), 0.0)
    assert await store.load(GOOD) == a_state()


async def test_close_writes_first(path: Path) -> None:
    """`close` writes what is queued; later calls raise an error."""
    store = await SqliteStore.open(path, lock_timeout=UNTIL_RELEASED)
    with locked(path):
        first = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
        await until_writing()
        second = asyncio.create_task(store.save(OTHER, a_state(), 0.0))
        await asyncio.sleep(0)
        close = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="closed"):
            await store.save(MANY[0], a_state(), 0.0)
        with pytest.raises(StoreError, match="closed"):
            await store.load(GOOD)
    await asyncio.gather(first, second, close)
    again = await SqliteStore.open(path)
    assert await again.due(5000.0, 0.0, 9) == [GOOD, OTHER]
    await again.close()
