"""FailsafeStore: policies that cannot be written stay in memory and are written later."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.health import Timing
from postfix_mta_sts.store.write_buffer import WriteBuffer
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
from tests.support.states import a_policy, a_state

GOOD = Domain("good.test")


async def test_a_failed_write_is_served_from_memory_and_repeated(
    store: FailsafeStore, backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """A policy that cannot be written is served from memory, and written when it can be."""
    backends.last.error = FULL
    await store.save(GOOD, a_state(), 7.0)
    assert await store.load(GOOD) == a_state()
    assert store.unwritten == 1
    backends.last.error = None
    await repaired(store)
    assert backends.last.rows[GOOD].state == a_state()
    assert backends.last.rows[GOOD].asked_at == 7.0
    assert store.unwritten == 0
    assert log_lines() == [
        'WARNING store failing operation=writing reason="disk full"',
        "INFO store recovered operation=writing written=1",
    ]


async def test_a_newer_policy_in_memory_wins(store: FailsafeStore, backends: Backends) -> None:
    """A policy in memory wins over an older one in the backend (C10)."""
    await store.save(GOOD, a_state(), 0.0)
    backends.last.error = FULL
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    backends.last.error = None
    assert await store.load(GOOD) == later


async def test_saves_skip_a_failing_backend(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """While the backend is known to fail, no save calls it, and one line is logged for all."""
    async with opened(backends, NO_RETRY) as store:
        backends.last.error = FULL
        for n in range(50):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert backends.last.calls["save"] == 1
        assert store.failures == 1
        assert store.unwritten == 50
        assert len(log_lines()) == 1


async def test_a_repair_writes_several_batches(store: FailsafeStore, backends: Backends) -> None:
    """A repair writes all policies, also if there are more than fit in one batch."""
    backends.last.error = FULL
    domains = {Domain(f"d{n}.test") for n in range(1203)}
    for domain in domains:
        await store.save(domain, a_state(), 0.0)
    backends.last.error = None
    await repaired(store)
    assert backends.last.rows.keys() == domains


async def test_a_repair_retries_until_it_succeeds(store: FailsafeStore, backends: Backends) -> None:
    """Writing is retried until it succeeds; each failure is counted."""
    backends.last.error = FULL
    await store.save(GOOD, a_state(), 0.0)
    await backends.last.calls.reached("save", 4)
    assert store.unwritten == 1
    assert store.failures >= 3
    backends.last.error = None
    await repaired(store)
    assert store.unwritten == 0


async def test_the_oldest_unwritten_policies_are_dropped(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """Above the limit, the oldest policies are dropped and counted."""
    async with opened(backends, NO_RETRY, buffer_limit=3) as store:
        backends.last.error = FULL
        for n in (1, 2, 3, 1, 4, 5):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert store.dropped == 2
        assert list(store._buffer.rows) == ["d1.test", "d4.test", "d5.test"]


async def test_unwritten_policies_are_bounded_in_bytes() -> None:
    """Long policies are dropped earlier; what the daemon holds in any case is not counted."""
    buffer = WriteBuffer(bytes_limit=200_000)
    long = a_state(policy=a_policy(note="n" * 60_000))
    buffer.add_missing([(Domain(f"known{n}.test"), long) for n in range(5)])
    for n in (1, 2, 3, 1, 4, 5):
        await buffer.add(Domain(f"d{n}.test"), long, 0.0)
    assert buffer.dropped == 2
    assert list(buffer.rows)[-3:] == ["d1.test", "d4.test", "d5.test"]
    assert len(buffer) == 8
    await buffer.forget(Domain("d4.test"))
    await buffer.add(Domain("d6.test"), long, 0.0)
    assert buffer.dropped == 2


async def test_a_save_during_a_repair_is_written(store: FailsafeStore, backends: Backends) -> None:
    """A policy that is saved while an older one is being written is written as well."""
    backend = backends.last
    backend.error = FULL
    await store.save(GOOD, a_state(), 0.0)
    backend.gate.hold()
    backend.error = None
    await backend.calls.reached("save", 2)
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    backend.gate.release()
    await repaired(store)
    assert backend.rows[GOOD].state == later
    assert store.unwritten == 0


async def test_a_note_during_a_save_is_written(store: FailsafeStore, backends: Backends) -> None:
    """What is noted while the save is under way reaches the backend; nothing stays unwritten."""
    backends.last.gate.hold()
    save = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
    await backends.last.calls.reached("save", 1)
    noted = a_state(refetch_at=9000.0)
    note = asyncio.create_task(store.note(GOOD, noted))
    await backends.last.calls.reached("note", 1)
    backends.last.gate.release()
    await asyncio.gather(save, note)
    await repaired(store)
    assert backends.last.rows[GOOD].state == noted
    assert store.unwritten == 0


async def test_a_late_save_keeps_a_newer_policy(store: FailsafeStore, backends: Backends) -> None:
    """An older save that ends late does not remove the newer policy from memory."""
    backends.last.gate.hold()
    saves = [
        asyncio.create_task(store.save(GOOD, a_state(fetched_at), 0.0))
        for fetched_at in (1000.0, 1500.0)
    ]
    await backends.last.calls.reached("save", 2)
    saves[1].cancel()
    await asyncio.wait(saves[1:])
    backends.last.gate.release()
    await saves[0]
    await repaired(store)
    assert backends.last.rows[GOOD].state == a_state(1500.0)


async def test_cancelled_save_is_written(store: FailsafeStore, backends: Backends) -> None:
    """A policy is written although the save was cancelled."""
    backends.last.gate.hold()
    save = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
    await backends.last.calls.reached("save", 1)
    save.cancel()
    await asyncio.wait([save])
    backends.last.gate.release()
    await repaired(store)
    assert backends.last.rows[GOOD].state == a_state()


async def test_a_slow_write_is_a_failed_write(
    backends: Backends, log_lines: Callable[[], list[str]]
) -> None:
    """A write that exceeds its timeout counts as failed; the look-up continues without it."""
    async with opened(backends, SHORT_TIMEOUTS) as store:
        backends.last.gate.hold()
        await store.save(GOOD, a_state(), 0.0)
        assert await store.load(GOOD) == a_state()
        assert log_lines() == [
            'WARNING store failing operation=writing reason="writing took longer than 0.01 s"'
        ]
        backends.last.gate.release()
        await repaired(store)
        assert backends.last.rows[GOOD].state == a_state()


async def test_expired_policies_are_removed_from_memory(backends: Backends) -> None:
    """Expired policies are removed from memory as well as from the backend."""
    async with opened(backends, NO_RETRY) as store:
        backends.last.error = FULL
        await store.save(GOOD, a_state(policy=a_policy(max_age=0)), 0.0)
        assert await store.remove_expired(2000.0) == 1
        assert store.unwritten == 0


async def test_a_forgotten_policy_is_not_written(backends: Backends) -> None:
    """An unwritten policy that is forgotten is never written."""
    async with opened(backends, QUICK_RETRY) as store:
        backends.last.error = FULL
        await store.save(GOOD, a_state(), 7.0)
        assert await store.forget(GOOD)
        backends.last.error = None
        await repaired(store)
        assert backends.last.rows == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.sampled_from(["a.test", "b.test", "c.test"])),
        st.tuples(st.just("fault"), st.sampled_from([None, FULL, DAMAGED])),
        st.tuples(st.just("load"), st.just("a.test")),
        st.tuples(st.just("wait"), st.just(None)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
async def test_nothing_is_lost(steps: list[tuple[str, str | StoreError | None]]) -> None:
    """After any failures, in the end the newest state of each domain is in the backend."""
    backends, known = Backends(), dict[Domain, State]()
    timing = Timing(retry=0.0, replace=0.0, read=5.0, write=5.0)
    store = FailsafeStore(backends.open, timing=timing, in_memory=memory_of(known))
    await store.open()
    for number, (what, which) in enumerate(steps):
        if what == "save":
            known[Domain(str(which))] = a_state(1000.0 + number)
            await store.save(Domain(str(which)), known[Domain(str(which))], 0.0)
        elif what == "load" and Domain(str(which)) in store._buffer.rows:
            assert await store.load(Domain(str(which))) == known[Domain(str(which))]
        elif what == "fault" and not isinstance(which, str):
            backends.last.error = which
        else:
            await asyncio.sleep(0)
    for backend in backends.opened:
        backend.error = None
    await repaired(store)
    assert {d: row.state for d, row in backends.last.rows.items()} == known
    await store.close()
