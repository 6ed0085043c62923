"""The contract of `Store`: one suite for all implementations."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import HostState, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Backoff, Failure, State
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import (
    MAX_HISTORY,
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    Store,
    StoreError,
)
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.support.states import STATES, TIMES, a_policy, a_state
from tests.support.surroundings import signed

GOOD = Domain("good.test")
OTHER = Domain("other.test")

FAILURE = Failure("status", "sts-policy-fetch-error", "HTTP 404", 2, 1200.0)
BACKOFF = Backoff(PolicyId("id1"), 2, 5000.0)

FAR = 2.0**34
"""The time of the stores: after all times of the tests."""

Maker = Callable[[Path], Awaitable[Store]]


async def memory(_folder: Path) -> Store:
    """Make a `MemoryStore`."""
    return MemoryStore()


async def sqlite(folder: Path) -> Store:
    """Make a `SqliteStore`."""
    return await SqliteStore.open(folder / "policies.db", clock=lambda: FAR)


async def failsafe(folder: Path) -> Store:
    """Make a `FailsafeStore` with a `SqliteStore` behind it."""
    store = FailsafeStore(lambda: SqliteStore.open(folder / "policies.db", clock=lambda: FAR))
    await store.open()
    return store


async def failsafe_without_backend(folder: Path) -> Store:
    """Make a `FailsafeStore` whose backend cannot be opened."""

    async def fail() -> Store:
        raise StoreError("no such disk")

    store = FailsafeStore(fail)
    await store.open()
    return store


@pytest.fixture(params=[memory, sqlite, failsafe, failsafe_without_backend])
def make(request: pytest.FixtureRequest) -> Maker:
    """One implementation after the other."""
    maker: Maker = request.param
    return maker


@asynccontextmanager
async def opened(make: Maker) -> AsyncIterator[Store]:
    """Make a store in a new folder, and close it in the end."""
    with tempfile.TemporaryDirectory() as folder:
        store = await make(Path(folder))
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture
async def store(make: Maker) -> AsyncIterator[Store]:
    """A new store of each implementation."""
    async with opened(make) as new:
        yield new


async def test_unknown(store: Store) -> None:
    """A domain that was never saved has no state."""
    assert await found(store, GOOD) is None


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states=st.dictionaries(st.sampled_from([GOOD, OTHER]), STATES), asked_at=TIMES)
async def test_round_trip(make: Maker, states: dict[Domain, State], asked_at: float) -> None:
    """Any valid policy, with any id and times, is loaded as it was saved."""
    async with opened(make) as store:
        for domain, state in states.items():
            await store.save(domain, state, asked_at)
        assert {d: await store.load(d) for d in states} == states


async def test_what_is_not_saved(store: Store) -> None:
    """Checks are not saved: the recheck of a loaded state is due."""
    state = a_state()
    await store.save(GOOD, replace(state, checked_at=1500.0, recheck_at=1600.0), 1500.0)
    assert await store.load(GOOD) == state


async def test_absence_is_refused(store: Store) -> None:
    """Saving an absence is an error of the caller: it has no row."""
    with pytest.raises(ValueError, match="holds a policy"):
        await store.save(GOOD, replace(a_state(), policy=None, policy_id=None), 0.0)
    assert await found(store, GOOD) is None


async def test_replace(store: Store) -> None:
    """A later policy replaces the earlier one completely, even if it ends sooner (C10)."""
    await store.save(GOOD, a_state(), 1000.0)
    later = a_state(1500.0, 1600.0, "id2", a_policy(max_age=60))
    await store.save(GOOD, later, 1500.0)
    assert await store.load(GOOD) == later
    assert await store.remove_expired(1561.0) == 1


async def test_an_older_policy_replaces_nothing(store: Store) -> None:
    """A policy that another process has fetched since then stays (C10)."""
    newer = a_state(1500.0, 1600.0, "id2")
    await store.save(GOOD, newer, 1500.0)
    await store.save(GOOD, replace(a_state(1000.0), checked_at=1550.0), 1550.0)
    assert await store.load(GOOD) == newer


async def test_a_policy_from_the_future_is_replaced(store: Store) -> None:
    """After the clock was set back, the policy that is fetched now replaces it."""
    await store.save(GOOD, a_state(9000.0), 9000.0)
    now = a_state(1000.0)
    await store.save(GOOD, now, 1000.0)
    assert await store.load(GOOD) == now


async def test_expired_is_loaded(store: Store) -> None:
    """A store loads expired policies, too: the caller checks."""
    state = a_state(policy=a_policy(max_age=0))
    await store.save(GOOD, state, 1000.0)
    assert await store.load(GOOD) == state


async def test_due_order_and_limit(store: Store) -> None:
    """The longest overdue domains come first, at most `limit`."""
    for n in (3, 1, 2, 4):
        await store.save(Domain(f"d{n}.test"), a_state(refetch_at=2000.0 + n), 1000.0)
    assert await store.due(2003.0, 0.0, 9) == ["d1.test", "d2.test", "d3.test"]
    assert await store.due(2003.0, 0.0, 2) == ["d1.test", "d2.test"]


@pytest.mark.parametrize(
    ("now", "asked_since", "found"),
    [
        (2000.0, 1000.0, 1),
        (1999.0, 1000.0, 0),
        (2000.0, 1000.1, 0),
        (1000.0 + 604_800 - 1, 0.0, 1),
        (1000.0 + 604_800, 0.0, 0),
    ],
)
async def test_due_bounds(store: Store, now: float, asked_since: float, found: int) -> None:
    """A domain is due if its refetch is due, it has not expired, and it is in use."""
    await store.save(GOOD, a_state(refetch_at=2000.0), 1000.0)
    assert await store.due(now, asked_since, 9) == [GOOD] * found


async def test_touch(store: Store) -> None:
    """The last-asked time only increases; domains without a row are ignored."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.touch({GOOD: LastAsked(3000.0, 2), OTHER: LastAsked(3000.0, 1)})
    await store.touch({GOOD: LastAsked(2000.0, 3)})
    await store.touch({})
    assert await store.due(5000.0, 3000.0, 9) == [GOOD]
    assert await store.due(5000.0, 3000.1, 9) == []
    assert await found(store, OTHER) is None


