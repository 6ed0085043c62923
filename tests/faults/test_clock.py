"""A wall clock that is wrong: nothing is lost by it, and nothing is believed longer for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.backoff import MAX_BACKOFF, Backoff
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import CertificateError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, Failure, Standing, live, restored, standing
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import MAX_LIFE, after_verdict
from postfix_mta_sts.resolver.refresher import TICK, Refresher
from postfix_mta_sts.store import LastAsked, RowFilter
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.support.resolvers import find_state, make_resolver
from tests.support.states import a_policy, a_state
from tests.support.surroundings import GOOD, START, Surroundings, policy, signed

YEARS = 5 * 365 * DAY
WEEK = 7 * DAY
OTHER = Domain("other.test")


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def opened(folder: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """Open the store; what was queued is written before it is closed."""
    store = await SqliteStore.open(folder / "policies.db", clock=clock)
    try:
        yield store
    finally:
        await store.close()


class Replies:
    """Cached replies that do nothing."""

    def clear(self) -> None:
        """See `ReplyCaches`."""

    async def count(self) -> None:
        """See `ReplyCaches`."""


class Machine:
    """A daemon's resolver and refresher, with both clocks in the hand of the test."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.monotonic = 100.0
        self.resolver = make_resolver(around)
        self.refresher = Refresher(
            self.resolver,
            around.sources(),
            idle_after=30 * DAY,
            replies=Replies(),
            monotonic=lambda: self.monotonic,
        )

    async def run(self, seconds: float, ticks: int = 1) -> None:
        """Let time pass, with housekeeping at the end of each share of it."""
        for _ in range(ticks):
            self.monotonic += seconds / ticks
            self.around.now += seconds / ticks
            await self.refresher.do_housekeeping()


async def test_nothing_is_removed_by_a_clock_that_is_ahead_at_the_start(tmp_path: Path) -> None:
    """400 days ahead at the start: every row is still there when the clock is right (A10)."""
    clock = Clock(START)
    async with opened(tmp_path, clock) as store:
        around = Surroundings(store=store, now=START + 400 * DAY)
        await store.save(GOOD, a_state(START, START + DAY), START)
        machine = Machine(around)
        await machine.run(DAY - 1, ticks=50)
        around.now -= 400 * DAY
        await machine.run(TICK)
        assert await store.load(GOOD) == a_state(START, START + DAY)


async def test_nothing_is_removed_by_a_clock_that_jumps_ahead(tmp_path: Path) -> None:
    """The same if the clock jumps later, for less than a day."""
    clock = Clock(START + 4 * DAY)
    async with opened(tmp_path, clock) as store:
        around = Surroundings(store=store)
        machine = Machine(around)
        await machine.run(3 * DAY, ticks=30)
        await store.save(GOOD, a_state(around.now, around.now + DAY), around.now)
        around.now += 400 * DAY
        await machine.run(TICK)
        await machine.run(DAY - TICK, ticks=30)
        assert await store.row(GOOD)
        await machine.run(TICK)
        assert await store.row(GOOD) is None


async def test_a_policy_from_the_future_ends_in_time(tmp_path: Path) -> None:
    """Fetched five years ahead, it ends max_age after the clock is right, restarts or not (A13)."""
    clock = Clock(START + YEARS)
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, a_state(clock.now, clock.now + DAY), clock.now)
    for days in range(9):
        clock.now = START + days * DAY
        async with opened(tmp_path, clock) as store:
            state = await store.load(GOOD)
            assert state
            assert state.expires_at == START + WEEK
            assert state.refetch_at <= clock.now
            assert bool(live(state, clock.now)) == (days < 7)


async def test_a_clock_that_is_set_back_for_a_while_costs_no_policy(tmp_path: Path) -> None:
    """What was noted before is true again when the clock is right."""
    clock = Clock(START)
    stored = a_state(START, START + DAY, policy=a_policy())
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, stored, START)
        for wrong in (START - HOUR, START - YEARS, 0.0):
            clock.now = wrong
            state = await store.load(GOOD)
            assert state
            assert standing(state, wrong) is Standing.DUE
            await store.touch({})  # written after the correction
        assert await store.remove_expired(START + 2 * DAY) == 0
        clock.now = START + 2 * DAY
        state = await store.load(GOOD)
        assert state
        assert (state.fetched_at, state.expires_at) == (START, START + WEEK)


async def test_all_times_on_file_are_corrected_once(tmp_path: Path) -> None:
    """Verdict, back-offs, failure, renewal: each ends in time, counted from the first sight."""
    ahead, clock = START + YEARS, Clock(START + YEARS)
    state = replace(
        a_state(START - HOUR, ahead),
        dane=after_verdict(None, signed(), ahead),
        failure=Failure("status", "", "HTTP 404", 3, ahead),
        backoffs=(Backoff(PolicyId("id1"), 3, ahead + HOUR),),
    )
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, state, ahead)
        clock.now = START
        seen = []
        for _ in range(3):
            found = await store.load(GOOD)
            assert found
            await store.touch({})  # written after the correction
            seen.append(found)
            clock.now += HOUR
    first = seen[0]
    assert seen == [first] * 3
    assert first.refetch_at <= START + DAY
    assert first.failure
    assert first.failure.since <= START
    assert first.backoffs[0].until <= START + MAX_BACKOFF
    assert first.dane
    assert first.dane.until <= START + MAX_LIFE


