"""The end of an exception: dates, times, and durations of the command."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.dates import parse_duration, parse_until, until_text

SECONDS = st.integers(32_000_000, 253_300_000_000)
"""From 1971 to 9996, in any zone."""


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """One time zone of the machine after the other."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize("day", ["2026-12-31", "2026-03-28", "2026-03-29", "2026-10-25"])
def test_a_date_includes_its_day(day: str) -> None:
    """A date ends when the next day begins here, also if that day has 23 or 25 hours."""
    until = time.localtime(parse_until(day))
    assert time.strftime("%F", time.localtime(parse_until(day) - 1)) == day
    assert time.strftime("%F", until) != day
    assert time.strftime("%T", until) == "00:00:00"
    assert until_text(parse_until(day)) == day


@pytest.mark.usefixtures("zone")
def test_a_time_is_local() -> None:
    """A time without a zone is that of this machine; seconds may be left out."""
    here = time.mktime((2026, 12, 31, 18, 0, 0, 0, 0, -1))
    for text in ("2026-12-31 18:00", "2026-12-31T18:00", "2026-12-31t18:00:00"):
        assert parse_until(text) == here


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    "text",
    [
        "2026-12-31T18:00Z",
        "2026-12-31 18:00z",
        "2026-12-31T19:00+01:00",
        "2026-12-31T19:00:00+0100",
        "2026-12-31T12:00-06:00",
    ],
)
def test_a_zone(text: str) -> None:
    """A time with a zone does not depend on this machine."""
    assert parse_until(text) == datetime(2026, 12, 31, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", ""),
        ("tomorrow", ""),
        ("2026-1-1", ""),
        ("2026-12-31 18", ""),
        ("2026-12-31 18:00 +01:00", ""),
        ("2026-12-31\n", ""),
        ("\u0662026-12-31", ""),
        ("2026-W01-1", ""),
        ("2026-13-01", "there is no such day or time"),
        ("2027-02-29", "there is no such day or time"),
        ("2026-12-31T25:00", "there is no such day or time"),
        ("2026-12-31T18:00+99:00", "there is no such day or time"),
        ("0001-01-01", "the year is not from 1971 to 9998"),
        ("1970-01-01T00:00Z", "the year is not from 1971 to 9998"),
        ("9999-12-31", "the year is not from 1971 to 9998"),
        ("1.2.2027", "write 2027-02-01"),
        ("20270201", "write 2027-02-01"),
        ("20271301", ""),
        ("2027/02/01", "write 2027-02-01"),
        ("3d", "write the day on which it ends: a file does not say when it began"),
        ("2 weeks", "write the day on which it ends: a file does not say when it began"),
    ],
)
def test_refused(text: str, hint: str) -> None:
    """Another notation is refused, with what to write if that is clear."""
    with pytest.raises(ValueError) as caught:
        parse_until(text)
    assert str(caught.value) == hint


@given(st.text(max_size=40) | st.from_regex(r"[0-9TZ:+. -]{0,30}", fullmatch=True))
def test_any_text(text: str) -> None:
    """Any text is a time after 1970, or refused with a `ValueError`."""
    try:
        until = parse_until(text)
    except ValueError:
        return
    assert 0 < until < 2.6e11


@given(SECONDS)
def test_written_and_read(until: int) -> None:
    """An end is read as it was written, to the second."""
    assert parse_until(until_text(until)) == until


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5400),
        ("12h", 43_200),
        ("3d", 259_200),
        ("1.5d", 129_600),
        ("2w", 1_209_600),
        ("3 days", 259_200),
        ("1 Week", 604_800),
        (" 5min ", 300),
        ("3660d", 316_224_000),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    """A number and its unit, short or written out."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("3", "write a number and its unit"),
        ("", "write a number and its unit"),
        ("3mo", "write a number and its unit"),
        ("1y", "write a number and its unit"),
        ("-3d", "write a number and its unit"),
        ("1d12h", "write a number and its unit"),
        ("\u0663d", "write a number and its unit"),
        ("nand", "write a number and its unit"),
        ("0d", "from 1s to 3660d; write forever"),
        ("0.5s", "from 1s to 3660d; write forever"),
        ("999999999w", "from 1s to 3660d; write forever"),
    ],
)
def test_duration_refused(text: str, error: str) -> None:
    """A month or a year is no length, and what has no end says so."""
    with pytest.raises(ValueError, match=error):
        parse_duration(text)


@given(st.text(max_size=20) | st.from_regex(r"[0-9.]{0,12} ?[a-z]{0,6}", fullmatch=True))
def test_any_duration(text: str) -> None:
    """Any text is a length within the limits, or refused with a `ValueError`."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 1 <= seconds <= 3660 * 86_400


@given(st.integers(1, 3660), st.sampled_from(["d", " day", " days"]))
def test_whole_days(days: int, unit: str) -> None:
    """A number of days is that many times 24 hours."""
    assert parse_duration(f"{days}{unit}") == days * 86_400
