"""The wall before a store: nothing that fails behind it stops an answer or loses a policy."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import (
    DamagedStoreError,
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    StoreError,
)
from postfix_mta_sts.store.breaker import Timing
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.states import a_policy, a_state
from tests.support.tally import Tally

GOOD = Domain("good.test")
OTHER = Domain("other.test")
FULL = StoreError("disk full")
SHORT = Timing(retry=0.01, replace=0.01, read=5.0, write=5.0)
NEVER_AGAIN = Timing(retry=3600.0, replace=3600.0, read=5.0, write=5.0)
IMPATIENT = Timing(retry=0.01, replace=0.01, read=0.01, write=0.01)


class Faulty(MemoryStore):
    """A backend that fails and hangs when it is told to, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: StoreError | None = None
        self.free = asyncio.Event()
        self.free.set()
        self.asked = Tally[str]()

    async def _ask(self, what: str) -> None:
        await self.asked.add(what)
        await self.free.wait()
        if self.fault:
            raise type(self.fault)(str(self.fault))

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self._ask("load")
        return await super().load_all(domains)

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        await self._ask("save")
        await super().save(domain, state, asked_at)

    async def touch(self, asked: Mapping[Domain, LastAsked]) -> None:
        """See `Store`."""
        await self._ask("touch")
        await super().touch(asked)

    async def due(self, now: float, asked_since: float, limit: int) -> Sequence[Domain]:
        """See `Store`."""
        await self._ask("due")
        return await super().due(now, asked_since, limit)

    async def row(self, domain: Domain) -> Row | None:
        """See `Store`."""
        await self._ask("row")
        return await super().row(domain)

    async def history(self, domain: Domain) -> Sequence[HistoryEntry]:
        """See `Store`."""
        await self._ask("history")
        return await super().history(domain)

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`."""
        await self._ask("page")
        return await super().page(query, after, limit)

    async def overview(self, now: float, asked_since: float) -> Overview:
        """See `Store`."""
        await self._ask("overview")
        return await super().overview(now, asked_since)

    async def forget(self, domain: Domain) -> bool:
        """See `Store`."""
        await self._ask("forget")
        return await super().forget(domain)

    async def remove_expired(self, before: float) -> int:
        """See `Store`."""
        await self._ask("remove_expired")
        return await super().remove_expired(before)

    async def close(self) -> None:
        """See `Store`."""
        await self._ask("close")


class Shelf:
    """Where backends are opened: one after the other, each new."""

    def __init__(self) -> None:
        self.fault: StoreError | None = None
        self.free = asyncio.Event()
        self.free.set()
        self.opened: list[Faulty] = []
        self.tried = 0

    async def open(self) -> Faulty:
        """The next backend."""
        self.tried += 1
        await self.free.wait()
        if self.fault:
            raise self.fault
        self.opened.append(Faulty())
        return self.opened[-1]

    @property
    def backend(self) -> Faulty:
        """The backend that was opened last."""
        return self.opened[-1]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@asynccontextmanager
async def opened(shelf: Shelf, timing: Timing, most: int = 2000) -> AsyncIterator[FailsafeStore]:
    """The wall before what is on the shelf."""
    store = FailsafeStore(shelf.open, timing=timing, unwritten_most=most)
    await store.open()
    yield store
    for backend in shelf.opened:
        backend.free.set()
        backend.fault = None
    await store.close()


@pytest.fixture
def shelf() -> Shelf:
    """Where backends come from."""
    return Shelf()


@pytest.fixture
async def store(shelf: Shelf) -> AsyncIterator[FailsafeStore]:
    """The wall before a backend, with another try every hundredth of a second."""
    async with opened(shelf, SHORT) as new:
        yield new


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged at INFO counts, too."""
    caplog.set_level(logging.INFO)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log, with their levels."""
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


async def repaired(store: FailsafeStore) -> None:
    """Return when there is nothing left to open or to write."""
    assert store._repair
    await store._repair


async def test_healthy(
    store: FailsafeStore, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """With a backend that works all goes to it, none stays in memory, nothing is logged."""
    await store.save(GOOD, a_state(), 0.0)
    assert shelf.backend.rows[GOOD].state == a_state()
    assert store.unwritten == store.failures == store.dropped == store.asked_lost == 0
    assert store._repair
    assert store._repair.done()
    assert said(caplog) == []


async def test_kept_in_memory(
    store: FailsafeStore, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is served from memory, and written when it can be."""
    shelf.backend.fault = FULL
    await store.save(GOOD, a_state(), 7.0)
    assert await store.load(GOOD) == a_state()
    assert store.unwritten == 1
    shelf.backend.fault = None
    await repaired(store)
    assert shelf.backend.rows[GOOD].state == a_state()
    assert shelf.backend.rows[GOOD].asked_at == 7.0
    assert store.unwritten == 0
    assert said(caplog) == [
        'WARNING store failing doing=writing reason="disk full"',
        "INFO store works again doing=writing written=1",
    ]


async def test_unwritten_wins(store: FailsafeStore, shelf: Shelf) -> None:
    """An older policy on file never comes before a newer one in memory (C10)."""
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = FULL
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    shelf.backend.fault = None
    assert await store.load(GOOD) == later


async def test_saves_do_not_wait_for_what_fails(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """While the backend is known to fail it is not asked; one line says so, not one a save."""
    async with opened(shelf, NEVER_AGAIN) as store:
        shelf.backend.fault = FULL
        for n in range(50):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert shelf.backend.asked["save"] == 1
        assert store.failures == 1
        assert store.unwritten == 50
        assert len(said(caplog)) == 1


async def test_many_unwritten(store: FailsafeStore, shelf: Shelf) -> None:
    """All that is unwritten is written, also when it is more than goes at once."""
    shelf.backend.fault = FULL
    domains = {Domain(f"d{n}.test") for n in range(1203)}
    for domain in domains:
        await store.save(domain, a_state(), 0.0)
    shelf.backend.fault = None
    await repaired(store)
    assert shelf.backend.rows.keys() == domains


async def test_repair_goes_on(store: FailsafeStore, shelf: Shelf) -> None:
    """Writing is tried until it succeeds, and each failure is counted."""
    shelf.backend.fault = FULL
    await store.save(GOOD, a_state(), 0.0)
    await shelf.backend.asked.reached("save", 4)
    assert store.unwritten == 1
    assert store.failures >= 3
    shelf.backend.fault = None
    await repaired(store)
    assert store.unwritten == 0


async def test_bounded(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """Of more than can be kept, the oldest go, counted."""
    async with opened(shelf, NEVER_AGAIN, most=3) as store:
        shelf.backend.fault = FULL
        for n in (1, 2, 3, 1, 4, 5):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert store.dropped == 2
        assert list(store._unwritten.rows) == ["d1.test", "d4.test", "d5.test"]


async def test_newer_save_during_repair(store: FailsafeStore, shelf: Shelf) -> None:
    """What is saved while an older one is being written stays until it is written itself."""
    backend = shelf.backend
    backend.fault = FULL
    await store.save(GOOD, a_state(), 0.0)
    backend.free.clear()
    backend.fault = None
    await backend.asked.reached("save", 2)
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    backend.free.set()
    await repaired(store)
    assert backend.rows[GOOD].state == later
    assert store.unwritten == 0


async def test_newer_save_while_an_older_waits(store: FailsafeStore, shelf: Shelf) -> None:
    """An older save that ends late takes nothing of the newer one with it."""
    shelf.backend.free.clear()
    saves = [
        asyncio.create_task(store.save(GOOD, a_state(fetched_at), 0.0))
        for fetched_at in (1000.0, 1500.0)
    ]
    await shelf.backend.asked.reached("save", 2)
    saves[1].cancel()
    await asyncio.wait(saves[1:])
    shelf.backend.free.set()
    await saves[0]
    await repaired(store)
    assert shelf.backend.rows[GOOD].state == a_state(1500.0)


async def test_cancelled_save_is_written(store: FailsafeStore, shelf: Shelf) -> None:
    """A policy is written although whoever saved it gave up waiting."""
    shelf.backend.free.clear()
    save = asyncio.create_task(store.save(GOOD, a_state(), 0.0))
    await shelf.backend.asked.reached("save", 1)
    save.cancel()
    await asyncio.wait([save])
    shelf.backend.free.set()
    await repaired(store)
    assert shelf.backend.rows[GOOD].state == a_state()


async def test_slow_write(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """A write that takes too long is one that failed: the look-up goes on without it."""
    async with opened(shelf, IMPATIENT) as store:
        shelf.backend.free.clear()
        await store.save(GOOD, a_state(), 0.0)
        assert await store.load(GOOD) == a_state()
        assert said(caplog) == [
            'WARNING store failing doing=writing reason="writing took longer than 0.01 s"'
        ]
        shelf.backend.free.set()
        await repaired(store)
        assert shelf.backend.rows[GOOD].state == a_state()


async def test_failing_read(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read is not there; one look-up tries again each interval, no more."""
    clock = Clock()
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN, clock=clock)
    await store.open()
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = StoreError("bad disk")
    for _ in range(10):
        assert await store.load(GOOD) is None
    assert shelf.backend.asked["load"] == 1
    clock.now = 3600.0
    assert await asyncio.gather(*(store.load(GOOD) for _ in range(10))) == [None] * 10
    assert shelf.backend.asked["load"] == 2
    shelf.backend.fault = None
    assert await store.load(GOOD) is None
    clock.now = 7200.0
    assert await store.load(GOOD) == a_state()
    assert await store.load(GOOD) == a_state()
    assert said(caplog) == [
        'WARNING store failing doing=reading reason="bad disk"',
        "INFO store works again doing=reading",
    ]
    await store.close()


async def test_slow_read(shelf: Shelf) -> None:
    """A read that takes too long is one that failed."""
    async with opened(shelf, IMPATIENT) as store:
        await store.save(GOOD, a_state(), 0.0)
        shelf.backend.free.clear()
        assert await store.load(GOOD) is None
        assert store.failures == 1


async def test_failing_write_leaves_reading_alone(shelf: Shelf) -> None:
    """A file that cannot be written is read, and the other way round."""
    async with opened(shelf, NEVER_AGAIN) as store:
        await store.save(GOOD, a_state(), 0.0)
        shelf.backend.fault = FULL
        await store.save(OTHER, a_state(), 0.0)
        shelf.backend.fault = None
        assert await store.load(GOOD) == a_state()
        assert store.unwritten == 1
        assert (store.readable, store.writable) == (True, False)


async def test_failing_read_leaves_writing_alone(shelf: Shelf) -> None:
    """A file that cannot be read just now is written."""
    async with opened(shelf, NEVER_AGAIN) as store:
        shelf.backend.fault = FULL
        assert await store.load(GOOD) is None
        shelf.backend.fault = None
        await store.save(GOOD, a_state(), 0.0)
        assert shelf.backend.rows[GOOD].state == a_state()
        assert (store.readable, store.writable) == (False, True)


async def test_touch_lost(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """Last-asked times that cannot be written are lost and counted, but for what is in memory."""
    async with opened(shelf, NEVER_AGAIN) as store:
        shelf.backend.fault = FULL
        await store.save(GOOD, a_state(), 0.0)
        await store.touch({GOOD: LastAsked(9.0, 1), OTHER: LastAsked(9.0, 1)})
        assert store.asked_lost == 2
        assert store._unwritten.rows[GOOD].asked_at == 9.0
        assert len(said(caplog)) == 1


async def test_touch_finds_that_writing_works(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing is unwritten, the next write of any kind finds that the store works again."""
    clock = Clock()
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN, clock=clock)
    await store.open()
    shelf.backend.fault = FULL
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert await store.remove_expired(0.0) == 0
    shelf.backend.fault = None
    clock.now = 3600.0
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert said(caplog)[1:] == ["INFO store works again doing=writing"]
    await store.close()


async def test_touch_leaves_the_unwritten_to_repair(shelf: Shelf) -> None:
    """Where something is unwritten, the store works again only when that is on file."""
    clock = Clock()
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN, clock=clock)
    await store.open()
    shelf.backend.fault = FULL
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = None
    clock.now = 3600.0
    await store.touch({GOOD: LastAsked(9.0, 1)})
    assert shelf.backend.asked["touch"] == 1
    await store.save(OTHER, a_state(), 0.0)
    assert store.unwritten == 2
    await store.close()
    assert shelf.backend.rows.keys() == {GOOD, OTHER}


async def test_touch_in_pieces(store: FailsafeStore, shelf: Shelf) -> None:
    """A great many last-asked times are written in pieces, so that saves come in between."""
    await store.touch({Domain(f"d{n}.test"): LastAsked(1.0, 1) for n in range(12_000)})
    assert shelf.backend.asked["touch"] == 3


async def test_due(shelf: Shelf) -> None:
    """Due is what is in memory and then what is on file, each domain as it is newest."""
    async with opened(shelf, NEVER_AGAIN) as store:
        for name in ("a.test", "b.test", "c.test"):
            await store.save(Domain(name), a_state(), 0.0)
        shelf.backend.fault = FULL
        await store.save(Domain("a.test"), a_state(refetch_at=9000.0), 0.0)
        await store.save(Domain("d.test"), a_state(), 0.0)
        shelf.backend.fault = None
        assert await store.due(5000.0, 0.0, 9) == ["d.test", "b.test", "c.test"]
        assert await store.due(5000.0, 0.0, 2) == ["d.test", "b.test"]
        shelf.backend.fault = FULL
        assert await store.due(5000.0, 0.0, 9) == ["d.test"]


async def test_remove_expired(shelf: Shelf) -> None:
    """What has expired goes from memory and file alike."""
    async with opened(shelf, NEVER_AGAIN) as store:
        shelf.backend.fault = FULL
        await store.save(GOOD, a_state(policy=a_policy(max_age=0)), 0.0)
        assert await store.remove_expired(2000.0) == 1
        assert store.unwritten == 0


async def test_not_open_yet(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """A store that cannot be opened at the start is done without, and opened later."""
    shelf.fault = StoreError("no such disk")
    async with opened(shelf, SHORT) as store:
        assert await store.load(GOOD) is None
        await store.save(GOOD, a_state(), 0.0)
        await store.touch({OTHER: LastAsked(1.0, 1)})
        assert await store.load(GOOD) == a_state()
        assert (store.readable, store.writable) == (False, False)
        shelf.fault = None
        await repaired(store)
        assert (store.readable, store.writable) == (True, True)
        assert shelf.backend.rows[GOOD].state == a_state()
    assert said(caplog) == [
        'WARNING store failing doing=writing reason="no such disk"',
        "INFO store works again doing=writing written=1",
    ]


async def test_slow_to_open(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """A store that takes long to open is not waited for; it is used when it is there."""
    shelf.free.clear()
    async with opened(shelf, IMPATIENT) as store:
        assert "opening took longer than 0.01 s" in said(caplog)[0]
        await store.save(GOOD, a_state(), 0.0)
        shelf.free.set()
        await repaired(store)
        assert shelf.tried == 1
        assert shelf.backend.rows[GOOD].state == a_state()


DAMAGED = DamagedStoreError("malformed")


@pytest.mark.parametrize("what", ["load", "save"])
async def test_damaged(shelf: Shelf, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """A damaged store is replaced by a new one, on which is again all that is in memory."""
    absence = replace(a_state(), policy=None, policy_id=None)
    known = {Domain("a.test"): a_state(), Domain("b.test"): absence, GOOD: a_state()}
    store = FailsafeStore(shelf.open, timing=SHORT, in_memory=known.items)
    await store.open()
    old = shelf.backend
    old.fault = DAMAGED
    if what == "load":
        assert await store.load(Domain("a.test")) is None
    await store.save(GOOD, a_state(1500.0), 2000.0)
    old.fault = None
    await repaired(store)
    assert len(shelf.opened) == 2
    assert old.asked["close"] == 1
    assert {domain: row.state for domain, row in shelf.backend.rows.items()} == {
        "a.test": a_state(),
        GOOD: a_state(1500.0),
    }
    assert [line.split(" reason")[0] for line in said(caplog)] == [
        f"WARNING store failing doing={'reading' if what == 'load' else 'writing'}",
        "INFO store works again doing=reading"
        if what == "load"
        else "INFO store works again doing=writing written=2",
    ]
    await store.close()


async def test_damaged_again(shelf: Shelf) -> None:
    """A new store that is damaged at once is not followed by another each time."""
    async with opened(shelf, NEVER_AGAIN) as store:
        shelf.backend.fault = DAMAGED
        assert await store.load(GOOD) is None
        shelf.backend.fault = None
        await repaired(store)
        shelf.backend.fault = DAMAGED
        for n in range(5):
            await store.save(Domain(f"d{n}.test"), a_state(), 0.0)
        assert shelf.tried == 2
        assert store.unwritten == 5


async def test_late_news_of_damage(store: FailsafeStore, shelf: Shelf) -> None:
    """That a store was damaged which has been replaced meanwhile replaces no other."""
    old = shelf.backend
    old.free.clear()
    old.fault = DAMAGED
    reads = [asyncio.create_task(read(GOOD)) for read in (store.load, store.row)]
    await asyncio.gather(old.asked.reached("load", 1), old.asked.reached("row", 1))
    old.free.set()
    assert await asyncio.gather(*reads) == [None, None]
    old.fault = None
    await repaired(store)
    assert shelf.tried == 2


async def test_damaged_store_that_cannot_be_set_aside(store: FailsafeStore, shelf: Shelf) -> None:
    """Closing what is damaged is tried until it succeeds: else it would be opened again."""
    old = shelf.backend
    old.fault = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    old.fault = StoreError("read-only folder")
    await old.asked.reached("close", 2)
    assert shelf.tried == 1
    old.fault = None
    await repaired(store)
    assert shelf.backend.rows[GOOD].state == a_state()


async def test_close_writes_last(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """What is unwritten when the store is closed is written then, if it can be."""
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN)
    await store.open()
    shelf.backend.fault = FULL
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = None
    await store.close()
    assert shelf.backend.rows[GOOD].state == a_state()
    assert shelf.backend.asked["close"] == 1
    assert said(caplog)[1:] == ["INFO store works again doing=writing written=1"]


async def test_close_without_success(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written even then is lost, and said to be; closing goes on."""
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN)
    await store.open()
    shelf.backend.fault = FULL
    await store.save(GOOD, a_state(), 0.0)
    await store.close()
    assert shelf.backend.asked["close"] == 1
    assert said(caplog)[1:] == ["WARNING policies not written count=1"]


async def test_close_does_not_hang(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that hangs is left to itself."""
    store = FailsafeStore(shelf.open, timing=IMPATIENT)
    await store.open()
    shelf.backend.free.clear()
    await store.close()
    assert said(caplog) == [
        'WARNING store failing doing=writing reason="closing took longer than 0.01 s"'
    ]


async def test_close_of_a_damaged_store(shelf: Shelf) -> None:
    """A damaged store that waits for its turn to be replaced is closed with the rest."""
    store = FailsafeStore(shelf.open, timing=NEVER_AGAIN)
    await store.open()
    shelf.backend.fault = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = None
    await repaired(store)
    shelf.backend.fault = DAMAGED
    await store.save(GOOD, a_state(), 0.0)
    shelf.backend.fault = None
    await store.close()
    assert [backend.asked["close"] for backend in shelf.opened] == [1, 1]


async def test_close_of_a_store_that_never_opened(shelf: Shelf) -> None:
    """Where nothing was opened, nothing is to be closed."""
    shelf.fault = FULL
    store = FailsafeStore(shelf.open, timing=SHORT)
    await store.open()
    await store.close()
    assert not shelf.opened


async def test_close_without_open(shelf: Shelf) -> None:
    """A start that failed before the store's turn can close it all the same."""
    await FailsafeStore(shelf.open).close()
    assert shelf.tried == 0


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
    """Whatever fails and when, in the end every policy in memory is on file, the newest of each."""
    shelf, known = Shelf(), dict[Domain, State]()
    timing = Timing(retry=0.0, replace=0.0, read=5.0, write=5.0)
    store = FailsafeStore(shelf.open, timing=timing, in_memory=lambda: list(known.items()))
    await store.open()
    for number, (what, which) in enumerate(steps):
        if what == "save":
            known[Domain(str(which))] = a_state(1000.0 + number)
            await store.save(Domain(str(which)), known[Domain(str(which))], 0.0)
        elif what == "load" and Domain(str(which)) in store._unwritten.rows:
            assert await store.load(Domain(str(which))) == known[Domain(str(which))]
        elif what == "fault" and not isinstance(which, str):
            shelf.backend.fault = which
        else:
            await asyncio.sleep(0)
    for backend in shelf.opened:
        backend.fault = None
    await repaired(store)
    assert {d: row.state for d, row in shelf.backend.rows.items()} == known
    await store.close()


async def test_pages_of_file_and_memory_together(shelf: Shelf) -> None:
    """What is unwritten stands in its place among what is on file, and hides what is older."""
    async with opened(shelf, NEVER_AGAIN) as store:
        domains = [Domain(f"d{n}.test") for n in range(10)]
        for domain in domains[:8]:
            await store.save(domain, a_state(), 0.0)
        shelf.backend.fault = FULL
        expired = a_policy(max_age=1)
        for domain in domains[:3]:
            await store.save(domain, a_state(1500.0, policy=expired), 0.0)
        for domain in domains[5::3]:
            await store.save(domain, a_state(1500.0), 0.0)
        shelf.backend.fault = None
        after: Domain | None = None
        pages: list[list[Row]] = []
        while rows := await store.page(RowFilter(2000.0), after, 2):
            pages.append(list(rows))
            after = rows[-1].domain
        found = [row for page in pages for row in page]
        assert [row.domain for row in found] == domains[3:9]
        assert [row.state.fetched_at for row in found] == [1000, 1000, 1500, 1000, 1000, 1500]
        assert all(len(page) <= 2 for page in pages)


async def test_row_and_history_of_file_and_memory_together(shelf: Shelf) -> None:
    """The policy is the newer one; what was asked, and seen before, is on file."""
    async with opened(shelf, NEVER_AGAIN) as store:
        await store.save(GOOD, a_state(), 7.0)
        await store.touch({GOOD: LastAsked(8.0, 5)})
        shelf.backend.fault = FULL
        later = a_state(1500.0, policy_id="id2")
        await store.save(GOOD, later, 7.0)
        shelf.backend.fault = None
        assert await store.row(GOOD) == Row(GOOD, later, 8.0, 5)
        assert [seen.policy_id for seen in await store.history(GOOD)] == ["id2", "id1"]
        shelf.backend.fault = FULL
        assert await store.row(GOOD) == Row(GOOD, later, 7.0, 0)
        assert [seen.policy_id for seen in await store.history(GOOD)] == ["id2"]


async def test_what_cannot_be_read_is_not_there(shelf: Shelf) -> None:
    """Lists, counts and histories of a file that fails are those of memory."""
    async with opened(shelf, NEVER_AGAIN) as store:
        await store.save(GOOD, a_state(), 7.0)
        shelf.backend.fault = FULL
        assert await store.page(RowFilter(2000.0), None, 9) == []
        assert await store.row(GOOD) is None
        assert await store.history(GOOD) == []
        assert (await store.overview(2000.0, 0.0)).oldest_fetched_at is None
        assert not await store.forget(GOOD)


async def test_slow_lists_leave_reading_alone(shelf: Shelf) -> None:
    """What takes long over a million rows is no reason to read no policy any more."""
    timing = Timing(retry=3600.0, replace=3600.0, read=5.0, list=0.01, write=5.0)
    async with opened(shelf, timing) as store:
        await store.save(GOOD, a_state(), 7.0)
        shelf.backend.free.clear()
        assert (await store.overview(2000.0, 0.0)).oldest_fetched_at is None
        assert await store.page(RowFilter(2000.0), None, 9) == []
        shelf.backend.free.set()
        assert await store.load(GOOD) == a_state()
        assert store.failures == 1
        assert not store.readable


async def test_forget_what_is_unwritten(shelf: Shelf) -> None:
    """It is never written."""
    async with opened(shelf, SHORT) as store:
        shelf.backend.fault = FULL
        await store.save(GOOD, a_state(), 7.0)
        assert await store.forget(GOOD)
        shelf.backend.fault = None
        await repaired(store)
        assert shelf.backend.rows == {}
