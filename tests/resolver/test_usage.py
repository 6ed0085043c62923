"""What is noted of those who ask."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.store import LastAsked

A, B = Domain("a.test"), Domain("b.test")


def test_when_last_and_how_often() -> None:
    """Since it was last taken."""
    usage = Usage()
    usage.note(A, 1, 10.0)
    usage.note(A, 5, 70.0)
    usage.note(B, 0, 80.0)
    assert usage.get(A) == LastAsked(70.0, 6)
    assert usage.take() == {A: LastAsked(70.0, 6), B: LastAsked(80.0, 0)}
    assert usage.get(A) is None
    assert usage.take() == {}


def test_those_asked_for_once_in_a_second_share_a_note() -> None:
    """There may be 100,000; a clock that was set back is believed."""
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


def test_dropped() -> None:
    """As though nobody had asked, also where nobody had."""
    usage = Usage()
    usage.note(A, 3, 10.0)
    usage.drop(A)
    usage.drop(B)
    assert usage.take() == {}
