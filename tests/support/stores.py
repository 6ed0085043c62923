"""The implementations of `Store`, for the tests of what all of them must do."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import Backend, Store, StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.store.records import AdminRecords
from postfix_mta_sts.store.sqlite.store import SqliteStore

FAR = 2.0**34
"""The time of the stores: after all times of the tests."""


class Kept(Store, AdminRecords, Protocol):
    """All that is stored."""


Maker = Callable[[Path], Awaitable[Kept]]


async def memory(_folder: Path) -> Kept:
    """Make a `MemoryStore`."""
    return MemoryStore()


async def sqlite(folder: Path) -> Kept:
    """Make a `SqliteStore`."""
    return await SqliteStore.open(folder / "policies.db", clock=lambda: FAR)


async def failsafe(folder: Path) -> Kept:
    """Make a `FailsafeStore` with a `SqliteStore` behind it."""
    store = FailsafeStore(lambda: SqliteStore.open(folder / "policies.db", clock=lambda: FAR))
    await store.open()
    return store


async def failsafe_without_backend(folder: Path) -> Kept:
    """Make a `FailsafeStore` whose backend cannot be opened."""

    async def fail() -> Backend:
        raise StoreError("no such disk")

    store = FailsafeStore(fail)
    await store.open()
    return store


WORKING: Final = [memory, sqlite, failsafe]
MAKERS: Final = [*WORKING, failsafe_without_backend]


@asynccontextmanager
async def opened(make: Maker) -> AsyncIterator[Kept]:
    """Make a store in a new folder, and close it in the end."""
    with tempfile.TemporaryDirectory() as folder:
        store = await make(Path(folder))
        try:
            yield store
        finally:
            await store.close()


async def found(store: Store, domain: Domain) -> State | None:
    """Load a state; None also if the backend cannot be read."""
    try:
        return await store.load(domain)
    except StoreError:
        return None


async def loaded(store: Store, domain: Domain) -> State:
    """Load a state that must be there."""
    state = await store.load(domain)
    assert state
    return state
