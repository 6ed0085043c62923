"""FailsafeStore: failing reads and writes, and lists that merge memory and backend."""

import asyncio
from collections.abc import Callable

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.store import LastAsked, Row, RowFilter, StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.faulty_store import FULL, NO_RETRY, SHORT_TIMEOUTS, Backends, opened
from tests.support.states import a_policy, a_state
from tests.support.surroundings import signed

GOOD = Domain("good.test")
OTHER = Domain("other.test")
VERDICT = after_verdict(None, signed(), 1000.0)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


async def test_a_working_backend_gets_everything(
    store: FailsafeStore, backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """With a working backend, nothing stays in memory and nothing is logged."""
    await store.save(GOOD, a_state(), 0.0)
    assert backends.last.rows[GOOD].state == a_state()
    assert store.unwritten == store.failures == store.dropped == store.asked_lost == 0
    assert store._repair_task
    assert store._repair_task.done()
    assert log_lines() == []


async def test_a_failing_read_raises_and_is_repeated_each_time(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """While reading fails, each load asks the backend and raises; two lines are logged."""
    async with opened(backends, NO_RETRY) as store:
        await store.save(GOOD, a_state(), 0.0)
        backends.last.error = StoreError("bad disk")
        for _ in range(3):
            with pytest.raises(StoreError, match="bad disk"):
                await store.load(GOOD)
        backends.last.error = None
        assert await store.load(GOOD) == a_state()
        assert await store.load(GOOD) == a_state()
        assert log_lines() == [
            'WARNING store failing operation=reading reason="bad disk"',
            "INFO store recovered operation=reading",
        ]


async def test_a_row_that_is_written_during_a_read_of_others(backends: Backends) -> None:
    """It leaves memory meanwhile, but is found all the same: no policy is said to be missing."""
    async with opened(backends, NO_RETRY) as store:
        backend = backends.last
        backend.error = FULL
        await store.save(GOOD, a_state(), 0.0)
        backend.gate.hold()
        backend.error = None
        reading = asyncio.create_task(store.load_all([GOOD, OTHER]))
        await backend.calls.reached("load_all")
        await store._buffer.write_to(MemoryStore())
        backend.gate.release()
        assert await reading == {GOOD: a_state()}


async def test_a_policy_that_is_saved_during_a_read(backends: Backends) -> None:
    """It is what the read finds, with the verdict of the row that it is to replace."""
    async with opened(backends, NO_RETRY) as store:
        backend = backends.last
        await store.save(GOOD, replace(a_state(), dane=VERDICT), 0.0)
        backend.gate.hold()
        reading = asyncio.create_task(store.load_all([GOOD]))
        saving = asyncio.create_task(store.save(GOOD, a_state(3000.0), 0.0))
        await backend.calls.reached("save", 2)
        backend.gate.release()
        assert await reading == {GOOD: replace(a_state(3000.0), dane=VERDICT)}
        await saving


async def test_a_slow_read_is_a_failed_read(backends: Backends) -> None:
    """A read that exceeds its timeout counts as failed; the next one is tried all the same."""
    async with opened(backends, SHORT_TIMEOUTS) as store:
        await store.save(GOOD, a_state(), 0.0)
        backends.last.gate.hold()
        with pytest.raises(StoreError, match="took longer"):
            await store.load(GOOD)
        assert store.failures == 1
        backends.last.gate.release()
        assert await store.load(GOOD) == a_state()


async def test_a_failing_write_does_not_stop_reads(backends: Backends) -> None:
    """A backend that cannot be written is still read."""
    async with opened(backends, NO_RETRY) as store:
        await store.save(GOOD, a_state(), 0.0)
        backends.last.error = FULL
        await store.save(OTHER, a_state(), 0.0)
        backends.last.error = None
        assert await store.load(GOOD) == a_state()
        assert store.unwritten == 1
        assert (store.readable, store.writable) == (True, False)
        assert (store.reading_problem, store.writing_problem) == ("", str(FULL))


async def test_a_failing_read_does_not_stop_writes(backends: Backends) -> None:
    """A backend that cannot be read is still written."""
    async with opened(backends, NO_RETRY) as store:
        backends.last.error = FULL
        with pytest.raises(StoreError, match="disk full"):
            await store.load(GOOD)
        backends.last.error = None
        await store.save(GOOD, a_state(), 0.0)
        assert backends.last.rows[GOOD].state == a_state()
        assert (store.readable, store.writable) == (False, True)
        assert bool(store.reading_problem) > bool(store.writing_problem)


async def test_a_slow_list_does_not_stop_reads(backends: Backends) -> None:
    """A scan of a million rows that exceeds its timeout does not stop the reading of policies."""
    timing = Timing(retry=3600.0, replace=3600.0, read=5.0, list=0.01, write=5.0)
    async with opened(backends, timing) as store:
        await store.save(GOOD, a_state(), 7.0)
        backends.last.gate.hold()
        assert (await store.overview(2000.0, 0.0)).oldest_fetched_at is None
        assert await store.page(RowFilter(2000.0), None, 9) == []
        backends.last.gate.release()
        assert await store.load(GOOD) == a_state()
        assert store.failures == 1
        assert not store.readable


async def test_lost_last_asked_times_are_counted(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """Last-asked times that cannot be written are counted as lost, except of policies in memory."""
    async with opened(backends, NO_RETRY) as store:
        backends.last.error = FULL
        await store.save(GOOD, a_state(), 0.0)
        await store.touch({GOOD: LastAsked(9.0, 1), OTHER: LastAsked(9.0, 1)})
        assert store.asked_lost == 2
        assert store._buffer.rows[GOOD].asked_at == 9.0
        assert len(log_lines()) == 1


async def test_any_write_detects_recovery(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """If nothing is unwritten, the next write of any kind detects that the store works again."""
    clock = Clock()
    store = FailsafeStore(backends.open, timing=NO_RETRY, clock=clock)
    await store.open()
    backends.last.error = FULL
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert await store.remove_expired(0.0) == 0
    backends.last.error = None
    clock.now = 3600.0
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert log_lines()[1:] == ["INFO store recovered operation=writing"]
    await store.close()


async def test_with_unwritten_policies_only_a_repair_detects_recovery(backends: Backends) -> None:
    """With unwritten policies, the store has recovered only when these are written."""
    clock = Clock()
    store = FailsafeStore(backends.open, timing=NO_RETRY, clock=clock)
    await store.open()
    backends.last.error = FULL
    await store.save(GOOD, a_state(), 0.0)
    backends.last.error = None
    clock.now = 3600.0
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert backends.last.calls["touch"] == 1
    await store.save(OTHER, a_state(), 0.0)
    assert store.unwritten == 2
    await store.close()
    assert backends.last.rows.keys() == {GOOD, OTHER}


async def test_touch_is_written_in_batches(store: FailsafeStore, backends: Backends) -> None:
    """Many last-asked times are written in batches, so that saves get their turn in between."""
    await store.touch({Domain(f"d{n}.test"): LastAsked(1.0, 1) for n in range(12_000)})
    assert backends.last.calls["touch"] == 3


async def test_due_merges_memory_and_backend(backends: Backends) -> None:
    """Due domains come from memory, then from the backend; the newest state of each decides."""
    async with opened(backends, NO_RETRY) as store:
        for name in ("a.test", "b.test", "c.test"):
            await store.save(Domain(name), a_state(), 0.0)
        backends.last.error = FULL
        await store.save(Domain("a.test"), a_state(refetch_at=9000.0), 0.0)
        await store.save(Domain("d.test"), a_state(), 0.0)
        backends.last.error = None
        assert await store.due(5000.0, 0.0, 9) == ["d.test", "b.test", "c.test"]
        assert await store.due(5000.0, 0.0, 2) == ["d.test", "b.test"]
        backends.last.error = FULL
        assert await store.due(5000.0, 0.0, 9) == ["d.test"]


async def test_pages_merge_memory_and_backend(backends: Backends) -> None:
    """A page has rows of both in order; a row in memory hides an older one in the backend."""
    async with opened(backends, NO_RETRY) as store:
        domains = [Domain(f"d{n}.test") for n in range(10)]
        for domain in domains[:8]:
            await store.save(domain, a_state(), 0.0)
        backends.last.error = FULL
        expired = a_policy(max_age=1)
        for domain in domains[:3]:
            await store.save(domain, a_state(1500.0, policy=expired), 0.0)
        for domain in domains[5::3]:
            await store.save(domain, a_state(1500.0), 0.0)
        backends.last.error = None
        after: Domain | None = None
        pages: list[list[Row]] = []
        while rows := await store.page(RowFilter(2000.0), after, 2):
            pages.append(list(rows))
            after = rows[-1].domain
        found = [row for page in pages for row in page]
        assert [row.domain for row in found] == domains[3:9]
        assert [row.state.fetched_at for row in found] == [1000, 1000, 1500, 1000, 1000, 1500]
        assert all(len(page) <= 2 for page in pages)


async def test_row_and_history_merge_memory_and_backend(backends: Backends) -> None:
    """The policy is the newer one; look-up counts and older policies come from the backend."""
    async with opened(backends, NO_RETRY) as store:
        await store.save(GOOD, a_state(), 7.0)
        await store.touch({GOOD: LastAsked(8.0, 5)})
        backends.last.error = FULL
        later = a_state(1500.0, policy_id="id2")
        await store.save(GOOD, later, 7.0)
        backends.last.error = None
        assert await store.row(GOOD) == Row(GOOD, later, 8.0, 5, ((0, 5),))
        assert [seen.policy_id for seen in await store.history(GOOD)] == ["id2", "id1"]
        backends.last.error = FULL
        assert await store.row(GOOD) == Row(GOOD, later, 7.0, 0)
        assert [seen.policy_id for seen in await store.history(GOOD)] == ["id2"]


async def test_lists_of_a_failing_backend_show_memory(backends: Backends) -> None:
    """While the backend cannot be read, lists, counts and histories show only what is in memory."""
    async with opened(backends, NO_RETRY) as store:
        await store.save(GOOD, a_state(), 7.0)
        backends.last.error = FULL
        assert await store.page(RowFilter(2000.0), None, 9) == []
        assert await store.row(GOOD) is None
        assert await store.history(GOOD) == []
        assert (await store.overview(2000.0, 0.0)).oldest_fetched_at is None
        assert not await store.forget(GOOD)
