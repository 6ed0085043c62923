"""The estimate of growth in a curve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak import growth

CURVES = st.lists(st.integers(0, 1_000).map(float), min_size=6, max_size=30)


@given(st.floats(-100, 100), st.floats(-10, 10), st.integers(6, 60))
def test_a_straight_line(start: float, rate: float, count: int) -> None:
    """A straight line grows by its rate during the whole run."""
    values = [start + rate * number for number in range(count)]
    assert growth(values) == pytest.approx(rate * count, abs=1e-6)


@given(CURVES, st.integers(-1_000, 1_000))
def test_offset_does_not_matter(values: list[float], offset: int) -> None:
    """A constant offset is no growth."""
    assert growth([value + offset for value in values]) == pytest.approx(growth(values))


def test_caches_that_fill_at_the_start() -> None:
    """The first third does not count, however steep."""
    assert growth([*range(0, 2_000, 100), *[2_000] * 40]) == 0


def test_spikes() -> None:
    """A few outliers change nothing, and do not hide a slow leak."""
    level, leak = [400.0] * 60, [400.0 + number / 10 for number in range(60)]
    for number in (25, 33, 41, 59):
        level[number], leak[number] = 9_000.0, 9_000.0
    assert growth(level) == 0
    assert growth(leak) == pytest.approx(6)


def test_steps() -> None:
    """A leak in steps counts as growth."""
    assert growth([float(number // 10) for number in range(60)]) > 4
