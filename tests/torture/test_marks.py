"""The table of marks: what is kept and what is missed."""

from tests.torture.marks import Phase, Sample, rows, table


def sample(*took: float, right: int | None = None) -> Sample:
    """Answers that took so long."""
    return Sample(len(took) if right is None else right, list(took))


def test_all_marks_are_kept() -> None:
    """An attack that costs nobody anything."""
    quiet = Phase(sample(0.001), sample(0.1))
    attacked = Phase(sample(0.001), sample(0.15), 40.0, 50.0, 10_000)
    assert all(row.kept for row in rows(quiet, attacked, 60))
    assert "MISSED" not in table(rows(quiet, attacked, 60), quiet)


def test_each_mark_can_be_missed() -> None:
    """An attack that costs everybody everything."""
    quiet = Phase(sample(0.001), sample(0.1))
    attacked = Phase(sample(0.02, right=0), sample(0.3, right=0), 140.0, 150.0, 110_000)
    found = rows(quiet, attacked, 60)
    assert not any(row.kept for row in found)
    assert table(found, quiet).count("MISSED") == len(found) == 7


def test_the_log_is_measured_a_minute() -> None:
    """Half as many bytes in half a minute are as many."""
    attacked = Phase(sample(0.001), sample(0.1), log_bytes=60 * 1024)
    (log,) = [row for row in rows(attacked, attacked, 30) if row.name == "log a minute"]
    assert (log.value, log.kept) == ("120 KiB", False)


def test_p99_is_a_late_answer() -> None:
    """One answer of a hundred may be later."""
    times = sample(*[0.1] * 99, 5.0)
    assert times.p99 == 5.0
    assert sample(*[0.1] * 199, 5.0).p99 == 0.1
