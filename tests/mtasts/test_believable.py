"""States with times from a clock that was ahead: what is left of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.backoff import MAX_BACKOFF, Backoff
from postfix_mta_sts.mtasts.believable import believable
from postfix_mta_sts.mtasts.errors import DeadlineError
from postfix_mta_sts.mtasts.lifecycle import (
    ABSENCE_LIFE,
    DAY,
    MAX_RECHECK,
    MAX_REFETCH,
    Failure,
    Standing,
    State,
    live,
    standing,
)
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import MAX_LIFE, Verdict, after_verdict, is_due, is_live
from postfix_mta_sts.values import replace
from tests.support.attempts import ABSENT, CACHED, T, after_failed_get, fetched
from tests.support.states import policies
from tests.support.surroundings import UNANSWERED, signed

YEARS = 5 * 365 * DAY

TIMES = st.floats(0, 2**33, allow_nan=False)
VERDICTS = st.builds(
    lambda outcome, at, recheck_in, life: Verdict(outcome, at, at + recheck_in, at + life),
    st.sampled_from([signed(), UNANSWERED]),
    TIMES,
    st.floats(0, 100),
    st.floats(100, 2**33),
)
STATES = st.builds(
    State,
    policy=policies() | st.none(),
    policy_id=st.just(PolicyId("id1")),
    fetched_at=TIMES,
    expires_at=TIMES,
    checked_at=TIMES,
    recheck_at=TIMES,
    refetch_at=TIMES,
    failure=st.builds(Failure, st.just("status"), st.just(""), st.just("404"), st.just(2), TIMES)
    | st.none(),
    backoffs=st.tuples(st.builds(Backoff, st.just(PolicyId("id1")), st.just(3), TIMES))
    | st.just(()),
    dane=VERDICTS | st.none(),
)


def longest(policy: Policy | None) -> float:
    """Return the longest life of a state."""
    return policy.max_age if policy else ABSENCE_LIFE


@given(state=STATES, now=TIMES)
def test_no_time_is_beyond_its_longest_life(state: State, now: float) -> None:
    """Every absolute time is at most now and the longest time that it can be ahead."""
    after = believable(state, now)
    assert max(after.fetched_at, after.checked_at) <= now
    assert after.expires_at <= now + longest(after.policy)
    assert after.recheck_at <= now + MAX_RECHECK
    assert after.refetch_at <= now + MAX_REFETCH
    assert all(each.until <= now + MAX_BACKOFF for each in after.backoffs)
    assert after.failure is None or after.failure.since <= now
    assert after.dane is None or after.dane.found_at <= now
    assert after.dane is None or after.dane.until <= now + MAX_LIFE


@given(state=STATES, now=TIMES)
def test_no_time_becomes_later(state: State, now: float) -> None:
    """Nothing that is known gets a longer life."""
    after = believable(state, now)
    for name in ("fetched_at", "expires_at", "checked_at", "recheck_at", "refetch_at"):
        assert getattr(after, name) <= getattr(state, name)
    assert after.dane is None or (state.dane and after.dane.until <= state.dane.until)


@given(state=STATES, now=TIMES, later=st.floats(0, 1e6))
def test_it_is_counted_once(state: State, now: float, later: float) -> None:
    """What was corrected once is not corrected again, now or later."""
    once = believable(state, now)
    assert believable(once, now) is once
    assert believable(once, now + later) is once


@given(state=STATES, now=TIMES)
def test_a_policy_in_force_stays_in_force(state: State, now: float) -> None:
    """No correction ends a policy, unless its max_age is 0."""
    if live(state, now) and state.policy and now < state.fetched_at + state.policy.max_age:
        assert live(believable(state, now), now) or state.policy.max_age == 0


@pytest.mark.parametrize(
    "state", [CACHED, ABSENT, after_failed_get(CACHED, DeadlineError("60 s"), T + DAY)]
)
def test_a_state_of_a_right_clock_stays_as_it_is(state: State) -> None:
    """A state that a right clock made is returned itself."""
    verdict = after_verdict(None, signed(), T)
    for each in (state, replace(state, dane=verdict)):
        assert believable(each, T + DAY) is each


def test_a_policy_from_the_future_ends_and_is_fetched() -> None:
    """A policy that was fetched five years ahead ends max_age from now, and is due (A13)."""
    after = believable(fetched(T + YEARS), T)
    assert after.expires_at == T + 7 * DAY
    assert after.refetch_at == after.recheck_at == T
    assert standing(after, T) is Standing.DUE


def test_an_absence_from_the_future_is_forgotten() -> None:
    """It says nothing of now."""
    assert standing(believable(replace(ABSENT, checked_at=T + 1), T), T) is Standing.UNKNOWN


def test_verdicts_from_the_future() -> None:
    """A verdict stays, and is due; a failure is forgotten."""
    verdict = believable(replace(CACHED, dane=after_verdict(None, signed(), T + YEARS)), T).dane
    assert verdict
    assert is_live(verdict, T)
    assert is_due(verdict, T)
    failed = believable(replace(CACHED, dane=after_verdict(None, UNANSWERED, T + YEARS)), T).dane
    assert not is_live(failed, T)
