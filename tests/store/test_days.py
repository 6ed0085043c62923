"""Look-ups of each of the last days."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.store.days import DAYS, DayCounts, add, day_of, lately, merge, start_of

TOUCHES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)))


@given(TOUCHES)
def test_counts(touches: list[tuple[int, int]]) -> None:
    """If the clock goes forward, all of the last days is kept, and nothing else."""
    counts: DayCounts = ()
    for day, times in sorted(touches):
        counts = add(counts, day, times)
    last = max((day for day, _ in touches), default=0)
    expected = {day: 0 for day, _ in touches if day > last - DAYS}
    for day, times in touches:
        if day in expected:
            expected[day] += times
    assert counts == tuple(sorted(expected.items()))


@given(TOUCHES)
def test_merging_is_idempotent(touches: list[tuple[int, int]]) -> None:
    """Counts of the same look-ups are not added up."""
    counts = lately(dict(touches).items())
    assert merge(counts, counts) == counts == merge(counts, ()) == merge((), counts)


@given(st.floats(0, 2**33))
def test_days(at: float) -> None:
    """A time is in its day."""
    assert 0 <= at - start_of(day_of(at)) < 86_400