async def test_save_keeps_later_asked_time(store: Store) -> None:
    """A save never sets the last-asked time back, but can advance it."""
    await store.save(GOOD, a_state(), 3000.0)
    await store.save(GOOD, a_state(), 2000.0)
    assert await store.due(5000.0, 3000.0, 9) == [GOOD]
    await store.save(GOOD, a_state(), 4000.0)
    assert await store.due(5000.0, 4000.0, 9) == [GOOD]


async def test_remove_expired(store: Store) -> None:
    """Rows that expired before the time are removed; the others stay."""
    await store.save(GOOD, a_state(policy=a_policy(max_age=100)), 1000.0)
    await store.save(OTHER, a_state(policy=a_policy(max_age=101)), 1000.0)
    assert await store.remove_expired(1100.0) == 0
    assert await store.remove_expired(1101.0) == 1
    assert await found(store, GOOD) is None
    assert await found(store, OTHER) is not None


async def test_remove_idle(store: Store) -> None:
    """Rows that were last asked for before the time are removed, with their history."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.save(OTHER, a_state(), 1001.0)
    assert await store.remove_idle(1000.0) == 0
    assert await store.remove_idle(1001.0) == 1
    assert await found(store, GOOD) is None
    assert await store.history(GOOD) == []
    assert await found(store, OTHER) is not None


async def test_history_of_a_long_policy(store: Store) -> None:
    """The history keeps the first of hundreds of patterns, and the number of the others."""
    mx = [f"mx{n}.example.test" for n in range(500)]
    text = "version: STSv1\nmode: enforce\nmax_age: 9\n" + "".join(f"mx: {m}\n" for m in mx)
    await store.save(GOOD, a_state(policy=parse_policy(text.encode())), 0.0)
    [entry] = await store.history(GOOD)
    assert entry.mx[:3] == tuple(mx[:3])
    assert entry.mx[-1] == f"+{500 - len(entry.mx) + 1}"
    assert len(" ".join(entry.mx)) < 1100


async def test_times_asked(store: Store) -> None:
    """Look-ups are added up, also if the policy is fetched in between."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.touch({GOOD: LastAsked(3000.0, 2)})
    await store.save(GOOD, a_state(1500.0), 1500.0)
    await store.touch({GOOD: LastAsked(2000.0, 3)})
    assert await store.row(GOOD) == Row(GOOD, a_state(1500.0), 3000.0, 5)
    assert await store.row(OTHER) is None


async def test_history(store: Store) -> None:
    """Each policy appears once, with its first and last fetch; the last seen comes first."""
    testing = parse_policy(a_policy().text.replace("enforce", "testing").encode())
    await store.save(GOOD, a_state(1000.0), 0.0)
    await store.save(GOOD, a_state(2000.0), 0.0)
    await store.save(GOOD, a_state(3000.0, policy=testing), 0.0)
    await store.save(GOOD, a_state(4000.0, policy_id="id2"), 0.0)
    await store.save(OTHER, a_state(9000.0), 0.0)
    mx = ("mx.good.test",)
    assert await store.history(GOOD) == [
        HistoryEntry(PolicyId("id2"), Mode.ENFORCE, mx, 4000.0, 4000.0),
        HistoryEntry(PolicyId("id1"), Mode.TESTING, mx, 3000.0, 3000.0),
        HistoryEntry(PolicyId("id1"), Mode.ENFORCE, mx, 1000.0, 2000.0),
    ]
    assert await store.history(Domain("unknown.test")) == []


async def test_history_is_bounded(store: Store) -> None:
    """The oldest entries are removed; those of other domains stay."""
    await store.save(OTHER, a_state(), 0.0)
    for n in range(MAX_HISTORY + 3):
        await store.save(GOOD, a_state(1000.0 + n, policy_id=f"id{n}"), 0.0)
    history = await store.history(GOOD)
    assert [seen.policy_id for seen in history] == [f"id{n}" for n in range(22, 2, -1)]
    assert len(await store.history(OTHER)) == 1


