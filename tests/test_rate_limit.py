"""The limit on log lines about events that others can cause at will."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.rate_limit import RateLimit


def test_the_first_event_is_admitted_and_the_next_ones_are_counted() -> None:
    """A line stands for itself and for the events since the line before."""
    limit = RateLimit(60)
    assert limit.take(1000) == 1
    assert [limit.take(1000 + second) for second in (0, 1, 59.9)] == [None, None, None]
    assert limit.take(1060) == 4
    assert limit.take(1061) is None


@given(st.lists(st.floats(0, 100), max_size=50))
def test_no_event_is_lost_or_counted_twice(pauses: list[float]) -> None:
    """The counts of the lines, and the events after the last line, add up to all events."""
    limit, now, counts = RateLimit(60), 0.0, list[int | None]()
    for pause in pauses:
        now += pause
        counts.append(limit.take(now))
    lines = [count for count in counts if count is not None]
    after_last = len(counts) - 1 - max((i for i, c in enumerate(counts) if c), default=-1)
    assert sum(lines) + after_last == len(pauses)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_two_lines_are_an_interval_apart(pauses: list[float]) -> None:
    """However the events fall, no two lines are closer than the interval."""
    limit, now, admitted = RateLimit(60), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if limit.take(now) is not None:
            admitted.append(now)
    gaps = [after - before for before, after in pairwise(admitted)]
    assert all(gap >= 60 for gap in gaps)
