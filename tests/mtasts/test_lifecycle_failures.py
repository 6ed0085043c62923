"""The life of a policy through failures: absences, back-offs, and what a live policy outlives."""

import pytest

from postfix_mta_sts.mtasts.backoff import FIRST_BACKOFF, MAX_BACKOFF, MAX_BACKOFF_IDS
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    DiscoveryError,
    FetchError,
    InvalidPolicyError,
    InvalidRecordError,
)
from postfix_mta_sts.mtasts.lifecycle import (
    ABSENCE_LIFE,
    ABSENCE_RECHECK,
    DAY,
    DNS_FAILURE_LIFE,
    HOUR,
    Discovered,
    Fetch,
    Standing,
    State,
    after_discovery,
    after_fetch,
    live,
    standing,
    unconfirmed,
    unknown,
)
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import replace
from tests.support.attempts import (
    ABSENT,
    CACHED,
    NO_RECORD,
    NOT_FOUND_404,
    SERVFAIL,
    UNDECIDED,
    WEEK,
    A,
    B,
    C,
    T,
    after_failed_get,
    after_txt,
    fetched,
    policy,
)


@pytest.mark.parametrize(
    "state",
    [after_failed_get(None, NOT_FOUND_404, T), after_failed_get(CACHED, NOT_FOUND_404, T, B)],
)
def test_a_back_off_from_the_future_is_void(state: State) -> None:
    """A wrong clock, with which every certificate had expired, prevents no later fetch."""
    failing = state.backoffs[0].policy_id
    assert isinstance(after_discovery(state, Discovered(failing, 300), T), State)
    assert after_discovery(state, Discovered(failing, 300), T - DAY) == Fetch(failing, 300)


def test_a_renewal_postponed_into_the_future_is_due() -> None:
    """A renewal that failed with a clock ten days ahead is due once the clock is right."""
    state = after_failed_get(fetched(max_age=12 * WEEK), NOT_FOUND_404, T + 10 * DAY)
    assert after_discovery(state, Discovered(A, 300), T + HOUR) == Fetch(A, 300)


@pytest.mark.parametrize("error", [NO_RECORD, InvalidRecordError("two")])
@pytest.mark.parametrize("age", [1.0, HOUR, DAY - 1])
def test_a_live_policy_outlives_the_record(error: DiscoveryError, age: float) -> None:
    """If the DNS has no valid record, the policy stays as it is, with its age (C3, D14)."""
    after = after_txt(CACHED, error, T + age)
    assert live(after, T + age) is after
    assert (after.policy, after.policy_id, after.expires_at) == (CACHED.policy, A, T + WEEK)
    assert after.failure
    assert after.failure.reason == str(error)
    assert T + age < after.recheck_at <= T + age + ABSENCE_RECHECK


@pytest.mark.parametrize(
    "error",
    [
        NOT_FOUND_404,
        CertificateError("expired"),
        DeadlineError("60 s"),
        InvalidPolicyError(3, "mx"),
    ],
)
@pytest.mark.parametrize("policy_id", [A, B])
def test_a_live_policy_outlives_a_failed_fetch(error: FetchError, policy_id: PolicyId) -> None:
    """A policy stays until it expires, whatever id and error the failed GET had (C3)."""
    after = after_fetch(CACHED, Fetch(policy_id, 300), error, T + DAY, 0.0)
    assert live(after, T + WEEK - 1) is after
    assert (after.policy, after.policy_id, after.fetched_at) == (CACHED.policy, A, T)
    assert after.refetch_at == T + DAY + FIRST_BACKOFF
    assert live(after, T + WEEK) is None


def test_a_policy_is_served_until_it_expires() -> None:
    """With DNS and Policy Host down it is served to the last second and no longer (C3, C4)."""
    state, now, gets = CACHED, T, 0
    while now < T + WEEK:
        assert standing(state, now) is not Standing.UNKNOWN
        assert state.policy == CACHED.policy
        step = after_discovery(state, SERVFAIL, now)
        if isinstance(step, Fetch):
            gets += 1
            step = after_fetch(state, step, NOT_FOUND_404, now, 0.0)
        state = step
        assert state.recheck_at > now
        now = state.recheck_at
    assert 6 * 24 <= gets <= 6 * 24 + 5  # six days, hourly after the first hour
    assert after_txt(state, SERVFAIL, T + WEEK).policy is None


