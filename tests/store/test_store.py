"""The contract of `Store`: one suite for all implementations."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Failure, State
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.store import (
    LastAsked,
    Row,
    RowFilter,
    Store,
)
from postfix_mta_sts.store.days import DayCounts, start_of
from postfix_mta_sts.values import replace
from tests.support.states import STATES, TIMES, a_policy, a_state
from tests.support.stores import MAKERS, Maker, found, loaded, opened
from tests.support.surroundings import signed

GOOD = Domain("good.test")
OTHER = Domain("other.test")

FAILURE = Failure("status", "sts-policy-fetch-error", "HTTP 404", 2, 1200.0)
BACKOFF = Backoff(PolicyId("id1"), 2, 5000.0)


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    """One implementation after the other."""
    maker: Maker = request.param
    return maker


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
    """Rows that were asked for and fetched before the time are removed, with their history."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.save(OTHER, a_state(), 1001.0)
    await store.save(Domain("fetched.test"), a_state(1001.0), 0.0)
    assert await store.remove_idle(1000.0) == 0
    assert await store.remove_idle(1001.0) == 1
    assert await found(store, GOOD) is None
    assert await store.history(GOOD) == []
    assert await found(store, OTHER) is not None
    assert await found(store, Domain("fetched.test")) is not None


async def test_times_asked(store: Store) -> None:
    """Look-ups are added up, also if the policy is fetched in between."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.touch({GOOD: LastAsked(3000.0, 2)})
    await store.save(GOOD, a_state(1500.0), 1500.0)
    await store.touch({GOOD: LastAsked(2000.0, 3)})
    assert await store.row(GOOD) == Row(GOOD, a_state(1500.0), 3000.0, 5, ((0, 5),))
    assert await store.row(OTHER) is None


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ([(0, 1), (0, 2), (1, 4)], ((0, 3), (1, 4))),
        ([(n, n + 1) for n in range(10)], tuple((n, n + 1) for n in range(2, 10))),
        ([(3, 1), (11, 2)], ((11, 2),)),
        ([(3, 1), (40, 2)], ((40, 2),)),
        ([(5, 1), (3, 2), (5, 1)], ((3, 2), (5, 2))),
    ],
)
async def test_times_asked_by_day(
    store: Store, asked: list[tuple[int, int]], counts: DayCounts
) -> None:
    """The look-ups of each of the last eight days, also if the clock is set back in between."""
    await store.save(GOOD, a_state(), 1000.0)
    for day, times in asked:
        await store.touch({GOOD: LastAsked(start_of(day) + 7.0, times)})
    row = await store.row(GOOD)
    assert row
    assert (row.asked_days, row.asked_count) == (counts, sum(times for _, times in asked))


async def test_one_touch_of_two_days(store: Store) -> None:
    """Look-ups around midnight are written together, and counted on the day of each."""
    for domain in (GOOD, OTHER):
        await store.save(domain, a_state(), 1000.0)
    midnight = float(start_of(3))
    await store.touch({GOOD: LastAsked(midnight - 1, 2), OTHER: LastAsked(midnight, 3)})
    rows = await store.page(RowFilter(0.0), None, 9)
    assert {row.domain: row.asked_days for row in rows} == {GOOD: ((2, 2),), OTHER: ((3, 3),)}


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


async def test_verdict(make: Maker) -> None:
    """A verdict is saved with the policy or noted later; it needs a row."""
    first = after_verdict(None, signed(), 1000.0)
    second = after_verdict(first, signed(HostState.UNUSABLE), 2000.0)
    async with opened(make) as store:
        await store.note(GOOD, replace(a_state(), dane=first))
        assert await found(store, GOOD) is None
        await store.save(GOOD, replace(a_state(), dane=first), 0.0)
        assert (await loaded(store, GOOD)).dane == first
        await store.note(GOOD, replace(a_state(), dane=second))
        assert (await loaded(store, GOOD)).dane == second
        row = await store.row(GOOD)
        assert row
        assert row.state.dane == second
        await store.save(GOOD, a_state(3000.0, 4000.0), 0.0)  # before that row was read
        assert await loaded(store, GOOD) == replace(a_state(3000.0, 4000.0), dane=second)


async def test_failures_are_noted(store: Store) -> None:
    """A failed attempt leaves its failure and its back-offs beside the policy that stays."""
    failed = replace(a_state(), refetch_at=5000.0, failure=FAILURE, backoffs=(BACKOFF,))
    await store.save(GOOD, a_state(), 0.0)
    await store.note(GOOD, failed)
    assert await loaded(store, GOOD) == failed
    row = await store.row(GOOD)
    assert row
    assert row.state == failed
    await store.note(GOOD, a_state())
    assert await loaded(store, GOOD) == a_state()


async def test_a_note_about_another_policy_is_ignored(store: Store) -> None:
    """A policy that was fetched since then keeps its own state; an absence changes nothing."""
    newer = a_state(1500.0)
    await store.save(GOOD, newer, 0.0)
    await store.note(GOOD, replace(a_state(1000.0), failure=FAILURE))
    await store.note(GOOD, replace(newer, policy=None, policy_id=None, failure=FAILURE))
    assert await loaded(store, GOOD) == newer
