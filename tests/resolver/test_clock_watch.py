"""How far the past of the wall clock can be trusted, after any course of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, MINUTE
from postfix_mta_sts.resolver.clock_watch import JUMP, TRUSTED_AFTER, ClockWatch

WALL = 1_790_000_000.0
YEARS = 5 * 365 * DAY


def test_nothing_is_trusted_before_a_day_of_uptime() -> None:
    """The first day of the process throws nothing away."""
    watch = ClockWatch(WALL, 7.0)
    assert watch.read(WALL + DAY - 1, 7.0 + DAY - 1) == 0
    assert watch.surely_past(7.0 + DAY - 1) is None
    watch.read(WALL + DAY, 7.0 + DAY)
    assert watch.surely_past(7.0 + DAY) == WALL


@pytest.mark.parametrize("jump", [400 * DAY, -YEARS, JUMP + 1, -JUMP - 1])
def test_a_jump_is_reported_once(jump: float) -> None:
    """The reading after a jump says by how many seconds the clock was set; the next says 0."""
    watch = ClockWatch(WALL, 0.0)
    assert watch.read(WALL + MINUTE + jump, MINUTE) == jump
    assert watch.read(WALL + 2 * MINUTE + jump, 2 * MINUTE) == 0


def test_a_clock_that_is_set_ahead_is_trusted_a_day_later() -> None:
    """What only a clock that jumped has shown to be past is not past for a day (A10)."""
    watch = ClockWatch(WALL, 0.0)
    watch.read(WALL + 3 * DAY, 3 * DAY)
    watch.read(WALL + YEARS, 3 * DAY + MINUTE)
    for hours in range(24):
        past = watch.surely_past(3 * DAY + MINUTE + hours * HOUR)
        assert past is not None
        assert past <= WALL + 3 * DAY + MINUTE
    watch.read(WALL + YEARS + DAY, 4 * DAY + MINUTE)
    assert watch.surely_past(4 * DAY + MINUTE) == WALL + YEARS


def test_slow_slewing_is_no_jump() -> None:
    """A clock that is corrected by a second an hour was never set; the least of it counts."""
    watch = ClockWatch(WALL, 0.0)
    assert [watch.read(WALL + h * (HOUR + 1), h * HOUR) for h in range(1, 48)] == [0] * 47
    assert watch.surely_past(47 * HOUR) == WALL + 23 * HOUR


@given(
    course=st.lists(
        st.tuples(st.floats(1, 2 * DAY), st.floats(-YEARS, YEARS) | st.just(0.0)), max_size=30
    )
)
def test_the_clock_showed_a_later_time_all_day(course: list[tuple[float, float]]) -> None:
    """At each reading of the last day of uptime, the wall clock showed that time or a later one."""
    wall, monotonic = WALL, 0.0
    watch = ClockWatch(wall, monotonic)
    readings = [(monotonic, wall)]
    for passed, jump in course:
        wall, monotonic = wall + passed + jump, monotonic + passed
        watch.read(wall, monotonic)
        readings.append((monotonic, wall))
        past = watch.surely_past(monotonic)
        assert (past is None) == (monotonic < TRUSTED_AFTER)
        last_day = [shown for at, shown in readings if at > monotonic - TRUSTED_AFTER]
        assert past is None or all(past <= shown + 0.01 for shown in last_day)
