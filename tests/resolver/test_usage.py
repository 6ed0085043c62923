"""When domains were last asked for, and how often."""

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver import usage
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.store import LastAsked

A, B = Domain("a.test"), Domain("b.test")


def test_last_time_and_number() -> None:
    """`take` returns the notes since the last `take`."""
    notes = Usage()
    notes.note(A, 1, 10.0)
    notes.note(A, 5, 70.0)
    notes.note(B, 0, 80.0)
    assert notes.get(A) == LastAsked(70.0, 6)
    assert notes.take() == {A: LastAsked(70.0, 6), B: LastAsked(80.0, 0)}
    assert notes.get(A) is None
    assert notes.take() == {}


def test_domains_asked_for_once_in_a_second_share_an_object() -> None:
    """There may be 100,000 of them; a clock that was set back is followed."""
    notes = Usage()
    notes.note(A, 1, 10.0)
    notes.note(B, 1, 10.9)
    assert notes.get(B) is notes.get(A)
    notes.note(B, 1, 11.0)
    assert notes.get(B) == LastAsked(11.0, 2)
    notes.note(A, 1, 5.0)
    assert notes.get(A) == LastAsked(5.0, 2)
    notes.drop(A)
    notes.note(A, 1, 5.0)
    assert notes.take() == {A: LastAsked(5.0, 1), B: LastAsked(11.0, 2)}


def test_drop() -> None:
    """Removes the note of a domain; a domain without a note is no error."""
    notes = Usage()
    notes.note(A, 3, 10.0)
    notes.drop(A)
    notes.drop(B)
    assert notes.take() == {}


def test_the_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names displaces the oldest notes; the newest stay."""
    monkeypatch.setattr(usage, "NOTES_LIMIT", 1_000)
    notes = Usage()
    for number in range(10_000):
        notes.note(Domain(f"d{number}.test"), 1, 10.0)
        assert len(notes._asked) <= 1_000
    assert notes.get(Domain("d9500.test")) == LastAsked(10.0, 1)


def test_domains_to_check() -> None:
    """They are noted once, as on trial if any map is, and set the event."""
    notes = Usage()
    assert not notes.has_checks.is_set()
    notes.note_check(A, on_trial=True)
    notes.note_check(A, on_trial=False)
    notes.note_check(B, on_trial=False)
    assert notes.has_checks.is_set()
    assert notes.take_checks() == {A: True, B: False}
    assert notes.take_checks() == {}


def test_the_domains_to_check_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a flood of names those that come too late are left out; they may be asked for again."""
    monkeypatch.setattr(usage, "NOTES_LIMIT", 2)
    notes = Usage()
    for number in range(10):
        notes.note_check(Domain(f"d{number}.test"), on_trial=True)
    notes.note_check(Domain("d0.test"), on_trial=True)
    assert list(notes.take_checks()) == ["d0.test", "d1.test"]
