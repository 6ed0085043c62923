"""The SQLite store: what shares a commit, what waits for what, and how it fails."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from re import findall

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError
from postfix_mta_sts.store import DamagedStoreError, LastAsked, StoreError
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.store.sqlite import store as sqlite
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.states import TEXT, a_policy, a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")
MANY = [Domain(f"d{n}.test") for n in range(200)]
BUSY = 0.05
ENDLESS = 60.0  # as a wait for a lock: only its release ends it in a test's time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "policies.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """A new store that waits but a moment for a lock."""
    new = await SqliteStore.open(path, busy=BUSY)
    yield new
    await new.close()


@contextmanager
def locked(path: Path, how: str = "IMMEDIATE") -> Iterator[None]:
    """While another program is writing to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"BEGIN {how}")
        yield
        db.execute("ROLLBACK")


def change(path: Path, sql: str, *parameters: object) -> None:
    """Another program changes the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(sql, parameters)


async def until_writing() -> None:
    """Return when the rows of a save that was just begun are being written."""
    for _ in range(2):  # the save puts down its row; the writer takes it
        await asyncio.sleep(0)


async def test_saves_share_a_commit(store: SqliteStore) -> None:
    """Saves that come together are written together: 200 of them in one commit."""
    await asyncio.gather(*(store.save(domain, a_state(), 0.0) for domain in MANY))
    assert store.commits == 1
    assert len(await store.due(5000.0, 0.0, 1000)) == len(MANY)


async def test_many_are_loaded_at_once(store: SqliteStore) -> None:
    """One read gives the states of many domains, and leaves out those of which there is none."""
    states = {domain: a_state(float(n), 9e9) for n, domain in enumerate(MANY)}
    await asyncio.gather(*(store.save(domain, state, 1.0) for domain, state in states.items()))
    assert await store.load_all([*MANY, GOOD]) == states


async def test_saves_wait_for_the_next_commit(path: Path) -> None:
    """What comes while a transaction is being written goes into the next one, all of it."""
    store = await SqliteStore.open(path, busy=ENDLESS)
    with locked(path):
        first = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
        await until_writing()
        rest = [asyncio.create_task(store.save(domain, a_state(), 0.0)) for domain in MANY]
        await asyncio.sleep(0)  # each puts down its row
        assert store.commits == 0
    await asyncio.gather(first, *rest)
    assert store.commits == 2
    await store.close()


async def test_commits_reach_the_disk(store: SqliteStore) -> None:
    """A commit is over when the disk has it, so that it outlives a power cut (FULL is 2)."""
    synchronous = await store._writing.run(lambda db: db.execute("PRAGMA synchronous").fetchall())
    assert synchronous == [(2,)]


async def test_order_is_kept(store: SqliteStore) -> None:
    """Of two saves of one domain in one commit the later one stands."""
    states = [a_state(1000.0 + n, policy_id=f"id{n}") for n in range(5)]
    await asyncio.gather(*(store.save(GOOD, state, 0.0) for state in states))
    assert store.commits == 1
    assert await store.load(GOOD) == states[-1]


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
async def test_locked(store: SqliteStore, path: Path, how: str) -> None:
    """A locked file fails what is to be written, and only that; then it works again."""
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
    store = await SqliteStore.open(path, busy=ENDLESS)
    await store.save(GOOD, a_state(), 0.0)
    with locked(path):
        waiting = asyncio.create_task(store.save(OTHER, a_state(), 0.0))
        await until_writing()
        assert await store.load(GOOD) == a_state()
        assert not waiting.done()
    await waiting
    await store.close()


async def test_failing_saves_fail_together(path: Path) -> None:
    """Those that came while a write waited for a lock in vain do not wait for it in turn."""
    store = await SqliteStore.open(path, busy=0.2)
    with locked(path):
        first = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
        await until_writing()
        second = asyncio.create_task(store.save(OTHER, a_state(), 0.0))
        results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError]
    assert results[0] is not results[1]
    assert store._writer is None
    await store.close()


async def test_giving_up_cancels_nothing(path: Path) -> None:
    """Whoever gives up waiting for a commit takes nobody's rows out of it, nor his own."""
    store = await SqliteStore.open(path, busy=ENDLESS)
    with locked(path):
        saves = [asyncio.create_task(store.save(d, a_state(), 0.0)) for d in (GOOD, OTHER)]
        await until_writing()
        saves[0].cancel()
    await saves[1]
    assert await store.load(GOOD) == a_state()
    await store.close()


