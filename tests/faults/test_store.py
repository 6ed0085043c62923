"""Faults of the store: bit rot, columns of a wrong type, slow disks, a file of a newer version."""

import asyncio
import logging
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.backoff import FIRST_BACKOFF
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, MINUTE, State, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import DEFAULT_TIMING, Timing
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.schema import APPLICATION_ID
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.daemons import TIMEOUT
from tests.support.faulty_store import Backends, opened
from tests.support.resolvers import make_resolver
from tests.support.sqlite_file import execute, set_aside_files
from tests.support.states import a_policy, a_state
from tests.support.surroundings import GOOD, START, Surroundings, policy

ROOT: Final = Path(__file__).parents[2]
OTHER = Domain("other.test")
KNOWN = {
    Domain(f"d{n}.test"): a_state(
        1000.0 + n, 2000.0, f"id{n}", a_policy(note="n" * 40 * (1 + n % 30))
    )
    for n in range(150)
}
TIMING = Timing(retry=0.01, replace=0.01, read=60.0, list=60.0, write=60.0)


@asynccontextmanager
async def daemon_store(path: Path) -> AsyncIterator[FailsafeStore]:
    """The store of a daemon that has nothing in memory."""
    store = FailsafeStore(lambda: SqliteStore.open(path), timing=TIMING)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def save_all(path: Path, states: dict[Domain, State]) -> None:
    """Make a file with these states, all of it in its main part."""
    store = await SqliteStore.open(path)
    await asyncio.gather(*(store.save(domain, state, 0.0) for domain, state in states.items()))
    await store.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines at level WARNING and above."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("column", ["fetched_at", "refetch_at", "claimed_at"])
async def test_a_time_that_is_text_is_one_row_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    """The other rows of the batch are served; the row is removed and logged once (A9)."""
    path = tmp_path / "policies.db"
    await save_all(path, {GOOD: a_state(), OTHER: a_state()})
    execute(path, f"UPDATE policies SET {column} = 'soon' WHERE domain = ?", GOOD)  # noqa: S608 (constant names)
    async with daemon_store(path) as store:
        assert await store.load_all([GOOD, OTHER]) == {OTHER: a_state()}
        await store.touch({})  # written after the removal
        assert await store.load(GOOD) is None
        await store.save(GOOD, a_state(1500.0), 0.0)
        assert await store.load(GOOD) == a_state(1500.0)
        assert store.failures == 0
    [line] = warnings(caplog)
    assert line.startswith("good.test: stored policy is not readable")


ROTTEN = [
    ("policy", "replace(policy, 'enforce', 'testing')"),
    ("policy", "replace(policy, 'mx.good.test', 'mx.evil.test')"),
    ("policy", "replace(policy, '604800', '904800')"),
    ("policy_id", "'id2'"),
    ("fetched_at", "fetched_at + 64"),
    ("refetch_at", "refetch_at + 64"),
    ("claimed_at", "5.0"),
    ("failures", """'{"failure":null,"backoffs":[]}'"""),
    ("dane", "'{}'"),
    ("domain", "'bad.test'"),
    ("digest", "zeroblob(16)"),
]


@pytest.mark.parametrize(("column", "value"), ROTTEN)
async def test_a_changed_row_is_never_served(tmp_path: Path, column: str, value: str) -> None:
    """A row with any bit changed that a decision depends on is not there (D20)."""
    path = tmp_path / "policies.db"
    await save_all(path, {GOOD: a_state(), OTHER: a_state()})
    execute(path, f"UPDATE policies SET {column} = {value} WHERE domain = ?", GOOD)  # noqa: S608 (constants)
    async with daemon_store(path) as store:
        assert await store.load_all([GOOD, OTHER, Domain("bad.test")]) == {OTHER: a_state()}


