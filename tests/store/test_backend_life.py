"""FailsafeStore: a backend that opens late, is damaged and replaced, and is closed."""

import asyncio
from collections.abc import Callable

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked, StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.values import replace
from tests.support.faulty_store import (
    DAMAGED,
    FULL,
    NO_RETRY,
    QUICK_RETRY,
    SHORT_TIMEOUTS,
    Backends,
    memory_of,
    opened,
    repaired,
)
from tests.support.states import a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")


async def test_a_backend_that_cannot_be_opened_is_opened_later(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """Until the backend can be opened, the store works in memory."""
    backends.error = StoreError("no such disk")
    async with opened(backends, QUICK_RETRY) as store:
        with pytest.raises(StoreError, match="not called"):
            await store.load(GOOD)
        await store.save(GOOD, a_state(), 0.0)
        await store.touch({OTHER: LastAsked(1.0, 1)})
        assert await store.load(GOOD) == a_state()
        assert (store.readable, store.writable) == (False, False)
        backends.error = None
        await repaired(store)
        assert (store.readable, store.writable) == (True, True)
        assert backends.last.rows[GOOD].state == a_state()
    assert log_lines() == [
        'WARNING store failing operation=writing reason="no such disk"',
        "INFO store recovered operation=writing written=1",
    ]


async def test_a_backend_that_opens_slowly_is_used_later(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """`open` does not wait for a slow backend; the store uses it once it is open."""
    backends.gate.hold()
    async with opened(backends, SHORT_TIMEOUTS) as store:
        assert "opening took longer than 0.01 s" in log_lines()[0]
        await store.save(GOOD, a_state(), 0.0)
        backends.gate.release()
        await repaired(store)
        assert backends.attempts == 1
        assert backends.last.rows[GOOD].state == a_state()


@pytest.mark.parametrize("what", ["load", "save"])
async def test_a_damaged_backend_is_replaced(
    backends: Backends, log_lines: Callable[[], list[str]], what: str
) -> None:
    """A damaged backend is replaced, and all policies in memory are written to the new one."""
    absence = replace(a_state(), policy=None, policy_id=None)
    known = {Domain("a.test"): a_state(), Domain("b.test"): absence, GOOD: a_state()}
    store = FailsafeStore(backends.open, timing=QUICK_RETRY, in_memory=memory_of(known))
    await store.open()
    old = backends.last
    old.error = DAMAGED
    if what == "load":
        with pytest.raises(StoreError, match="malformed"):
            await store.load(Domain("a.test"))
    await store.save(GOOD, a_state(1500.0), 2000.0)
    old.error = None
    await repaired(store)
    assert len(backends.opened) == 2
    assert old.calls["close"] == 1
    assert {domain: row.state for domain, row in backends.last.rows.items()} == {
        "a.test": a_state(),
        GOOD: a_state(1500.0),
    }
    assert [line.split(" reason")[0] for line in log_lines()] == [
        f"WARNING store failing operation={'reading' if what == 'load' else 'writing'}",
        "INFO store recovered operation=reading"
        if what == "load"
        else "INFO store recovered operation=writing written=2",
    ]
    await store.close()


async def test_a_backend_is_not_replaced_again_and_again(backends: Backends) -> None:
    """A new backend that is damaged, too, is not replaced before the pause is over."""
    async with opened(backends, NO_RETRY) as store:
        backends.last.error = DAMAGED
        with pytest.raises(StoreError, match="malformed"):
            await store.load(GOOD)
        backends.last.error = None
        await repaired(store)
        backends.last.error = DAMAGED
        for n in range(5):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert backends.attempts == 2
        assert store.unwritten == 5


async def test_a_late_damage_report_replaces_nothing(
    store: FailsafeStore, backends: Backends
) -> None:
    """An error of a backend that has been replaced already does not replace the new one."""
    old = backends.last
    old.gate.hold()
    old.error = DAMAGED
    reads = [asyncio.create_task(read(GOOD)) for read in (store.load, store.row)]
    await asyncio.gather(old.calls.reached("load_all", 1), old.calls.reached("row", 1))
    old.gate.release()
    error, row = await asyncio.gather(*reads, return_exceptions=True)
    assert (type(error), row) == (type(DAMAGED), None)
    old.error = None
    await repaired(store)
    assert backends.attempts == 2


async def test_closing_a_damaged_backend_is_retried(
    store: FailsafeStore, backends: Backends
) -> None:
    """A damaged backend is closed before the next is opened; closing is retried."""
    old = backends.last
    old.error = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    old.error = StoreError("read-only folder")
    await old.calls.reached("close", 2)
    assert backends.attempts == 1
    old.error = None
    await repaired(store)
    assert backends.last.rows[GOOD].state == a_state()


async def test_close_writes_what_is_unwritten(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """`close` writes unwritten policies, if it can."""
    store = FailsafeStore(backends.open, timing=NO_RETRY)
    await store.open()
    backends.last.error = FULL
    await store.save(GOOD, a_state(), 0.0)
    backends.last.error = None
    await store.close()
    assert backends.last.rows[GOOD].state == a_state()
    assert backends.last.calls["close"] == 1
    assert log_lines()[1:] == ["INFO store recovered operation=writing written=1"]


async def test_close_logs_what_it_cannot_write(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """Policies that `close` cannot write are lost and logged; the backend is closed anyway."""
    store = FailsafeStore(backends.open, timing=NO_RETRY)
    await store.open()
    backends.last.error = FULL
    await store.save(GOOD, a_state(), 0.0)
    await store.close()
    assert backends.last.calls["close"] == 1
    assert log_lines()[1:] == ["WARNING policies not written count=1"]


async def test_close_has_a_timeout(backends: Backends, log_lines: Callable[[], list[str]]) -> None:
    """`close` does not wait for a disk that hangs."""
    store = FailsafeStore(backends.open, timing=SHORT_TIMEOUTS)
    await store.open()
    backends.last.gate.hold()
    await store.close()
    assert log_lines() == [
        'WARNING store failing operation=writing reason="closing took longer than 0.01 s"'
    ]


async def test_close_closes_a_damaged_backend(backends: Backends) -> None:
    """A damaged backend that has not been replaced yet is closed, too."""
    store = FailsafeStore(backends.open, timing=NO_RETRY)
    await store.open()
    backends.last.error = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    backends.last.error = None
    await repaired(store)
    backends.last.error = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    backends.last.error = None
    await store.close()
    assert [backend.calls["close"] for backend in backends.opened] == [1, 1]


async def test_close_without_a_backend(backends: Backends) -> None:
    """If no backend was ever opened, `close` closes none."""
    backends.error = FULL
    store = FailsafeStore(backends.open, timing=QUICK_RETRY)
    await store.open()
    await store.close()
    assert not backends.opened


async def test_close_without_open(backends: Backends) -> None:
    """`close` works if the daemon failed to start before it called `open`."""
    await FailsafeStore(backends.open).close()
    assert backends.attempts == 0
