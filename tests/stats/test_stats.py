"""Counters, and the snapshot that is taken of them."""

import pytest

from postfix_mta_sts.stats import WAITED_BOUNDS, Counters, Snapshot
from postfix_mta_sts.stats.labels import Answer, Part, Source, Stage


def test_take() -> None:
    """A snapshot copies the counters: later increments do not change it."""
    counters = Counters()
    counters.answers[Answer.FOUND, Source.STORE] += 2
    counters.attempts[Stage.DNS, "no-record"] += 3
    counters.count_wait(0.3)
    counters.evicted, counters.refused = 4, 5
    snapshot = Snapshot.take(counters, 77, domains=6, failing=frozenset([Part.DNS]))
    counters.answers[Answer.FOUND, Source.STORE] += 1
    counters.attempts[Stage.DNS, "no-record"] += 1
    counters.count_wait(0.3)
    assert snapshot.pid == 77
    assert snapshot.answers == {(Answer.FOUND, Source.STORE): 2}
    assert snapshot.attempts == {(Stage.DNS, "no-record"): 3}
    assert sum(snapshot.waited) == 1
    assert snapshot.waited_seconds == 0.3
    assert (snapshot.evicted, snapshot.refused, snapshot.domains) == (4, 5, 6)
    assert snapshot.failing == {Part.DNS}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (90.0, 14), (90.1, 15)]
)
def test_count_wait(seconds: float, bucket: int) -> None:
    """A waiting time is counted in the first bucket whose bound it does not exceed."""
    counters = Counters()
    counters.count_wait(seconds)
    assert counters.waited.index(1) == bucket
    assert sum(counters.waited) == 1


def test_wrong_number_of_buckets() -> None:
    """A histogram with another number of buckets is refused."""
    with pytest.raises(ValueError, match="16 buckets"):
        Snapshot(pid=1, waited=(0,) * len(WAITED_BOUNDS))