async def test_a_row_of_an_earlier_version_is_served(tmp_path: Path) -> None:
    """It has no digest, and gets one when it is written next."""
    path = tmp_path / "policies.db"
    marks = f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 2"
    for statement in (*SCHEMA[0], *SCHEMA[1], *marks):
        execute(path, statement)
    execute(
        path,
        "INSERT INTO policies (domain, policy_id, policy, fetched_at, refetch_at, expires_at,"
        " asked_at) VALUES ('good.test', 'id1', ?, 1000, 2000, 605800, 0)",
        a_policy().text,
    )
    async with daemon_store(path) as store:
        assert await store.load(GOOD) == a_state()
        assert execute(path, "SELECT digest FROM policies") == [(None,)]
        await store.note(GOOD, a_state(refetch_at=3000.0))
        assert await store.load(GOOD) == a_state(refetch_at=3000.0)
    assert execute(path, "SELECT length(digest) FROM policies") == [(16,)]


def rows(path: Path) -> dict[Domain, object]:
    """Return the rows that SQLite can read, by domain."""
    found: dict[Domain, object] = {}
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        for domain in KNOWN:
            with suppress(sqlite3.Error):
                sql = "SELECT * FROM policies WHERE domain = ?"
                found[domain] = db.execute(sql, (domain,)).fetchall()
    return found


def spoil(path: Path, seed: int) -> None:
    """Overwrite a few runs of bytes at random places, also whole pages."""
    chance = random.Random(seed)  # noqa: S311 (a test)
    data = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 6)):
        length = chance.choice([1, 1, 8, 100, 4096])
        start = chance.randrange(100, len(data) - length)
        data[start : start + length] = chance.randbytes(length)
    path.write_bytes(data)


async def loaded(store: FailsafeStore, domain: Domain) -> State | None:
    """Load a state; None also if it cannot be read."""
    try:
        return await store.load(domain)
    except StoreError:
        return None


@pytest.mark.parametrize("seed", range(12))
async def test_random_bytes_are_overwritten(tmp_path: Path, seed: int) -> None:
    """No policy is served that was never stored, and none is lost that SQLite can still read."""
    path = tmp_path / "policies.db"
    await save_all(path, KNOWN)
    before = rows(path)
    spoil(path, seed)
    (tmp_path / "copy.db").write_bytes(path.read_bytes())
    async with daemon_store(path) as store:
        for domain, state in KNOWN.items():
            assert await loaded(store, domain) in {None, state}
        if store._repair_task:
            await store._repair_task
        backend = store._backend
        assert isinstance(backend, SqliteStore)
        await backend._taking_over
        found = {domain: await loaded(store, domain) for domain in KNOWN}
    assert all(state in {None, KNOWN[domain]} for domain, state in found.items())
    unharmed = {
        domain for domain, row in rows(tmp_path / "copy.db").items() if row == before[domain]
    }
    assert {domain for domain, state in found.items() if state} >= unharmed


async def test_a_slow_read_is_an_answer(backends: Backends) -> None:
    """A read of some seconds is waited for, and none is skipped while it runs (A8)."""
    assert DEFAULT_TIMING.read == 10
    async with opened(backends, DEFAULT_TIMING) as store:
        await store.save(GOOD, a_state(), 0.0)
        backends.last.gate.hold()
        slow = [asyncio.create_task(store.load(GOOD)) for _ in range(3)]
        await backends.last.calls.reached("load_all", 3)
        backends.last.gate.release()
        assert await asyncio.gather(*slow) == [a_state()] * 3


async def test_a_slow_opening_is_waited_for(backends: Backends) -> None:
    """A read that comes before the file is open gets the row, not an error (A8)."""
    backends.gate.hold()
    async with opened(backends, Timing(retry=3600.0, read=60.0, write=0.01)) as store:
        reading = asyncio.create_task(store.load(GOOD))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reading.done()
        backends.gate.release()
        assert await reading is None


async def test_an_opening_that_hangs_is_not_waited_for_without_end(backends: Backends) -> None:
    """The caller is told after the timeout of a read that the row could not be read."""
    backends.gate.hold()
    async with opened(backends, Timing(retry=3600.0, read=0.01, write=0.01)) as store:
        with pytest.raises(StoreError):
            await store.load(GOOD)
        backends.gate.release()


