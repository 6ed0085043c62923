"""A store backend that fails, hangs and counts its calls on demand, and what opens such backends.

`backend.error = FULL` makes every call raise that error; `backend.gate.hold()` makes every call
hang until `backend.gate.release()`. `backend.calls["save"]` counts calls by method, and
`await backend.calls.reached("save", 2)` waits for the second one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import DamagedStoreError, StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.tally import Gate, Tally

FULL = StoreError("disk full")
DAMAGED = DamagedStoreError("malformed")

QUICK_RETRY = Timing(retry=0.01, replace=0.01, read=5.0, write=5.0)
NO_RETRY = Timing(retry=3600.0, replace=3600.0, read=5.0, write=5.0)
SHORT_TIMEOUTS = Timing(retry=0.01, replace=0.01, read=0.01, write=0.01)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Method = Callable[Concatenate["FaultyStore", _P], Coroutine[Any, Any, _T]]


def _can_fail(method: _Method[_P, _T]) -> _Method[_P, _T]:
    """Wrap a method: count the call, wait at the gate, raise the error if there is one."""

    @wraps(method)
    async def call(self: "FaultyStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        await self.calls.add(method.__name__)
        await self.gate.passed()
        if self.error:
            raise type(self.error)(str(self.error))
        return await method(self, *args, **kwargs)

    return call


class FaultyStore(MemoryStore):
    """A `MemoryStore` whose calls fail while `error` is set and hang while `gate` is held."""

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError | None = None
        self.gate = Gate()
        self.calls = Tally[str]()

    load = _can_fail(MemoryStore.load)
    load_all = _can_fail(MemoryStore.load_all)
    note = _can_fail(MemoryStore.note)
    save = _can_fail(MemoryStore.save)
    touch = _can_fail(MemoryStore.touch)
    due = _can_fail(MemoryStore.due)
    row = _can_fail(MemoryStore.row)
    history = _can_fail(MemoryStore.history)
    page = _can_fail(MemoryStore.page)
    overview = _can_fail(MemoryStore.overview)
    forget = _can_fail(MemoryStore.forget)
    remove_expired = _can_fail(MemoryStore.remove_expired)
    remove_idle = _can_fail(MemoryStore.remove_idle)
    close = _can_fail(MemoryStore.close)
    exceptions = _can_fail(MemoryStore.exceptions)
    put_exception = _can_fail(MemoryStore.put_exception)
    remove_exception = _can_fail(MemoryStore.remove_exception)
    take_exceptions = _can_fail(MemoryStore.take_exceptions)
    fleet_notes = _can_fail(MemoryStore.fleet_notes)
    put_check = _can_fail(MemoryStore.put_check)
    check = _can_fail(MemoryStore.check)
    checks = _can_fail(MemoryStore.checks)
    put_weakenings = _can_fail(MemoryStore.put_weakenings)
    weakenings = _can_fail(MemoryStore.weakenings)


class Backends:
    """Opens one new `FaultyStore` after the other; opening can fail and hang, too."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.gate = Gate()
        self.attempts = 0
        """How often `open` was called."""
        self.opened: list[FaultyStore] = []

    async def open(self) -> FaultyStore:
        """Open the next backend."""
        self.attempts += 1
        await self.gate.passed()
        if self.error:
            raise self.error
        self.opened.append(FaultyStore())
        return self.opened[-1]

    @property
    def last(self) -> FaultyStore:
        """The backend that was opened last."""
        return self.opened[-1]


@asynccontextmanager
async def opened(
    backends: Backends, timing: Timing, buffer_limit: int = 2000
) -> AsyncIterator[FailsafeStore]:
    """Open a `FailsafeStore`; in the end let its backends work again and close it."""
    store = FailsafeStore(backends.open, timing=timing, buffer_limit=buffer_limit)
    await store.open()
    yield store
    for backend in backends.opened:
        backend.gate.release()
        backend.error = None
    await store.close()


async def repaired(store: FailsafeStore) -> None:
    """Wait until there is nothing left to open or to write."""
    assert store._repair_task
    await store._repair_task


def memory_of(
    known: Mapping[Domain, State],
) -> Callable[[], Awaitable[Iterable[tuple[Domain, State]]]]:
    """The argument `in_memory` of a `FailsafeStore`: what the mapping has when it is called."""

    async def states() -> Iterable[tuple[Domain, State]]:
        return list(known.items())

    return states