async def test_giving_up_on_a_failure(path: Path) -> None:
    """Whoever has given up is not told of the failure; the others are."""
    store = await SqliteStore.open(path, busy=0.2)
    with locked(path):
        saves = [asyncio.create_task(store.save(d, a_state(), 0.0)) for d in (GOOD, OTHER)]
        await until_writing()
        saves[0].cancel()
        results = await asyncio.gather(*saves, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, StoreError]
    await store.close()


async def test_close_writes_first(path: Path) -> None:
    """What waits to be written when the store is closed is written; then nothing is taken."""
    store = await SqliteStore.open(path, busy=ENDLESS)
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


async def test_read_only(store: SqliteStore) -> None:
    """A file that cannot be written fails what is to be written, and can be read."""
    await store.save(GOOD, a_state(), 0.0)
    await store._writing.run(lambda db: db.execute("PRAGMA query_only = ON").fetchall())
    with pytest.raises(StoreError, match="readonly database"):
        await store.save(OTHER, a_state(), 0.0)
    assert await store.load(GOOD) == a_state()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("policy", "version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1"),
        ("policy", b"version: STSv1\nmode: none\nmax_age: 1\nnote: \xff\n", "not UTF-8"),
        ("policy", 5.0, "no colon"),
        ("policy_id", "no id!", "id is not"),
        ("policy_id", "n" * 33, "id is not"),
        ("policy_id", "two\nlines", "id is not"),
        ("refetch_at", "soon", "another type"),
    ],
)
async def test_unreadable_row(
    store: SqliteStore,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    column: str,
    value: object,
    reason: str,
) -> None:
    """A row that stands for no valid policy is not there, is removed, and is logged once."""
    await store.save(GOOD, a_state(), 0.0)
    change(path, f"UPDATE policies SET {column} = ?", value)  # noqa: S608 (a column of ours)
    assert await store.load(GOOD) is None
    await store.touch({})  # comes after the removal
    assert await store.due(5000.0, 0.0, 9) == []
    assert await store.load(GOOD) is None
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert record.getMessage().startswith("good.test: stored policy is not readable")
    assert reason in record.getMessage()


async def test_unreadable_row_of_a_locked_file(store: SqliteStore, path: Path) -> None:
    """That such a row cannot be removed now is nobody's trouble."""
    await store.save(GOOD, a_state(), 0.0)
    change(path, "UPDATE policies SET policy = ''")
    with locked(path):
        assert await store.load(GOOD) is None
        await asyncio.wait([store._writer] if store._writer else [])
    assert await store.load(GOOD) is None


async def test_removal_spares_a_newer_row(store: SqliteStore) -> None:
    """A policy that is saved before an unreadable one has been removed stays."""
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    row = ["id1", "", "1000.0", "2000.0"]
    store._remove_unreadable(GOOD, row, InvalidPolicyError(0, "no version field"))
    await store.touch({})  # comes after the removal
    assert await store.load(GOOD) == later


async def test_bounded_removal(store: SqliteStore, path: Path) -> None:
    """A call removes but some thousands, so that no save waits long; the next goes on."""
    most = sqlite._REMOVED_AT_ONCE
    with closing(sqlite3.connect(path)) as db, db:
        row = ("id1", TEXT, 0.0, 0.0, 1.0, 0.0)
        rows = [(f"d{n}.test", *row) for n in range(most + 1)]
        db.executemany("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?, ?, 0, NULL)", rows)
    assert [await store.remove_expired(2.0) for _ in range(3)] == [most, 1, 0]


async def test_queries_use_their_indices(store: SqliteStore, path: Path) -> None:
    """What is done with a million rows is done by an index, and `due` reads nothing else."""
    queries = {
        "due": statements.DUE,
        "remove": statements.REMOVE_EXPIRED,
        "load": statements.LOAD,
        "touch": statements.TOUCH,
        "page": statements.PAGE,
        "oldest": statements.OLDEST,
        "modes": statements.BY_MODE,
        "history": statements.HISTORY,
    }
    with closing(sqlite3.connect(path)) as db:
        plans = {
            name: " / ".join(
                row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", [1] * _places(query))
            )
            for name, query in queries.items()
        }
    assert plans["due"] == "SEARCH policies USING COVERING INDEX policies_due (refetch_at<?)"
    assert "USING COVERING INDEX policies_expired (expires_at<?)" in plans["remove"]
    for name in ("due", "remove", "load", "touch", "page"):
        assert "SCAN policies" not in plans[name]
    assert "USING INDEX sqlite_autoindex_policies_1 (domain=?)" in plans["load"]
    assert "USING INDEX sqlite_autoindex_policies_1 (domain=?)" in plans["touch"]
    assert plans["page"] == "SEARCH policies USING INDEX policies_listed (domain>?)"
    assert plans["oldest"] == "SCAN policies USING INDEX policies_due"
    assert findall("^SCAN policies USING (COVERING )?INDEX policies_listed$", plans["modes"])
    assert "SEARCH history USING PRIMARY KEY (domain=?)" in plans["history"]