def test_a_failed_fetch_backs_off_per_id() -> None:
    """The pause is five minutes, doubled with each failure of the id, up to an hour (F14)."""
    state: State | None = None
    now = T
    waits = []
    for _ in range(7):
        state = after_failed_get(state, NOT_FOUND_404, now)
        until = state.backoffs[-1].until
        assert isinstance(after_discovery(state, Discovered(A, 300), until - 1), State)
        assert after_discovery(state, Discovered(A, 300), until) == Fetch(A, 300)
        waits.append(until - now)
        now = until
    assert waits == [FIRST_BACKOFF, 600, 1200, 2400, MAX_BACKOFF, MAX_BACKOFF, MAX_BACKOFF]


def test_a_new_id_is_fetched_while_another_is_backed_off() -> None:
    """Back-off is per id, also if two ids alternate (§3.3)."""
    state = after_failed_get(None, NOT_FOUND_404, T, A)
    state = after_failed_get(state, NOT_FOUND_404, T + 60, B)
    assert isinstance(after_discovery(state, Discovered(A, 60), T + 120), State)
    assert isinstance(after_discovery(state, Discovered(B, 60), T + 120), State)
    assert after_discovery(state, Discovered(C, 60), T + 120) == Fetch(C, 60)
    assert after_discovery(state, Discovered(A, 60), T + FIRST_BACKOFF) == Fetch(A, 60)


def test_backing_off_survives_other_failures() -> None:
    """A DNS failure in between does not shorten the back-off of an id."""
    state = after_failed_get(None, NOT_FOUND_404, T)
    state = after_txt(state, SERVFAIL, T + 60)
    state = after_txt(state, NO_RECORD, T + 120)
    assert isinstance(after_discovery(state, Discovered(A, 60), T + 180), State)


def test_the_record_is_rechecked_during_back_off() -> None:
    """So that a new id is noticed; the recheck is never later than the next fetch."""
    state = after_failed_get(CACHED, NOT_FOUND_404, T + 10, B)
    waiting = after_txt(state, Discovered(B, 3600), T + 70)
    assert waiting.recheck_at == T + 10 + FIRST_BACKOFF
    assert waiting.failure == state.failure
    assert waiting.policy == CACHED.policy
    back = after_txt(waiting, Discovered(A, 60), T + 130)  # the new id was withdrawn
    assert back.failure is None


def test_the_number_of_failing_ids_is_limited() -> None:
    """A domain that publishes a new id each time takes no more memory."""
    state: State | None = None
    for n in range(10):
        state = after_failed_get(state, NOT_FOUND_404, T + 60 * n, PolicyId(str(n)))
    assert state
    assert [b.policy_id for b in state.backoffs] == [
        str(n) for n in range(10 - MAX_BACKOFF_IDS, 10)
    ]


def test_a_success_clears_failures() -> None:
    """A fetched policy has no failure and no back-offs."""
    state = after_failed_get(CACHED, NOT_FOUND_404, T + 10, B)
    after = after_fetch(state, Fetch(C, 60), policy(), T + 20, 0.0)
    assert (after.failure, after.backoffs) == (None, ())


def test_absence() -> None:
    """An absence is rechecked after 5 minutes and forgotten after an hour; it is not undecided."""
    assert (ABSENT.recheck_at, ABSENT.expires_at) == (T + 300, T + HOUR)
    assert not ABSENT.undecided
    again = after_txt(ABSENT, NO_RECORD, T + 600)
    assert (again.recheck_at, again.expires_at) == (T + 900, T + 600 + HOUR)
    assert after_discovery(ABSENT, Discovered(A, 300), T + 600) == Fetch(A, 300)


