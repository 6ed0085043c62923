"""What of a curve is growth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak import growth

CURVES = st.lists(st.integers(0, 1_000).map(float), min_size=6, max_size=30)


@given(st.floats(-100, 100), st.floats(-10, 10), st.integers(6, 60))
def test_a_straight_line(begin: float, rate: float, count: int) -> None:
    """It grows by its rate, through the whole run."""
    values = [begin + rate * number for number in range(count)]
    assert growth(values) == pytest.approx(rate * count, abs=1e-6)


@given(CURVES, st.integers(-1_000, 1_000))
def test_height_does_not_matter(values: list[float], height: int) -> None:
    """What is there from the beginning is no growth."""
    assert growth([value + height for value in values]) == pytest.approx(growth(values))


def test_what_fills_up_once() -> None:
    """The first third does not count, however steep."""
    assert growth([*range(0, 2_000, 100), *[2_000] * 40]) == 0


def test_spikes() -> None:
    """A few values far off change nothing; nor do they hide a slow leak."""
    level, leak = [400.0] * 60, [400.0 + number / 10 for number in range(60)]
    for number in (25, 33, 41, 59):
        level[number], leak[number] = 9_000.0, 9_000.0
    assert growth(level) == 0
    assert growth(leak) == pytest.approx(6)


def test_steps() -> None:
    """A leak that shows now and then, in steps, is one."""
    assert growth([float(number // 10) for number in range(60)]) > 4