async def test_history_is_removed_with_the_row(store: Store) -> None:
    """Removing an expired row removes the history of its domain."""
    await store.save(GOOD, a_state(policy=a_policy(max_age=100)), 1000.0)
    await store.save(OTHER, a_state(), 1000.0)
    assert await store.remove_expired(1101.0) == 1
    assert await store.history(GOOD) == []
    assert len(await store.history(OTHER)) == 1


async def test_forget(store: Store) -> None:
    """Row and history of this domain are removed, and no others."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.save(OTHER, a_state(), 1000.0)
    assert await store.forget(GOOD)
    assert await store.row(GOOD) is None
    assert await found(store, GOOD) is None
    assert await store.history(GOOD) == []
    assert not await store.forget(GOOD)
    assert await store.row(OTHER) is not None


async def filled(store: Store) -> None:
    """Save ten domains: odd ones are testing, d8 and d9 expire soon, and d0 has expired."""
    ages = {0: 50, 8: 500, 9: 500}
    for n in range(10):
        text = a_policy(max_age=ages.get(n, 9000)).text
        if n % 2:
            text = text.replace("enforce", "testing")
        state = a_state(1000.0 + n, 2000.0 + n, policy=parse_policy(text.encode()))
        await store.save(Domain(f"d{n}.test"), state, 1000.0 + n)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RowFilter(1100.0), "123456789"),
        (RowFilter(1100.0, Mode.TESTING), "13579"),
        (RowFilter(1100.0, Mode.NONE), ""),
        (RowFilter(1100.0, expiring_before=2000.0), "89"),
        (RowFilter(1100.0, Mode.ENFORCE, 2000.0), "8"),
        (RowFilter(1600.0), "1234567"),
    ],
)
async def test_pages(store: Store, query: RowFilter, found: str) -> None:
    """All matching rows, ordered by domain, page by page; then an empty page."""
    await filled(store)
    after: Domain | None = None
    domains: list[str] = []
    while rows := await store.page(query, after, 2):
        assert len(rows) <= 2
        domains += [row.domain for row in rows]
        after = rows[-1].domain
    assert domains == [f"d{n}.test" for n in found]


async def test_a_page_has_whole_rows(store: Store) -> None:
    """A row has the state that `load` returns, and when and how often it was asked for."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.touch({GOOD: LastAsked(2000.0, 4)})
    assert await store.page(RowFilter(0.0), None, 9) == [Row(GOOD, a_state(), 2000.0, 4)]


async def test_overview(store: Store) -> None:
    """Unexpired rows by mode, and the fetch time of the row in use that is due first."""
    await filled(store)
    modes = {Mode.ENFORCE: 4, Mode.TESTING: 5, Mode.NONE: 0}
    assert await store.overview(1100.0, 1003.0) == Overview(modes, 1003.0)
    modes = {Mode.ENFORCE: 3, Mode.TESTING: 4, Mode.NONE: 0}
    assert await store.overview(1600.0, 9000.0) == Overview(modes, None)


async def test_verdict(make: Maker) -> None:
    """A verdict is saved with the policy or noted later; it needs a row."""
    first = after_verdict(None, signed(), 1000.0)
    second = after_verdict(first, signed(HostState.UNUSABLE), 2000.0)
    async with opened(make) as store:
        await store.note(GOOD, replace(a_state(), dane=first))
        assert await found(store, GOOD) is None
        await store.save(GOOD, replace(a_state(), dane=first), 0.0)
        assert (await loaded(store)).dane == first
        await store.note(GOOD, replace(a_state(), dane=second))
        assert (await loaded(store)).dane == second
        row = await store.row(GOOD)
        assert row
        assert row.state.dane == second
        await store.save(GOOD, replace(a_state(), dane=None), 0.0)
        assert (await loaded(store)).dane is None


async def test_failures_are_noted(store: Store) -> None:
    """A failed attempt leaves its failure and its back-offs beside the policy that stays."""
    failed = replace(a_state(), refetch_at=5000.0, failure=FAILURE, backoffs=(BACKOFF,))
    await store.save(GOOD, a_state(), 0.0)
    await store.note(GOOD, failed)
    assert await loaded(store) == failed
    row = await store.row(GOOD)
    assert row
    assert row.state == failed
    await store.note(GOOD, a_state())
    assert await loaded(store) == a_state()


async def test_a_note_about_another_policy_is_ignored(store: Store) -> None:
    """A policy that was fetched since then keeps its own state; an absence changes nothing."""
    newer = a_state(1500.0)
    await store.save(GOOD, newer, 0.0)
    await store.note(GOOD, replace(a_state(1000.0), failure=FAILURE))
    await store.note(GOOD, replace(newer, policy=None, policy_id=None, failure=FAILURE))
    assert await loaded(store) == newer


async def found(store: Store, domain: Domain) -> State | None:
    """Load a state; None also if the backend cannot be read."""
    try:
        return await store.load(domain)
    except StoreError:
        return None


async def loaded(store: Store) -> State:
    """Load the state of good.test."""
    state = await store.load(GOOD)
    assert state
    return state
