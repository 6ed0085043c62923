"""SqliteStore: a file that is damaged, dropped or renamed while open, and `kill -9`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import DamagedStoreError, LastAsked
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.sqlite_file import execute, overwrite, set_aside_files
from tests.support.states import a_policy, a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")
MANY = [Domain(f"d{n}.test") for n in range(200)]


async def filled(path: Path) -> None:
    """Create a store of many pages that no connection has in its cache."""
    store = await SqliteStore.open(path)
    policy = a_policy(note="n" * 3000)
    await asyncio.gather(*(store.save(d, a_state(policy=policy), 0.0) for d in MANY))
    await store.close()


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
async def test_damage_while_open(
    path: Path, ask: Callable[[SqliteStore], Awaitable[object]]
) -> None:
    """Damage raises `DamagedStoreError`; `close` then sets the file aside for a new one."""
    await filled(path)
    store = await SqliteStore.open(path)
    overwrite(path, 4096)
    with pytest.raises(DamagedStoreError, match="malformed"):
        await ask(store)
    await store.close()
    assert len(set_aside_files(path)) == 1
    again = await SqliteStore.open(path)
    await again.save(GOOD, a_state(), 0.0)
    assert await again.load(GOOD) == a_state()
    assert await again.load(MANY[0]) is None
    await again.close()


async def test_table_dropped(store: SqliteStore, path: Path) -> None:
    """A file from which another program dropped our table is damaged."""
    execute(path, "DROP TABLE policies")
    with pytest.raises(DamagedStoreError, match="no such table"):
        await store.load(GOOD)


@pytest.mark.parametrize("replaced", [0, 1])
async def test_file_taken_away(store: SqliteStore, path: Path, replaced: int) -> None:
    """A write to a file that was renamed fails; the file that has its name now is left alone."""
    path.rename(path.with_name("elsewhere.db"))
    for _ in range(replaced):
        other = await SqliteStore.open(path)
        await other.save(OTHER, a_state(), 0.0)
        await other.close()
    with pytest.raises(DamagedStoreError, match="replaced or removed"):
        await store.save(GOOD, a_state(), 0.0)
    await store.close()
    assert not set_aside_files(path)
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
    """After `kill -9`, each policy whose save returned is in the file, with its own age."""
    for run in range(4):
        saved = await killed_while_writing(path, f"run{run}", reports=60 + 40 * run)
        store = await SqliteStore.open(path)
        for name, number in saved.items():
            state = await store.load(Domain(f"{name}.test"))
            assert state
            # The save after the last reported one may have been written, too.
            assert state.fetched_at in (number, number + 1)
            assert state == a_state(state.fetched_at, policy_id=f"id{int(state.fetched_at)}")
        await store.close()
        assert not set_aside_files(path)


async def killed_while_writing(path: Path, name: str, reports: int) -> dict[str, int]:
    """Kill a process while it saves; return what it reported: row → number of the save."""
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