def test_a_failed_fetch_without_a_cached_policy_is_an_absence() -> None:
    """The domain is treated as without a policy (C4), and not as with a DNS failure."""
    state = after_failed_get(None, NOT_FOUND_404, T)
    assert state.policy is None
    assert not state.undecided
    assert state.expires_at == T + ABSENCE_LIFE


def test_dns_failure_without_a_cached_policy() -> None:
    """It is valid for only 30 seconds, and is undecided (D20)."""
    assert UNDECIDED.undecided
    assert UNDECIDED.expires_at == T + DNS_FAILURE_LIFE
    again = after_txt(UNDECIDED, SERVFAIL, T + 31)
    assert again.expires_at == T + 31 + DNS_FAILURE_LIFE
    assert not after_txt(UNDECIDED, NO_RECORD, T + 31).undecided


@pytest.mark.parametrize("state", [ABSENT, CACHED, after_failed_get(CACHED, NOT_FOUND_404, T, B)])
def test_an_unanswered_query_changes_only_the_recheck(state: State) -> None:
    """A policy or an absence stays as long as it is valid."""
    after = after_txt(state, SERVFAIL, T + 600)
    assert after == replace(state, checked_at=T + 600, recheck_at=T + 600 + DNS_FAILURE_LIFE)


def test_an_expired_absence_with_an_unanswered_query_is_undecided() -> None:
    """After an hour, an unanswered query is all that is known."""
    assert after_txt(ABSENT, SERVFAIL, T + HOUR).undecided


def test_addresses_without_an_answer_are_no_failure_of_the_policy_host() -> None:
    """The id was not tried, so it gets no back-off: the DNS is asked again after 30 seconds."""
    for state in (None, ABSENT):
        after = after_fetch(state, Fetch(A, 300), SERVFAIL, T + 60, 0.0)
        assert (after.policy, after.undecided, after.backoffs) == (None, True, ())
        assert after.expires_at == after.recheck_at == T + 60 + DNS_FAILURE_LIFE
    after = after_fetch(CACHED, Fetch(B, 300), SERVFAIL, T + 60, 0.0)
    assert (after.policy, after.backoffs) == (CACHED.policy, ())
    assert after.recheck_at == T + 60 + DNS_FAILURE_LIFE


def test_an_unconfirmed_absence_is_short() -> None:
    """The store, which could not be read, may hold a policy: look again after 30 seconds."""
    short = unconfirmed(ABSENT, T)
    assert short == replace(
        ABSENT, expires_at=T + DNS_FAILURE_LIFE, recheck_at=T + DNS_FAILURE_LIFE
    )
    assert unconfirmed(UNDECIDED, T) == UNDECIDED


def test_a_state_that_says_nothing_is_never_served() -> None:
    """It only keeps a verdict until the policy is known."""
    assert standing(unknown(T), T) is Standing.UNKNOWN
    assert not unknown(T).undecided


def test_failures_in_a_row_are_counted() -> None:
    """They are counted by code, with the time of the first one and the last reason."""
    state = after_txt(CACHED, NO_RECORD, T + 60)
    state = after_txt(state, NO_RECORD, T + 400)
    assert state.failure
    assert (state.failure.count, state.failure.since) == (2, T + 60)
    assert (state.failure.code, state.failure.result) == ("no-record", "sts-policy-fetch-error")
    state = after_txt(state, InvalidRecordError("two"), T + 500)
    assert state.failure
    assert (state.failure.count, state.failure.since) == (1, T + 60)
    assert after_txt(state, Discovered(A, 60), T + 600).failure is None


def test_a_missing_record_is_no_news_while_a_renewal_fails() -> None:
    """The failed GET remains the failure, and is what is counted."""
    state = after_failed_get(replace(CACHED, refetch_at=T), CertificateError("expired"), T + 60)
    after = after_txt(state, NO_RECORD, T + 120)
    checked = replace(state, checked_at=T + 120, recheck_at=T + 120 + ABSENCE_RECHECK)
    assert after == replace(checked, record_was_gone=True)