def _places(query: str) -> int:
    return len(set(findall(r"\?\d", query))) or query.count("?")


def set_aside(path: Path) -> list[Path]:
    """The files that have been set aside, without what lies beside them."""
    return [p for p in path.parent.glob("*.set-aside-*") if not p.name.endswith(("-wal", "-shm"))]


async def filled(path: Path) -> None:
    """A store of many pages, nothing of it in any connection's memory."""
    store = await SqliteStore.open(path)
    policy = a_policy(note="n" * 3000)
    await asyncio.gather(*(store.save(d, a_state(policy=policy), 0.0) for d in MANY))
    await store.close()


def overwrite(path: Path) -> None:
    """Garbage from the second page on, in the very file that is open."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.load(MANY[0]),
        lambda store: store.save(GOOD, a_state(), 0.0),
        lambda store: store.touch({MANY[0]: LastAsked(9.0, 1)}),
        lambda store: store.due(5000.0, 0.0, 9),
        lambda store: store.remove_expired(1e12),
    ],
)
async def test_damaged_in_the_middle(
    path: Path, ask: Callable[[SqliteStore], Awaitable[object]]
) -> None:
    """Damage that shows later is told as such; closing sets the file aside for a new one."""
    await filled(path)
    store = await SqliteStore.open(path)
    overwrite(path)
    with pytest.raises(DamagedStoreError, match="malformed"):
        await ask(store)
    await store.close()
    assert len(set_aside(path)) == 1
    again = await SqliteStore.open(path)
    await again.save(GOOD, a_state(), 0.0)
    assert await again.load(GOOD) == a_state()
    assert await again.load(MANY[0]) is None
    await again.close()


async def test_table_dropped(store: SqliteStore, path: Path) -> None:
    """A file out of which somebody took our table is a damaged one."""
    change(path, "DROP TABLE policies")
    with pytest.raises(DamagedStoreError, match="no such table"):
        await store.load(GOOD)


@pytest.mark.parametrize("replaced", [0, 1])
async def test_file_taken_away(store: SqliteStore, path: Path, replaced: int) -> None:
    """A write to a file that lost its name is no success; what has the name now is left alone."""
    path.rename(path.with_name("elsewhere.db"))
    for _ in range(replaced):
        other = await SqliteStore.open(path)
        await other.save(OTHER, a_state(), 0.0)
        await other.close()
    with pytest.raises(DamagedStoreError, match="no longer the file that was opened"):
        await store.save(GOOD, a_state(), 0.0)
    await store.close()
    assert not set_aside(path)
    again = await SqliteStore.open(path)
    assert await again.due(5000.0, 0.0, 9) == [OTHER] * replaced
    await again.close()


WRITER = """
import asyncio, os, sys
from pathlib import Path
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.states import a_state

async def write(store, name):
    for n in range(1_000_000):
        await store.save(f"{name}.test", a_state(float(n), policy_id=f"id{n}"), float(n))
        os.write(1, f"{name} {n}\\n".encode())

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, f"{sys.argv[2]}x{i}") for i in range(8)))

asyncio.run(main())
"""


async def test_kill_in_the_middle_of_writes(path: Path) -> None:
    """After `kill -9` every policy whose save returned is there, with its own age."""
    for run in range(4):
        saved = await killed_while_writing(path, f"run{run}", reports=60 + 40 * run)
        store = await SqliteStore.open(path)
        for name, number in saved.items():
            state = await store.load(Domain(f"{name}.test"))
            assert state
            # The save after the last that was reported may have been written, too.
            assert state.fetched_at in (number, number + 1)
            assert state == a_state(state.fetched_at, policy_id=f"id{int(state.fetched_at)}")
        await store.close()
        assert not set_aside(path)


async def killed_while_writing(path: Path, name: str, reports: int) -> dict[str, int]:
    """What a process said that it had saved, before it was killed: row → number of the save."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), name, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    said = [await process.stdout.readline() for _ in range(reports)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    lines = [line.decode().split() for line in said if line.endswith(b"\n")]
    return {row: int(number) for row, number in lines}


async def test_unreadable_verdict(store: SqliteStore, path: Path) -> None:
    """What is no verdict of ours is none, and costs no policy."""
    await store.save(GOOD, a_state(), 0.0)
    for text in ("", "{}", "\xff", b"\xff\x00"):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE policies SET dane = ?", (text,))
        state = await store.load(GOOD)
        assert state
        assert (bool(state.policy), state.dane) == (True, None)
