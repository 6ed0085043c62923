"""Each kind of event has a budget of bytes a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.logs.budget import PER_MINUTE, Budget, Kind
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT

KIND = Kind("policy fetched", important=False)
LINE = 140
MINUTE = 60.0


def admitted(budget: Budget, kind: Kind, times: list[float], size: int = LINE) -> int:
    """The number of lines of a size that are admitted at these times."""
    count = 0
    for now in times:
        if budget.admits(kind, now):
            budget.charge(kind, size)
            count += 1
    return count


def test_some_lines_at_once() -> None:
    """A thousand domains at once give some 50 lines; the others are counted."""
    budget = Budget()
    count = admitted(budget, KIND, [0.0] * 1_000)
    assert 50 < count < 60
    assert budget.left_out == 1_000 - count
    assert budget.report() == {KIND: 1_000 - count}


def test_a_report_is_made_once() -> None:
    """A second report has only what came after the first."""
    budget = Budget()
    admitted(budget, KIND, [0.0] * 100)
    budget.report()
    assert budget.report() == {}
    assert not budget.admits(KIND, 0.0)
    assert budget.report() == {KIND: 1}


def test_a_minute_refills() -> None:
    """After a quiet minute there is as much room as at first, and after an hour no more."""
    budget = Budget()
    first = admitted(budget, KIND, [0.0] * 1_000)
    assert admitted(budget, KIND, [2 * MINUTE] * 1_000) == first
    assert admitted(budget, KIND, [90 * MINUTE] * 1_000) == first


def test_kinds_do_not_share() -> None:
    """A flood of one event leaves room for others, and for warnings with the same text."""
    budget = Budget()
    admitted(budget, KIND, [0.0] * 1_000)
    assert budget.admits(Kind("policy changed", important=False), 0.0)
    assert budget.admits(Kind("policy fetched", important=True), 0.0)


@pytest.mark.parametrize("act", ["added", "replaced", "removed", "ends soon", "ended"])
def test_each_act_of_an_administrator_has_its_line(act: str) -> None:
    """A program that adds all exceptions for which there is room hides none of them."""
    kind = Kind(f"exception {act}", important=False)
    assert admitted(Budget(), kind, [0.0] * EXCEPTIONS_LIMIT, LINE) == EXCEPTIONS_LIMIT


def test_long_lines_are_fewer() -> None:
    """A long line may leave a debt, which the time pays."""
    budget = Budget()
    assert admitted(budget, KIND, [0.0] * 100, size=4096) == 2
    assert admitted(budget, KIND, [0.0] * 100, size=4096) == 0


@given(
    steps=st.lists(st.floats(0, 10), max_size=300),
    size=st.integers(min_value=40, max_value=4096),
)
def test_bytes_a_minute(steps: list[float], size: int) -> None:
    """Whatever comes when, one kind writes the budget of the time, the first one, and one line."""
    budget, now, total = Budget(), 0.0, 0
    for step in steps:
        now += step
        total += size * admitted(budget, KIND, [now], size)
    assert total <= PER_MINUTE * (1 + now / MINUTE) + size
