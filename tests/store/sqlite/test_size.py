"""The size of the file: bounded, and the policies that nobody asks for leave it first."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.sqlite_file import execute
from tests.support.states import a_policy, a_state

MIB = 2**20
LONG = a_policy(note="n" * 60_000)
DOMAINS = [Domain(f"d{n}.test") for n in range(160)]


@asynccontextmanager
async def opened(path: Path, limit: Callable[[], int]) -> AsyncIterator[SqliteStore]:
    """Open a store of bounded size."""
    store = await SqliteStore.open(path, clock=lambda: 1e6, size_limit=limit)
    try:
        yield store
    finally:
        await store.close()


async def settled(store: SqliteStore) -> None:
    """Wait until the writer has nothing to do."""
    while task := store.file.writer.task:
        await task


def stored(path: Path) -> list[object]:
    """Return the domains in the file, those first that were asked for last."""
    rows = execute(path, "SELECT domain FROM policies ORDER BY asked_at DESC")
    return [domain for (domain,) in rows]


async def test_the_oldest_leave_a_full_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rows stay below the limit; those that were asked for last stay, with their history."""
    async with opened(path, lambda: 4 * MIB) as store:
        for number, domain in enumerate(DOMAINS):
            await store.save(domain, a_state(policy=LONG), 1000.0 + number)
        await settled(store)
        kept = stored(path)
        assert kept == DOMAINS[: -len(kept) - 1 : -1]
        assert 3 * MIB < len(kept) * 60_000 < 4 * MIB
        assert await store.load(DOMAINS[-1]) == a_state(policy=LONG)
        assert await store.history(DOMAINS[0]) == []
    assert path.stat().st_size < 5 * MIB
    [line] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.getMessage().startswith("store is full, oldest policies removed count=")


async def test_what_was_asked_for_stays(path: Path) -> None:
    """A row that was saved first and asked for last is not the oldest."""
    async with opened(path, lambda: 4 * MIB) as store:
        await store.save(DOMAINS[0], a_state(), 0.0)
        await store.touch({DOMAINS[0]: LastAsked(9000.0, 1)})
        for domain in DOMAINS[1:]:
            await store.save(domain, a_state(policy=LONG), 1000.0)
        await settled(store)
        assert await store.load(DOMAINS[0]) == a_state()


async def test_a_damaged_row_leaves_like_any_other(path: Path) -> None:
    """A row whose domain no text fits is removed, too: the writer does not try for ever."""
    async with opened(path, lambda: MIB) as store:
        await store.save(DOMAINS[0], a_state(policy=LONG), 0.0)
        execute(path, "UPDATE policies SET domain = x'ff00'")
        for domain in DOMAINS[1:40]:
            await store.save(domain, a_state(policy=LONG), 1000.0)
        await settled(store)
    assert b"\xff\x00" not in stored(path)


async def test_a_limit_that_nothing_fits_into(path: Path) -> None:
    """When no row is left, the writer has nothing more to do."""
    async with opened(path, lambda: 1) as store:
        await store.save(DOMAINS[0], a_state(policy=LONG), 0.0)
        await settled(store)
    assert stored(path) == []


async def test_a_lower_limit_shrinks_the_file(path: Path) -> None:
    """After a reload with a lower limit the next write begins to make room, in steps."""
    limit = 100 * MIB
    async with opened(path, lambda: limit) as store:
        await asyncio.gather(*(store.save(d, a_state(policy=LONG), 1.0) for d in DOMAINS))
        before = path.stat().st_size
        limit = MIB
        await store.touch({})
        await settled(store)
        assert 0 < len(stored(path)) * 60_000 < MIB
    assert path.stat().st_size < before / 2
