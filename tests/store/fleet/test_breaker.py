"""The breaker of a shared store: two failures open it, one probe closes it."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postfix_mta_sts.store.fleet.breaker import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Admission,
    Breaker,
    Position,
)


def after(outcomes: Sequence[bool], now: float = 0.0) -> Breaker:
    """A breaker after calls one after another, as soon as it admits each; True: it worked."""
    breaker = Breaker()
    for works in outcomes:
        now = max(now, breaker.retry_at)
        breaker, admission = breaker.asked(now)
        assert admission is not Admission.NONE
        breaker = breaker.succeeded(admission) if works else breaker.failed(admission, now, now)
    return breaker


def test_one_failure_does_not_open_it() -> None:
    """A single failure, or failures with a success between them, leave it closed."""
    assert after([False]).position is Position.CLOSED
    assert after([False, True, False, True, False]).position is Position.CLOSED


def test_calls_on_their_way_together_are_one_failure() -> None:
    """What has begun before the first failure was known says nothing more than that."""
    breaker = Breaker()
    for ends_at in (1.0, 1.0, 1.5, 2.0):
        breaker = breaker.failed(Admission.CALL, 0.5, ends_at)
    assert (breaker.position, breaker.failures) == (Position.CLOSED, 1)
    assert breaker.failed(Admission.CALL, 0.9, 2.5) == breaker
    assert breaker.failed(Admission.CALL, 1.0, 2.5).position is Position.OPEN


def test_two_failures_open_it() -> None:
    """After two failures in a row nothing is admitted for five seconds; then one probe is."""
    breaker = after([True, False, False], now=100.0)
    assert breaker.asked(104.9) == (breaker, Admission.NONE)
    half_open, admission = breaker.asked(105.0)
    assert admission is Admission.PROBE
    assert half_open.asked(1000.0) == (half_open, Admission.NONE)


@pytest.mark.parametrize(
    ("probes", "pause"), [(0, 5.0), (1, 10.0), (2, 20.0), (3, 40.0), (4, 60.0), (9, 60.0)]
)
def test_each_failed_probe_doubles_the_pause(probes: int, pause: float) -> None:
    """The pause grows from five seconds to a minute, and no longer."""
    assert after([False, False, *[False] * probes]).pause == pause


def test_a_probe_that_works_closes_it() -> None:
    """After it, two failures are needed again, and the pause starts at five seconds."""
    closed = after([False, False, False, False, True])
    assert closed == Breaker()
    assert after([False] * 5 + [True, False, False]).pause == FIRST_PAUSE


def test_a_probe_that_is_given_up_is_made_by_the_next() -> None:
    """A probe that nobody waits for any more does not close the way for good."""
    breaker, admission = after([False, False]).asked(50.0)
    breaker, again = breaker.gave_up(admission).asked(50.0)
    assert again is Admission.PROBE


def test_a_call_that_is_given_up_says_nothing() -> None:
    """It neither counts as a failure nor ends a row of them."""
    assert after([False]).gave_up(Admission.CALL) == after([False])


@given(st.lists(st.sampled_from(["success", "failure", "gave up"])))
def test_late_ends_decide_nothing(ends: list[str]) -> None:
    """Calls from before the opening change neither an open nor a half-open breaker."""
    opened = after([False, False])
    for breaker in (opened, opened.asked(99.0)[0]):
        left = breaker
        for end in ends:
            left = ended(left, Admission.CALL, end, 0.0, 100.0)
        assert left == breaker


def ended(breaker: Breaker, admission: Admission, end: str, asked_at: float, now: float) -> Breaker:
    """The breaker after the end of a call that asked at `asked_at`."""
    match end:
        case "success":
            return breaker.succeeded(admission)
        case "failure":
            return breaker.failed(admission, asked_at, now)
    return breaker.gave_up(admission)


class AnyCalls(RuleBasedStateMachine):
    """Calls that start and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker()
        self.under_way: list[tuple[Admission, float]] = []

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule()
    def start(self) -> None:
        """Ask for admission."""
        before = self.breaker
        self.breaker, admission = before.asked(self.now)
        if admission is Admission.NONE:
            assert before.position is not Position.CLOSED
        else:
            self.under_way.append((admission, self.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), end=st.sampled_from(["success", "failure", "gave up"]))
    def end(self, data: st.DataObject, end: str) -> None:
        """End a call."""
        number = data.draw(st.integers(0, len(self.under_way) - 1))
        admission, asked_at = self.under_way.pop(number)
        self.breaker = ended(self.breaker, admission, end, asked_at, self.now)

    @invariant()
    def at_most_one_probe(self) -> None:
        """There is a probe if, and only if, the breaker waits for one."""
        is_half_open = self.breaker.position is Position.HALF_OPEN
        probes = [each for each, _ in self.under_way if each is Admission.PROBE]
        assert len(probes) == int(is_half_open)

    @invariant()
    def a_probe_is_never_far(self) -> None:
        """However it came to this, a call is admitted after a minute without others."""
        if self.breaker.position is Position.OPEN:
            assert FIRST_PAUSE <= self.breaker.pause <= LONGEST_PAUSE
            assert self.breaker.asked(self.now + LONGEST_PAUSE)[1] is Admission.PROBE


TestAnyCalls = AnyCalls.TestCase
TestAnyCalls.settings = settings(max_examples=30)
