"""The age that a relay gives for a policy, whatever its clock does."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.daemon.fleet.fetches import FETCHES_LIMIT, Fetches, since_boot
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR
from postfix_mta_sts.store.fleet.requests import OfferPolicy
from tests.support.attempts import CACHED, WEEK, T, fetched
from tests.support.surroundings import GOOD


class Clocks:
    """The clock of the relay, which may be set, and one that nobody sets."""

    def __init__(self) -> None:
        self.now, self.steady = T, 100.0

    def pass_time(self, seconds: float, jump: float = 0.0) -> None:
        """Let time pass; the clock is set by `jump` meanwhile."""
        self.now += seconds + jump
        self.steady += seconds


def made() -> tuple[Clocks, Fetches]:
    """Fetches by clocks of a test."""
    clocks = Clocks()
    return clocks, Fetches(lambda: clocks.now, lambda: clocks.steady)


def test_an_offer() -> None:
    """It has text, id and age, when it is due for others, and when it was asked for."""
    clocks, fetches = made()
    fetches.note(GOOD, CACHED)
    clocks.pass_time(HOUR)
    offer = fetches.offer(GOOD, CACHED, T + 60, "token")
    assert CACHED.policy
    assert offer == OfferPolicy(
        GOOD, CACHED.policy.text, "a", HOUR, 1.05 * DAY - HOUR, HOUR - 60, "token"
    )


@given(st.floats(0, WEEK - 1), st.floats(-1e6, 1e6))
def test_the_clock_is_set_after_the_fetch(seconds: float, jump: float) -> None:
    """A policy is as old as it is (e)."""
    clocks, fetches = made()
    fetches.note(GOOD, CACHED)
    clocks.pass_time(seconds, jump)
    age = fetches.age(GOOD, CACHED)
    assert age is not None
    assert abs(age - seconds) < 1e-3


def test_a_policy_of_an_earlier_process() -> None:
    """Only the clock of the relay can say how old it is."""
    clocks, fetches = made()
    clocks.pass_time(HOUR)
    assert fetches.age(GOOD, CACHED) == HOUR
    fetches.note(GOOD, fetched(clocks.now))
    assert fetches.age(GOOD, CACHED) == HOUR
    offer = fetches.offer(GOOD, CACHED, 0.0)
    assert offer
    assert not offer.is_measured


def test_a_policy_from_the_future() -> None:
    """Nobody knows its age: it is not offered."""
    _, fetches = made()
    assert fetches.age(GOOD, fetched(T + 1)) is None
    assert fetches.offer(GOOD, fetched(T + 1), 0.0) is None


@given(st.lists(st.tuples(st.floats(0, WEEK), st.floats(-1e6, 1e6)), max_size=5))
def test_a_clock_that_is_set_back_makes_no_policy_younger(steps: list[tuple[float, float]]) -> None:
    """One of another relay or process is at least as old as it is, wherever the clock jumps to."""
    clocks, fetches = made()
    passed = 0.0
    for seconds, jump in steps:
        clocks.pass_time(seconds, jump)
        passed += seconds
        age = fetches.age(GOOD, CACHED)
        assert age is None or age >= passed - 1e-3


def test_a_clock_that_was_ahead_for_a_moment() -> None:
    """A policy that was taken over in that moment is as old as it is when the clock is right."""
    clocks, fetches = made()
    clocks.pass_time(0, jump=DAY)
    fetches.read_clock()
    taken_over = fetched(clocks.now)
    clocks.pass_time(HOUR, jump=-HOUR)
    assert fetches.age(GOOD, taken_over) == HOUR


def test_a_policy_whose_time_was_corrected() -> None:
    """Nobody knows its age, unless this process has fetched it: it is not offered."""
    clocks, fetches = made()
    clocks.pass_time(HOUR)
    assert fetches.offer(GOOD, CACHED, 0.0, is_dated=False) is None
    fetches.note(GOOD, CACHED)
    assert fetches.offer(GOOD, CACHED, 0.0, is_dated=False)


def test_a_policy_that_has_expired() -> None:
    """It is not offered; nor is one with a max_age of 0."""
    clocks, fetches = made()
    assert fetches.offer(GOOD, fetched(max_age=0), 0.0) is None
    clocks.pass_time(WEEK)
    assert fetches.offer(GOOD, CACHED, 0.0) is None


def test_a_domain_that_nobody_has_asked_for() -> None:
    """The fleet is not told when it was last asked for."""
    _, fetches = made()
    offer = fetches.offer(GOOD, CACHED, 0.0)
    assert offer
    assert offer.asked_ago is None


def test_the_number_of_fetches_is_limited() -> None:
    """The oldest are forgotten: their age is that of the clock."""
    clocks, fetches = made()
    for number in range(FETCHES_LIMIT + 1):
        fetches.note(Domain(f"d{number}.test"), CACHED)
    clocks.pass_time(60, jump=60)
    assert fetches.age(Domain("d0.test"), CACHED) == 120
    assert fetches.age(Domain(f"d{FETCHES_LIMIT}.test"), CACHED) == 60
    assert len(fetches._fetches) <= FETCHES_LIMIT


def test_the_real_clock_does_not_go_back() -> None:
    """It has seconds as its unit."""
    assert 0 < since_boot() <= since_boot()
