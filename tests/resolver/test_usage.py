"""What is noted of those who ask."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.usage import Demand
from postfix_mta_sts.store import Asked

A, B = Domain("a.test"), Domain("b.test")


def test_when_last_and_how_often() -> None:
    """Since it was last taken."""
    demand = Demand()
    demand.note(A, 1, 10.0)
    demand.note(A, 5, 70.0)
    demand.note(B, 0, 80.0)
    assert demand.of(A) == Asked(70.0, 6)
    assert demand.take() == {A: Asked(70.0, 6), B: Asked(80.0, 0)}
    assert demand.of(A) is None
    assert demand.take() == {}


def test_those_asked_for_once_in_a_second_share_a_note() -> None:
    """There may be 100,000; a clock that was set back is believed."""
    demand = Demand()
    demand.note(A, 1, 10.0)
    demand.note(B, 1, 10.9)
    assert demand.of(B) is demand.of(A)
    demand.note(B, 1, 11.0)
    assert demand.of(B) == Asked(11.0, 2)
    demand.note(A, 1, 5.0)
    assert demand.of(A) == Asked(5.0, 2)
    demand.drop(A)
    demand.note(A, 1, 5.0)
    assert demand.take() == {A: Asked(5.0, 1), B: Asked(11.0, 2)}


def test_dropped() -> None:
    """As though nobody had asked, also where nobody had."""
    demand = Demand()
    demand.note(A, 3, 10.0)
    demand.drop(A)
    demand.drop(B)
    assert demand.take() == {}
