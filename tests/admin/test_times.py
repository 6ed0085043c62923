"""Times and durations as text."""

import pytest

from postfix_mta_sts.admin.times import ago, ahead, dated, day_of_week, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0s"),
        (0, "0s"),
        (0.6, "1s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3_599, "59m 59s"),
        (3_600, "1h"),
        (3_601, "1h"),
        (90_000, "1d 1h"),
        (86_400 * 365.25, "365d 6h"),
    ],
)
def test_span(seconds: float, words: str) -> None:
    """A duration has at most two units."""
    assert span(seconds) == words


def test_ago_and_ahead() -> None:
    """Past, future, overdue and missing times."""
    assert ago(40, 100) == "1m ago"
    assert ahead(160, 100) == "in 1m"
    assert ahead(40, 100) == "overdue by 1m"
    assert ago(None, 100) == ahead(None, 100) == "-"


def test_dated() -> None:
    """A date is in UTC, marked by Z."""
    assert dated(86_400, "long ago") == "1970-01-02 00:00:00Z, long ago"


@pytest.mark.parametrize(
    ("days", "text"),
    [(1, "Friday"), (5, "Monday"), (6, "1970-01-04"), (-1, "1970-01-11")],
)
def test_day_of_week(days: int, text: str) -> None:
    """The name of a day is written only where it is clear which one is meant."""
    now = 9 * 86_400  # the 10th, a Saturday
    assert day_of_week(now - days * 86_400, now) == text
