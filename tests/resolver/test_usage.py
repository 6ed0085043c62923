"""When domains were last asked for, and how often."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.store import LastAsked

A, B = Domain("a.test"), Domain("b.test")


def test_last_time_and_number() -> None:
    """`take` returns the notes since the last `take`."""
    usage = Usage()
    usage.note(A, 1, 10.0)
    usage.note(A, 5, 70.0)
    usage.note(B, 0, 80.0)
    assert usage.get(A) == LastAsked(70.0, 6)
    assert usage.take() == {A: LastAsked(70.0, 6), B: LastAsked(80.0, 0)}
    assert usage.get(A) is None
    assert usage.take() == {}


def test_domains_asked_for_once_in_a_second_share_an_object() -> None:
    """There may be 100,000 of them; a clock that was set back is followed."""
    usage = Usage()
    usage.note(A, 1, 10.0)
    usage.note(B, 1, 10.9)
    assert usage.get(B) is usage.get(A)
    usage.note(B, 1, 11.0)
    assert usage.get(B) == LastAsked(11.0, 2)
    usage.note(A, 1, 5.0)
    assert usage.get(A) == LastAsked(5.0, 2)
    usage.drop(A)
    usage.note(A, 1, 5.0)
    assert usage.take() == {A: LastAsked(5.0, 1), B: LastAsked(11.0, 2)}


def test_drop() -> None:
    """Removes the note of a domain; a domain without a note is no error."""
    usage = Usage()
    usage.note(A, 3, 10.0)
    usage.drop(A)
    usage.drop(B)
    assert usage.take() == {}
