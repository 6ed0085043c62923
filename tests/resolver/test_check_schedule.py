"""When checks of domains start: never too many, whatever is asked, found and the time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Scope
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver import check_schedule
from postfix_mta_sts.resolver.check_schedule import (
    BELOW_WILDCARD,
    CHECKS_A_DAY,
    CHECKS_AT_ONCE,
    KNOWN_LIMIT,
    QUEUE_LIMIT,
    SCOPES_LIMIT,
    Schedule,
    probable_times,
)
from postfix_mta_sts.resolver.trial import Wanted
from postfix_mta_sts.stats.labels import Purpose
from tests.support.surroundings import START, policy

EVERY = 6 * 3600.0
# Seconds: what a day of subtractions of floating point numbers can be wrong by, and more.
ROUNDING = 1e-6
A, B = Domain("a.test"), Domain("b.test")
TRIAL = Wanted(Purpose.TRIAL, policy(), "a")
EXCEPTION = Wanted(Purpose.EXCEPTION, policy(), "a")


def domain(number: int) -> Domain:
    """One of many domains."""
    return Domain(f"d{number}.test")


def start_all(schedule: Schedule, now: float) -> list[Domain]:
    """Make all checks that may start now, one after the other."""
    made = []
    while started := schedule.start(now):
        schedule.end(started[0], now)
        made.append(started[0])
    return made


class Limits(RuleBasedStateMachine):
    """A clock that goes on and is set, domains that are asked for, and checks that end."""

    LEAST_A_DAY = 8

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(check_schedule, "CHECKS_A_DAY", self.LEAST_A_DAY)
        self.schedule = Schedule()
        self.now = START
        self.real = 0.0
        self.running: dict[Domain, float] = {}
        self.made: list[tuple[float, Domain]] = []

    def teardown(self) -> None:
        """Put the limit back."""
        self.patch.undo()

    @rule(number=st.integers(0, 30), is_exception=st.booleans())
    def ask(self, number: int, is_exception: bool) -> None:  # noqa: FBT001 (drawn by name)
        """A domain is asked for."""
        self.schedule.add(domain(number), EXCEPTION if is_exception else TRIAL, EVERY, self.now)

    @rule()
    def start(self) -> None:
        """Whatever may start does."""
        while started := self.schedule.start(self.now):
            assert started[0] not in self.running
            self.running[started[0]] = self.real

    @precondition(lambda self: self.running)
    @rule(data=st.data(), was_made=st.booleans())
    def end(self, data: st.DataObject, was_made: bool) -> None:  # noqa: FBT001 (drawn by name)
        """A check ends, made or not."""
        ended = data.draw(st.sampled_from(sorted(self.running)))
        if was_made:
            self.made.append((self.running[ended], ended))
        del self.running[ended]
        if was_made:
            self.schedule.end(ended, self.now)
        else:
            self.schedule.skip(ended, None)

    @rule(seconds=st.floats(0, DAY))
    def pass_time(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds
        self.real += seconds

    @rule(seconds=st.floats(0, 3 * DAY))
    def set_back(self, seconds: float) -> None:
        """The clock is set back."""
        self.now -= seconds

    @invariant()
    def at_once(self) -> None:
        """At most four run at once, and are counted right."""
        assert self.schedule.running == len(self.running) <= CHECKS_AT_ONCE

    @invariant()
    def in_a_day(self) -> None:
        """No more than the limit start within 24 hours that were real."""
        times = sorted([*(at for at, _ in self.made), *self.running.values()])
        for at in times:
            assert sum(at <= each < at + DAY - 1 for each in times) <= self.LEAST_A_DAY

    @invariant()
    def of_a_domain(self) -> None:
        """No domain is checked twice within the interval."""
        for one in {each for _, each in self.made}:
            times = sorted(at for at, each in self.made if each == one)
            assert all(later - before >= EVERY - 1 for before, later in pairwise(times))


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=30, stateful_step_count=50)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 2 * DAY), max_size=20))
def test_wait_is_the_truth(passes: list[float]) -> None:
    """After as many seconds as `wait` says, and not before, a check starts."""
    schedule, now = Schedule(), START
    schedule.restore(((domain(n), START) for n in range(CHECKS_A_DAY - 3)), START)
    for number, seconds in enumerate(passes):
        now += seconds
        schedule.add(Domain(f"new{number}.test"), TRIAL, EVERY, now)
        wait = schedule.wait(now)
        assert wait is not None
        if wait:
            assert schedule.start(now) is None
        now += wait + 1
        assert start_all(schedule, now)


def test_ten_thousand_domains_of_one_owner() -> None:
    """They get the checks of a day, four at once, and no more before the day is over."""
    schedule, at_once, made = Schedule(), 0, 0
    for minute in range(24 * 60):
        now = START + 60.0 * minute
        for number in range(minute % 100, 10_000, 100):
            schedule.add(domain(number), TRIAL, EVERY, now)
        started = []
        while one := schedule.start(now):
            started.append(one[0])
        at_once, made = max(at_once, len(started)), made + len(started)
        for each in started:
            schedule.end(each, now)
    assert (at_once, made) == (CHECKS_AT_ONCE, CHECKS_A_DAY)
    assert schedule.waiting == QUEUE_LIMIT
    assert schedule.left_out > 0
    assert schedule.wait(START + DAY - 60) == 60


def test_exceptions_come_first() -> None:
    """A person waits for them."""
    schedule = Schedule()
    schedule.add(A, TRIAL, EVERY, START)
    schedule.add(B, EXCEPTION, DAY, START)
    assert start_all(schedule, START) == [B, A]


def test_a_full_queue_has_room_for_exceptions() -> None:
    """The domains of a trial do not keep them out."""
    schedule = Schedule()
    for number in range(2 * QUEUE_LIMIT):
        schedule.add(domain(number), TRIAL, EVERY, START)
    assert schedule.waiting == QUEUE_LIMIT
    schedule.add(A, EXCEPTION, DAY, START)
    started = schedule.start(START)
    assert started
    assert started[0] == A
    for number in range(2 * QUEUE_LIMIT, 5 * QUEUE_LIMIT):
        schedule.add(domain(number), EXCEPTION, DAY, START)
    assert schedule.waiting == 2 * QUEUE_LIMIT


def test_a_domain_is_queued_once() -> None:
    """The last thing that was wanted of it counts, and none is queued while it is checked."""
    schedule = Schedule()
    schedule.add(A, TRIAL, EVERY, START)
    schedule.add(A, EXCEPTION, EVERY, START)
    assert schedule.waiting == 1
    assert schedule.start(START) == (A, EXCEPTION)
    schedule.add(A, TRIAL, EVERY, START)
    assert schedule.waiting == 0
    schedule.end(A, START)
    assert not schedule.is_due(A, EVERY, START + EVERY - 1)
    assert schedule.is_due(A, EVERY, START + EVERY)


def test_a_check_that_was_not_made() -> None:
    """It does not count, and its domain is still due; one that the store knew does not count."""
    schedule = Schedule()
    schedule.add(A, TRIAL, EVERY, START)
    schedule.start(START)
    schedule.skip(A, None)
    assert schedule.is_due(A, EVERY, START)
    schedule.add(A, TRIAL, EVERY, START)
    schedule.start(START)
    schedule.skip(A, START - 60)
    assert not schedule.is_due(A, EVERY, START)
    assert not schedule._started


def test_restart() -> None:
    """Checks of the last day before the start count, and those from the future as made now."""
    schedule = Schedule()
    known = [(domain(n), START - 2 * DAY if n < 5 else START + 99.0) for n in range(CHECKS_A_DAY)]
    schedule.restore(known, START)
    for number in range(3_000):
        schedule.add(Domain(f"new{number}.test"), TRIAL, EVERY, START)
    assert len(start_all(schedule, START)) == 5
    assert start_all(schedule, START + DAY - 1) == []
    assert len(start_all(schedule, START + DAY)) == QUEUE_LIMIT - 5


def test_a_restart_every_six_hours() -> None:
    """Domains that are checked several times a day count as often, also after a restart."""
    made, kept = list[float](), dict[Domain, float]()
    for hour in range(0, 72, 6):
        schedule, now = Schedule(), START + 3_600.0 * hour
        before = [
            (each, time)
            for each, at in kept.items()
            for time in probable_times(at, START, EVERY, now)
        ]
        schedule.restore(before, now)
        for number in range(1_000):
            schedule.add(domain(number), TRIAL, EVERY, now)
        started = start_all(schedule, now)
        kept |= dict.fromkeys(started, now)
        made += [now] * len(started)
    for end in set(made):
        assert sum(end - DAY < at <= end for at in made) <= CHECKS_A_DAY
    assert len(made) > 2 * CHECKS_A_DAY


@given(st.floats(0, 2 * DAY), st.floats(0, 2 * DAY), st.floats(60, 30 * DAY), st.floats(0, 2 * DAY))
def test_probable_times(at: float, since: float, interval: float, now: float) -> None:
    """They are an interval apart, of the last day, and not before the result was the same."""
    last, *others = probable_times(at, since, interval, now)
    assert last == at
    assert len(others) * interval <= DAY + ROUNDING
    assert all(max(since, now - DAY) <= each <= now for each in others)


def test_below_a_wildcard() -> None:
    """Of the domains below one wildcard a few are checked in a day; other wildcards have theirs."""
    schedule = Schedule()
    below = Wanted(Purpose.EXCEPTION, policy(), "a", Scope("*.test"))
    for number in range(100):
        schedule.add(domain(number), below, DAY, START)
    assert len(start_all(schedule, START)) == BELOW_WILDCARD
    for number in range(100, 100 + 2 * SCOPES_LIMIT):
        other = Wanted(Purpose.EXCEPTION, policy(), "a", Scope(f"*.x{number}.test"))
        schedule.add(domain(number), other, DAY, START)
    assert len(schedule._below) <= SCOPES_LIMIT
    schedule.clear()
    schedule.add(domain(50), below, DAY, START + DAY)
    assert schedule.waiting == 1


def test_memory_is_bounded() -> None:
    """Of too many domains the oldest are forgotten; the store knows them."""
    schedule = Schedule()
    schedule.restore(((domain(n), START + n / 1e6) for n in range(KNOWN_LIMIT + 500)), START + DAY)
    assert len(schedule._checked) == KNOWN_LIMIT
    assert schedule.is_due(domain(0), 2 * DAY, START + DAY)
    assert not schedule.is_due(domain(KNOWN_LIMIT + 499), 2 * DAY, START + DAY)
