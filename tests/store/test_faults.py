"""FailsafeStore with a real file and real faults: answers continue, and no policy is lost."""

import asyncio
import json
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import Backend, StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.faulty_store import memory_of, repaired
from tests.support.sqlite_file import execute, locked, overwrite
from tests.support.states import a_policy, a_state

DOMAINS = [Domain(f"d{n}.test") for n in range(100)]
BIG = a_policy(note="n" * 3000)
KNOWN = {domain: a_state(1000.0 + n, policy=BIG) for n, domain in enumerate(DOMAINS)}
NEW = Domain("new.test")
TIMING = Timing(retry=0.02, replace=0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "policies.db"


@pytest.fixture
def known() -> dict[Domain, State]:
    """The states that the resolver holds in memory."""
    return {}


@pytest.fixture
async def store(
    path: Path, known: dict[Domain, State], caplog: pytest.LogCaptureFixture
) -> AsyncIterator[FailsafeStore]:
    """A store that has not been opened yet."""
    caplog.set_level(logging.INFO)

    async def backend() -> Backend:
        return await SqliteStore.open(path, lock_timeout=0.02)

    new = FailsafeStore(backend, in_memory=memory_of(known), timing=TIMING)
    yield new
    await new.close()


def stored_domains(path: Path) -> set[str]:
    """Return the domains that another program finds in the file."""
    return {str(row[0]) for row in execute(path, "SELECT domain FROM policies")}


def logged(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    """Return the log lines that contain `what`."""
    return [record.getMessage() for record in caplog.records if what in record.getMessage()]


async def filled(path: Path) -> None:
    """Create a file with all of `KNOWN`, none of it in a cache or a log of SQLite."""
    store = await SqliteStore.open(path)
    await asyncio.gather(*(store.save(domain, state, 0.0) for domain, state in KNOWN.items()))
    await store.close()


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
async def test_locked(
    store: FailsafeStore, path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """A lock stops no answer; when it is released all is written; two lines are logged."""
    await filled(path)
    await store.open()
    with locked(path, how):
        for n in range(20):
            await store.save(NEW, a_state(2000.0 + n), 0.0)
        assert await store.load(NEW) == a_state(2019.0)
        assert await store.load(DOMAINS[0]) == KNOWN[DOMAINS[0]]
        assert store.unwritten == 1
    await repaired(store)
    assert stored_domains(path) == {NEW, *DOMAINS}
    assert len(logged(caplog, "store failing")) == 1
    assert "database is locked" in logged(caplog, "store failing")[0]
    assert len(logged(caplog, "store recovered")) == 1


async def test_locked_at_start(store: FailsafeStore, path: Path) -> None:
    """A new file that is locked at the start is set up as soon as the lock is released."""
    path.touch()
    with locked(path, "EXCLUSIVE"):
        await store.open()
        await store.save(NEW, a_state(), 0.0)
        assert await store.load(NEW) == a_state()
        assert store.unwritten == 1
    await repaired(store)
    assert stored_domains(path) == {NEW}


@pytest.mark.parametrize("start", [0, 4096])
@pytest.mark.parametrize("found_by", ["load", "save"])
async def test_damage_while_open(
    store: FailsafeStore,
    known: dict[Domain, State],
    path: Path,
    caplog: pytest.LogCaptureFixture,
    start: int,
    found_by: str,
) -> None:
    """A file that is overwritten is set aside; all states in memory go into a new one."""
    await filled(path)
    await store.open()
    known.update(KNOWN)
    overwrite(path, start)
    if found_by == "load":
        with pytest.raises(StoreError):
            await store.load(DOMAINS[0])
    await store.save(NEW, a_state(), 0.0)
    assert await store.load(NEW) == a_state()
    await repaired(store)
    assert stored_domains(path) == {NEW, *DOMAINS}
    assert len(logged(caplog, "store failing")) == 1
    assert len(logged(caplog, "store set aside")) == 1
    assert len(logged(caplog, "store recovered")) == 1


@pytest.mark.parametrize("kind", ["garbage", "foreign"])
async def test_foreign_file_at_start(
    store: FailsafeStore, path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A file that is damaged or of another program is set aside, and a new one is created."""
    if kind == "garbage":
        path.write_bytes(b"\xa5" * 9000)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE mail (id INTEGER)")
    await store.open()
    await store.save(NEW, a_state(), 0.0)
    assert await store.load(NEW) == a_state()
    assert stored_domains(path) == {NEW}
    assert len(logged(caplog, "store set aside")) == 1


async def test_folder_in_place_of_the_file(
    store: FailsafeStore, known: dict[Domain, State], path: Path
) -> None:
    """While a folder is in the place of the file, the store works in memory."""
    path.mkdir()
    await store.open()
    known.update(KNOWN)
    await store.save(NEW, a_state(), 0.0)
    assert await store.load(NEW) == a_state()
    path.rmdir()
    await repaired(store)
    assert stored_domains(path) == {NEW, *DOMAINS}


async def test_read_only(store: FailsafeStore, path: Path) -> None:
    """A file that cannot be written is read; new policies are written when it can be."""
    await filled(path)
    await store.open()
    backend = store._backend
    assert isinstance(backend, SqliteStore)
    await backend.file.writing.run(lambda db: db.execute("PRAGMA query_only = ON").fetchall())
    await store.save(NEW, a_state(), 0.0)
    assert await store.load(NEW) == a_state()
    assert await store.load(DOMAINS[0]) == KNOWN[DOMAINS[0]]
    assert store.unwritten == 1
    await backend.file.writing.run(lambda db: db.execute("PRAGMA query_only = OFF").fetchall())
    await repaired(store)
    assert stored_domains(path) == {NEW, *DOMAINS}


async def test_file_removed(store: FailsafeStore, known: dict[Domain, State], path: Path) -> None:
    """A file that is removed is created again, with all states in memory."""
    await filled(path)
    await store.open()
    known.update(KNOWN)
    path.unlink()
    await store.save(NEW, a_state(), 0.0)
    await repaired(store)
    assert stored_domains(path) == {NEW, *DOMAINS}


FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.store.test_faults import KNOWN

async def main():
    store = FailsafeStore(lambda: SqliteStore.open(Path(sys.argv[1])), timing=Timing(retry=0.02))
    await store.open()
    # Python ignores SIGXFSZ: a write beyond the limit raises an error, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    for domain, state in KNOWN.items():
        await store.save(domain, state, 0.0)
    full = {"unwritten": store.unwritten, "failures": store.failures}
    full["served"] = sum([await store.load(d) == state for d, state in KNOWN.items()])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await store._repair_task
    full["unwritten later"] = store.unwritten
    await store.close()
    print(json.dumps(full))

asyncio.run(main())
"""


async def test_full_disk(path: Path) -> None:
    """On a full disk all policies are served; they are written when there is space again."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FULL_DISK,
        str(path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    full = json.loads(out)
    assert full["unwritten"] > 0
    assert full["failures"] > 0
    assert full["served"] == len(KNOWN)
    assert full["unwritten later"] == 0
    assert b"store failing" in err
    store = await SqliteStore.open(path)
    found = {domain: await store.load(domain) for domain in DOMAINS}
    await store.close()
    assert found == KNOWN