HUNG = {
    "open": "patch.object(file, 'prepare', hang)",
    "read": "patch.object(reads, 'load', hang)",
    "write": "patch.object(writes, 'save', hang)",
}
HANGS: Final = """
import asyncio, sys, time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite import file, reads, writes
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.states import a_state

def hang(*_):
    time.sleep(3600)

async def main():
    domain, path = Domain("good.test"), Path(sys.argv[1])
    timing = Timing(read=0.2, write=0.2)
    store = FailsafeStore(lambda: SqliteStore.open(path), timing=timing)
    await store.open()
    with suppress(StoreError):
        await store.load(domain)
    await store.save(domain, a_state(), 0.0)
    await store.close()

with {patch}:
    asyncio.run(main())
"""


@pytest.mark.parametrize("patch", HUNG.values(), ids=HUNG.keys())
def test_a_disk_that_hangs_does_not_keep_the_process(tmp_path: Path, patch: str) -> None:
    """A call that never returns from the disk ends with the process, so that SIGTERM ends it."""
    program = HANGS.replace("{patch}", patch)
    words = [sys.executable, "-c", program, str(tmp_path / "policies.db")]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, timeout=TIMEOUT)
    assert ended.returncode == 0, ended.stderr.decode()


async def test_an_internal_error_of_a_backend_is_a_store_error(
    backends: Backends, caplog: pytest.LogCaptureFixture
) -> None:
    """No fault of a backend, of whatever kind, passes the wrapper (A9)."""
    async with opened(backends, TIMING) as store:

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        for name in ("load_all", "save", "page"):
            setattr(backends.last, name, broken)
        await store.save(GOOD, a_state(), 0.0)
        with pytest.raises(StoreError, match="internal error"):
            await store.load(OTHER)
        assert await store.load(GOOD) == a_state()
        for name in ("load_all", "save", "page"):
            delattr(backends.last, name)
    assert any("store failed by an internal error" in line for line in warnings(caplog))


@pytest.fixture
def backends() -> Backends:
    """Where a store gets its backends from."""
    return Backends()


async def test_a_newer_file_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon runs in memory, says once what to do, and reports that it cannot read (A11)."""
    path = tmp_path / "policies.db"
    await save_all(path, {GOOD: a_state()})
    execute(path, "UPDATE compatible SET since = 99")
    execute(path, "PRAGMA user_version = 99")
    async with daemon_store(path) as store:
        await store.save(OTHER, a_state(), 0.0)
        assert await store.load(OTHER) == a_state()
        assert (store.readable, store.writable) == (False, False)
        await asyncio.sleep(0.05)  # it tries again
    assert not set_aside_files(path)
    assert execute(path, "SELECT domain FROM policies") == [("good.test",)]
    failing = [line for line in warnings(caplog) if "store failing" in line]
    assert len(failing) == 1
    assert "made by a newer version; upgrade this one, or move the file away" in failing[0]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_failed_renewal_is_not_repeated_each_minute(tmp_path: Path, restart: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    """A policy that only the file has: one GET, then the back-off, also after a restart (E1)."""
    around = Surroundings(
        store=await SqliteStore.open(tmp_path / "policies.db", clock=lambda: START)
    )
    around.publish()
    around.policies[GOOD] = StatusError("HTTP 404")
    stored = restored(policy(), PolicyId("a"), START - DAY, START - 1)
    await around.store.save(GOOD, stored, START)
    resolver = make_resolver(around)
    for minute in range(5):
        around.now = START + minute * MINUTE
        for domain in await around.store.due(around.now, 0.0, 9):
            await resolver.renew(domain)
        if restart:
            await resolver.close()
            resolver = make_resolver(around)
    assert around.gets[GOOD] == 1
    state = await around.store.load(GOOD)
    assert state
    assert state.failure
    assert (state.failure.count, state.failure.reason) == (1, "HTTP 404")
    around.now = START + FIRST_BACKOFF
    assert await around.store.due(around.now, 0.0, 9) == [GOOD]
    await resolver.renew(GOOD)
    state = await around.store.load(GOOD)
    assert state
    assert state.failure
    assert (around.gets[GOOD], state.failure.count, state.backoffs[0].count) == (2, 2, 2)
    await resolver.close()
    await around.store.close()
