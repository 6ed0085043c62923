"""The figures of a process: taken, added up, and sent to another."""

import json
from collections import Counter
from functools import reduce
from itertools import product
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.stats import (
    SUCCESS,
    WAITED_BOUNDS,
    Answer,
    Counters,
    Part,
    Snapshot,
    Source,
    Stage,
)

NUMBERS = st.integers(0, 2**60)
FIGURES = st.builds(
    Snapshot,
    pids=st.frozensets(st.integers(1, 2**22)),
    answers=st.dictionaries(
        st.tuples(st.sampled_from(Answer), st.sampled_from(Source)), NUMBERS
    ).map(Counter),
    attempts=st.dictionaries(
        st.tuples(st.sampled_from(Stage), st.sampled_from([SUCCESS, "tls", "status"])), NUMBERS
    ).map(Counter),
    waited=st.tuples(*[NUMBERS] * (len(WAITED_BOUNDS) + 1)),
    waited_seconds=st.floats(0, 1e15),
    evicted=NUMBERS,
    connections=NUMBERS,
    tasks=NUMBERS,
    failing=st.dictionaries(st.sampled_from(Part), st.integers(0, 9)).map(Counter),
)


@given(FIGURES)
def test_there_and_back(snapshot: Snapshot) -> None:
    """What one process writes, another reads as the same."""
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


@given(st.lists(FIGURES, min_size=1, max_size=4))
def test_sum(several: list[Snapshot]) -> None:
    """Those of several processes are their sums, field by field, and all processes speak."""
    total = reduce(add, several)
    assert total.pids == frozenset().union(*(one.pids for one in several))
    assert total.evicted == sum(one.evicted for one in several)
    assert total.connections == sum(one.connections for one in several)
    assert total.tasks == sum(one.tasks for one in several)
    assert total.waited_seconds == pytest.approx(sum(one.waited_seconds for one in several))
    assert total.waited[3] == sum(one.waited[3] for one in several)
    for pair in product(Answer, Source):
        assert total.answers[pair] == sum(one.answers[pair] for one in several)
    for part in Part:
        assert total.failing[part] == sum(one.failing[part] for one in several)


def test_taken() -> None:
    """What has been counted is copied: what is counted later does not show."""
    counters = Counters()
    counters.answers[Answer.FOUND, Source.STORE] += 2
    counters.attempts[Stage.DNS, "no-record"] += 3
    counters.wait(0.3)
    counters.evicted, counters.refused = 4, 5
    snapshot = Snapshot.taken(counters, 77, domains=6, failing=Counter([Part.DNS]))
    counters.answers[Answer.FOUND, Source.STORE] += 1
    counters.attempts[Stage.DNS, "no-record"] += 1
    counters.wait(0.3)
    assert snapshot.pids == {77}
    assert snapshot.answers == {(Answer.FOUND, Source.STORE): 2}
    assert snapshot.attempts == {(Stage.DNS, "no-record"): 3}
    assert sum(snapshot.waited) == 1
    assert snapshot.waited_seconds == 0.3
    assert (snapshot.evicted, snapshot.refused, snapshot.domains) == (4, 5, 6)
    assert snapshot.failing[Part.DNS] == 1


GOOD = json.loads(Snapshot(pids=frozenset([1])).to_json())


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {},
        {name: value for name, value in GOOD.items() if name != "pids"},
        GOOD | {"pids": ["1"]},
        GOOD | {"evicted": 1.5},
        GOOD | {"evicted": True},
        GOOD | {"waited": [1]},
        GOOD | {"waited_seconds": "many"},
        GOOD | {"answers": [[["found", "elsewhere"], 1]]},
        GOOD | {"answers": [[["found"], 1]]},
        GOOD | {"answers": 7},
        GOOD | {"attempts": [[["dns", "success"], None]]},
        GOOD | {"failing": [["weather", 1]]},
    ],
)
def test_refused(given: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
    """What no process of ours writes is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError):
        Snapshot.from_json(json.dumps(given).encode())


def test_no_json() -> None:
    """What is no JSON at all is a ValueError too."""
    with pytest.raises(ValueError):
        Snapshot.from_json(b"<html>")