async def test_asked_at_and_history_from_the_future(tmp_path: Path) -> None:
    """Neither keeps a time that has not come yet, and the next look-up sets it right."""
    clock = Clock(START + YEARS)
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, a_state(clock.now), clock.now)
        clock.now = START
        row = await store.row(GOOD)
        assert row
        assert row.asked_at == START
        assert (await store.history(GOOD))[0].seen_to == START
        await store.touch({GOOD: LastAsked(START, 1)})
        await store.save(GOOD, a_state(START), START)
        assert (await store.history(GOOD))[0].seen_to == START
        assert await store.remove_idle(START + 1) == 1


@pytest.mark.parametrize("on_file", [True, False])
async def test_a_daemon_whose_clock_is_set_back(tmp_path: Path, on_file: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    """It believes what it fetched before for max_age from now, in memory and on file (A13)."""
    clock = Clock(START + YEARS)
    async with opened(tmp_path, clock) as store:
        around = Surroundings(store=store, now=clock.now)
        around.publish()
        machine = Machine(around)
        await find_state(machine.resolver, GOOD)
        around.policies[GOOD] = CertificateError("not yet valid")
        around.now = clock.now = START
        await machine.run(TICK)
        if on_file:
            await machine.resolver.close()
            machine = Machine(around)
        state = await find_state(machine.resolver, GOOD)
        assert state
        assert state.policy == policy()
        assert state.expires_at <= START + TICK + WEEK
        while flight := machine.resolver._flights.get(GOOD):
            await asyncio.wait([flight.task])
        await machine.resolver.renew(GOOD)
        around.now = clock.now = START + TICK + WEEK
        assert (state := await find_state(machine.resolver, GOOD))
        assert state.policy is None
        await machine.resolver.close()


async def test_name_servers_that_change_while_the_clock_is_ahead() -> None:
    """A verdict on file is used again as soon as the clock is right (A13)."""
    around = Surroundings(now=START + YEARS, verdicts={GOOD: signed(ttl=3600)})
    around.publish()
    machine = Machine(around)
    for name_server in ("192.0.2.1", "192.0.2.2"):
        machine.resolver.use_dane(around.look_up_dane, name_server)
    around.now = START
    await machine.run(TICK)
    await find_state(machine.resolver, GOOD)
    while flight := machine.resolver._flights.get(GOOD):
        await asyncio.wait([flight.task])
    machine.resolver._cache.drop(GOOD)
    assert await find_state(machine.resolver, GOOD)
    assert around.dane_queries[GOOD] == 1
    await machine.resolver.close()


async def test_a_renewal_that_is_noted_with_the_corrected_time(tmp_path: Path) -> None:
    """Memory is corrected before the file is: what an attempt notes still finds its row."""
    clock = Clock(START + YEARS)
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, a_state(clock.now), clock.now)
        clock.now = START
        noted = replace(a_state(START), failure=Failure("status", "", "HTTP 404", 1, START))
        await store.note(GOOD, noted)
        state = await store.load(GOOD)
        assert state
        assert state.failure == noted.failure
        assert state.fetched_at == START


def test_a_stored_policy_is_due_for_a_recheck() -> None:
    """A restored state is DUE at its own time, so that a right clock finds what has changed."""
    state = restored(policy(), PolicyId("a"), START, START + DAY)
    assert standing(state, START) is Standing.DUE


async def test_the_age_of_a_policy_from_the_future_is_not_known(tmp_path: Path) -> None:
    """Its row says so until the next fetch, also when the time has come that was noted."""
    clock = Clock(START + DAY)
    async with opened(tmp_path, clock) as store:
        await store.save(GOOD, a_state(clock.now, clock.now + DAY), clock.now)
        row = await store.row(GOOD)
        assert row
        assert row.is_dated
    for clock.now in (START, START + HOUR, START + 2 * DAY, START + 3 * DAY):
        async with opened(tmp_path, clock) as store:
            [row] = await store.page(RowFilter(clock.now), None, 9)
            assert not row.is_dated
            state = await store.load(GOOD)
            assert state
            await store.note(GOOD, replace(state, refetch_at=clock.now + HOUR))
    async with opened(tmp_path, clock) as store:
        assert await store.remove_expired(START + 8 * DAY) == 0
        assert await store.remove_expired(START + 9 * DAY) == 1
        await store.save(GOOD, a_state(clock.now, clock.now + DAY), clock.now)
        row = await store.row(GOOD)
        assert row
        assert row.is_dated
