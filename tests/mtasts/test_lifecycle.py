"""The life of a policy: when a state is served, checked, fetched again and replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.backoff import MAX_BACKOFF_IDS
from postfix_mta_sts.mtasts.errors import (
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
    MINUTE,
    Discovered,
    Fetch,
    Standing,
    State,
    after_discovery,
    after_fetch,
    fresh_until,
    live,
    restored,
    standing,
)
from postfix_mta_sts.mtasts.policy import Policy
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
    T,
    after_txt,
    fetched,
    policy,
)


@pytest.mark.parametrize(
    ("state", "at", "expected"),
    [
        (None, T, Standing.UNKNOWN),
        (CACHED, T, Standing.FRESH),
        (CACHED, T + 5 * MINUTE - 1, Standing.FRESH),
        (CACHED, T + 5 * MINUTE, Standing.DUE),
        (CACHED, T + WEEK - 1, Standing.DUE),
        (CACHED, T + WEEK, Standing.UNKNOWN),
        (CACHED, T - 1, Standing.DUE),  # the clock was set back
        (CACHED, T - 10 * WEEK, Standing.DUE),
        (ABSENT, T, Standing.FRESH),
        (ABSENT, T + ABSENCE_RECHECK - 1, Standing.FRESH),
        (ABSENT, T + ABSENCE_RECHECK, Standing.DUE),
        (ABSENT, T + ABSENCE_LIFE - 1, Standing.DUE),
        (ABSENT, T + ABSENCE_LIFE, Standing.UNKNOWN),
        (ABSENT, T - 1, Standing.UNKNOWN),  # an absence from the future
        (UNDECIDED, T + DNS_FAILURE_LIFE - 1, Standing.FRESH),
        (UNDECIDED, T + DNS_FAILURE_LIFE, Standing.UNKNOWN),
        (restored(policy(), A, T, T + DAY), T, Standing.DUE),
        (restored(policy(), A, T, T + DAY), T + WEEK, Standing.UNKNOWN),
        (fetched(max_age=0), T, Standing.UNKNOWN),
    ],
)
def test_standing(state: State | None, at: float, expected: Standing) -> None:
    """A state is fresh, due or unknown (§5.1 step 1)."""
    assert standing(state, at) is expected


@pytest.mark.parametrize(
    ("ttl", "recheck_in"),
    [(0, MINUTE), (59, MINUTE), (300, 300), (3600, HOUR), (86400, HOUR)],
)
def test_the_record_is_rechecked_after_its_ttl(ttl: int, recheck_in: float) -> None:
    """The recheck comes after the TTL, but within a minute and an hour (C12)."""
    step = after_discovery(None, Discovered(A, ttl), T)
    assert step == Fetch(A, recheck_in)
    confirmed = after_txt(CACHED, Discovered(A, ttl), T + HOUR)
    assert confirmed.recheck_at == T + HOUR + recheck_in


def test_a_fetched_policy() -> None:
    """Its age counts from the fetch; a reply made from it is valid until its recheck (C1, C2)."""
    assert CACHED.policy_id == A
    assert (CACHED.fetched_at, CACHED.expires_at) == (T, T + WEEK)
    assert fresh_until(CACHED) == T + 5 * MINUTE
    assert fresh_until(fetched(max_age=60)) == T + 60
    assert CACHED.failure is None


def test_the_same_id_needs_no_https_and_renews_no_age() -> None:
    """A TXT record with the same id moves the recheck and nothing else (D16, C2)."""
    confirmed = after_txt(CACHED, Discovered(A, 300), T + HOUR)
    assert confirmed == replace(CACHED, checked_at=T + HOUR, recheck_at=T + HOUR + 300)


@pytest.mark.parametrize(
    ("max_age", "jitter", "refetch_in"),
    [
        (WEEK, 0.0, DAY),
        (WEEK, 0.5, 0.95 * DAY),
        (DAY, 0.0, DAY / 2),
        (HOUR, 0.0, HOUR / 2),
        (60, 0.0, 5 * MINUTE),
        (0, 0.0, 5 * MINUTE),
    ],
)
def test_when_a_policy_is_fetched_again(max_age: float, jitter: float, refetch_in: float) -> None:
    """After half its max_age: at least 5 minutes, at most a day, up to 10 % sooner (C7)."""
    state = after_fetch(None, Fetch(A, 60), policy(max_age=max_age), T, jitter)
    assert state.refetch_at == pytest.approx(T + refetch_in)


@pytest.mark.parametrize(
    "outcome", [Discovered(A, 300), NO_RECORD, InvalidRecordError("two"), SERVFAIL]
)
def test_a_due_refetch_ignores_the_record(
    outcome: Discovered | DiscoveryError,
) -> None:
    """After a day a policy is fetched again under its id, whatever the DNS says (C8, §10.2)."""
    step = after_discovery(CACHED, outcome, T + DAY)
    assert isinstance(step, Fetch)
    assert step.policy_id == A
    assert after_fetch(CACHED, step, policy(), T + DAY, 0.0).expires_at == T + DAY + WEEK


def test_a_forced_fetch_ignores_age_and_back_off() -> None:
    """A policy that is fresh or has just failed is fetched, too, if an id is known."""
    step = Fetch(B, MINUTE)
    failed = after_fetch(None, step, NOT_FOUND_404, T, 0.0)
    for state, outcome, policy_id in (
        (fetched(), Discovered(A, 60), A),
        (fetched(), NO_RECORD, A),
        (fetched(), SERVFAIL, A),
        (failed, Discovered(B, 60), B),
        (None, Discovered(B, 60), B),
    ):
        forced = after_discovery(state, outcome, T + 1, forced=True)
        assert isinstance(forced, Fetch)
        assert forced.policy_id == policy_id
    assert isinstance(after_discovery(failed, NO_RECORD, T + 1, forced=True), State)


def test_a_policy_from_the_future_is_fetched_again() -> None:
    """If the clock was set back, the age of the policy is unknown, and it is fetched again."""
    assert isinstance(after_discovery(CACHED, Discovered(A, 300), T - DAY), Fetch)


@pytest.mark.parametrize("new_id", [B, PolicyId("A"), PolicyId("0")])
def test_any_other_id_is_a_change(new_id: PolicyId) -> None:
    """Ids have no order: any id that differs is fetched at once (D15)."""
    step = after_discovery(CACHED, Discovered(new_id, 300), T + 1)
    assert step == Fetch(new_id, 300)


@pytest.mark.parametrize(
    "newer",
    [policy(), policy(max_age=60), policy("none"), policy("testing"), policy(mx="mx9.evil.test")],
)
def test_a_newer_policy_replaces_the_older_one(newer: Policy) -> None:
    """It replaces it completely, also with a shorter max_age or mode none (C10)."""
    after = after_fetch(CACHED, Fetch(B, 300), newer, T + HOUR, 0.0)
    assert (after.policy, after.policy_id) == (newer, B)
    assert after.expires_at == T + HOUR + newer.max_age
    gone = after_txt(after, NO_RECORD, after.expires_at)
    assert gone.policy is None


OUTCOMES: list[Discovered | DiscoveryError] = [
    Discovered(A, 60), Discovered(B, 300), NO_RECORD, SERVFAIL, InvalidRecordError("x"),
]  # fmt: skip
GETS: list[Policy | FetchError] = [
    policy(), policy("none", 600), policy("testing", 0), NOT_FOUND_404, InvalidPolicyError(1, "x"),
]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3 * DAY), st.sampled_from(OUTCOMES), st.sampled_from(GETS), st.floats(0, 1)
        ),
        max_size=30,
    )
)
def test_any_life(
    life: list[tuple[float, Discovered | DiscoveryError, Policy | FetchError, float]],
) -> None:
    """In any sequence of events, only a GET changes a live policy, and each state has its times."""
    state, now = None, T
    for pause, outcome, got, jitter in life:
        now += pause
        before = live(state, now)
        step = after_discovery(state, outcome, now)
        after = after_fetch(state, step, got, now, jitter) if isinstance(step, Fetch) else step
        if isinstance(step, Fetch) and isinstance(got, Policy):
            assert (after.policy, after.fetched_at) == (got, now)
        elif before:
            assert (after.policy, after.expires_at) == (before.policy, before.expires_at)
        else:
            assert after.policy is None
        assert after.recheck_at > now
        assert after.checked_at == now
        assert len(after.backoffs) <= MAX_BACKOFF_IDS
        state = after
