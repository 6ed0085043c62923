"""Fixtures for the tests of `SqliteStore`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.store.sqlite.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "policies.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """A new store that waits only 50 ms for a lock."""
    new = await SqliteStore.open(path, lock_timeout=0.05)
    yield new
    await new.close()
