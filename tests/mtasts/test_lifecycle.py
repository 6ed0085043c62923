"""The life of a policy as a table of (state, event, time) → (state, step)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    DiscoveryError,
    DnsFailureError,
    FetchError,
    InvalidPolicyError,
    InvalidRecordError,
    NoRecordError,
    OwnFaultError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import (
    ABSENCE_BELIEVED,
    ABSENCE_RECHECK,
    BACKOFF_FIRST,
    BACKOFF_MOST,
    BACKOFFS_KEPT,
    DAY,
    DNS_FAILURE_BELIEVED,
    HOUR,
    MINUTE,
    Discovered,
    Fetch,
    Standing,
    State,
    after_discovery,
    after_fault,
    after_fetch,
    fresh_until,
    live,
    restored,
    standing,
)
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import replace

T = 1_790_000_000.0
"""When it all begins."""
WEEK = 7 * DAY
A, B, C = PolicyId("a"), PolicyId("b"), PolicyId("c")
NO_RECORD = NoRecordError("NXDOMAIN")
SERVFAIL = DnsFailureError("SERVFAIL")
NOT_FOUND_404 = StatusError("HTTP 404")


def policy(mode: str = "enforce", max_age: float = WEEK, mx: str = "mx1.good.test") -> Policy:
    """A policy as it would be served."""
    text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age:.0f}\n"
    return parse_policy(text.encode())


def fetched(at: float = T, policy_id: PolicyId = A, max_age: float = WEEK) -> State:
    """The state after a first successful attempt, with a TTL of five minutes and no jitter."""
    step = Fetch(policy_id, recheck_in=5 * MINUTE)
    return after_fetch(None, step, policy(max_age=max_age), at, 0.0)


def discovered(state: State | None, outcome: Discovered | DiscoveryError, now: float) -> State:
    """The state in which an attempt ends that needs no GET."""
    after = after_discovery(state, outcome, now)
    assert isinstance(after, State)
    return after


def refused(state: State | None, error: FetchError, now: float, policy_id: PolicyId = A) -> State:
    """The state after the DNS named an id and its GET failed."""
    step = after_discovery(state, Discovered(policy_id, 300), now)
    assert isinstance(step, Fetch)
    return after_fetch(state, step, error, now, 0.0)


KEPT = fetched()
ABSENT = discovered(None, NO_RECORD, T)
UNDECIDED = discovered(None, SERVFAIL, T)


@pytest.mark.parametrize(
    ("state", "at", "worth"),
    [
        (None, T, Standing.UNKNOWN),
        (KEPT, T, Standing.FRESH),
        (KEPT, T + 5 * MINUTE - 1, Standing.FRESH),
        (KEPT, T + 5 * MINUTE, Standing.DUE),
        (KEPT, T + WEEK - 1, Standing.DUE),
        (KEPT, T + WEEK, Standing.UNKNOWN),
        (KEPT, T - 1, Standing.DUE),  # the clock was set back: served, and checked
        (KEPT, T - 10 * WEEK, Standing.DUE),
        (ABSENT, T, Standing.FRESH),
        (ABSENT, T + ABSENCE_RECHECK - 1, Standing.FRESH),
        (ABSENT, T + ABSENCE_RECHECK, Standing.DUE),
        (ABSENT, T + ABSENCE_BELIEVED - 1, Standing.DUE),
        (ABSENT, T + ABSENCE_BELIEVED, Standing.UNKNOWN),
        (ABSENT, T - 1, Standing.UNKNOWN),  # an absence from the future is not believed
        (UNDECIDED, T + DNS_FAILURE_BELIEVED - 1, Standing.FRESH),
        (UNDECIDED, T + DNS_FAILURE_BELIEVED, Standing.UNKNOWN),
        (restored(policy(), A, T, T + DAY), T, Standing.DUE),
        (restored(policy(), A, T, T + DAY), T + WEEK, Standing.UNKNOWN),
        (fetched(max_age=0), T, Standing.UNKNOWN),
    ],
)
def test_what_a_state_is_worth(state: State | None, at: float, worth: Standing) -> None:
    """Served at once, served and checked behind the reply, or not served (§5.1 step 1)."""
    assert standing(state, at) is worth


@pytest.mark.parametrize(
    ("ttl", "recheck_in"),
    [(0, MINUTE), (59, MINUTE), (300, 300), (3600, HOUR), (86400, HOUR)],
)
def test_the_record_is_rechecked_after_its_ttl(ttl: int, recheck_in: float) -> None:
    """The TTL is held between a minute and an hour, on both ways (C12)."""
    step = after_discovery(None, Discovered(A, ttl), T)
    assert step == Fetch(A, recheck_in)
    confirmed = discovered(KEPT, Discovered(A, ttl), T + HOUR)
    assert confirmed.recheck_at == T + HOUR + recheck_in


def test_a_fetched_policy() -> None:
    """Its age counts from the fetch; a reply made of it holds until its recheck (C1, C2)."""
    assert KEPT.policy_id == A
    assert (KEPT.fetched_at, KEPT.expires_at) == (T, T + WEEK)
    assert fresh_until(KEPT) == T + 5 * MINUTE
    assert fresh_until(fetched(max_age=60)) == T + 60
    assert KEPT.failure is None


def test_the_same_id_needs_no_https_and_renews_no_age() -> None:
    """A confirmation by DNS alone moves the recheck and nothing else (D16, C2)."""
    confirmed = discovered(KEPT, Discovered(A, 300), T + HOUR)
    assert confirmed == replace(KEPT, checked_at=T + HOUR, recheck_at=T + HOUR + 300)


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
    """At half its max_age, at least five minutes, at most a day, up to a tenth sooner (C7)."""
    state = after_fetch(None, Fetch(A, 60), policy(max_age=max_age), T, jitter)
    assert state.refetch_at == pytest.approx(T + refetch_in)


@pytest.mark.parametrize(
    "outcome", [Discovered(A, 300), NO_RECORD, InvalidRecordError("two"), SERVFAIL]
)
def test_a_due_refetch_minds_neither_the_id_nor_the_record(
    outcome: Discovered | DiscoveryError,
) -> None:
    """A policy a day old is fetched whatever the DNS says, under its id (C8, §10.2)."""
    step = after_discovery(KEPT, outcome, T + DAY)
    assert isinstance(step, Fetch)
    assert step.policy_id == A
    assert after_fetch(KEPT, step, policy(), T + DAY, 0.0).expires_at == T + DAY + WEEK


def test_a_forced_fetch_minds_neither_age_nor_back_off() -> None:
    """What is fresh, or failed just now, is fetched under the id that there is."""
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
    """After the clock was set back, the age that is not known is learned anew."""
    assert isinstance(after_discovery(KEPT, Discovered(A, 300), T - DAY), Fetch)


@pytest.mark.parametrize(
    "state", [refused(None, NOT_FOUND_404, T), refused(KEPT, NOT_FOUND_404, T, B)]
)
def test_a_back_off_from_the_future_is_not_kept(state: State) -> None:
    """A clock that was wrong, under which every certificate had expired, stops no later fetch."""
    failing = state.backoffs[0].policy_id
    assert isinstance(after_discovery(state, Discovered(failing, 300), T), State)
    assert after_discovery(state, Discovered(failing, 300), T - DAY) == Fetch(failing, 300)


def test_a_renewal_put_off_into_the_future_is_due() -> None:
    """A policy whose renewal failed under a clock ten days ahead is fetched when it is right."""
    state = refused(fetched(max_age=12 * WEEK), NOT_FOUND_404, T + 10 * DAY)
    assert after_discovery(state, Discovered(A, 300), T + HOUR) == Fetch(A, 300)


@pytest.mark.parametrize("new_id", [B, PolicyId("A"), PolicyId("0")])
def test_any_other_id_is_a_change(new_id: PolicyId) -> None:
    """Ids have no order: what differs is fetched at once (D15)."""
    step = after_discovery(KEPT, Discovered(new_id, 300), T + 1)
    assert step == Fetch(new_id, 300)


@pytest.mark.parametrize(
    "newer",
    [policy(), policy(max_age=60), policy("none"), policy("testing"), policy(mx="mx9.evil.test")],
)
def test_a_newer_policy_replaces_the_older_one(newer: Policy) -> None:
    """Completely, with a shorter max_age or mode none too; the old one is gone (C10)."""
    after = after_fetch(KEPT, Fetch(B, 300), newer, T + HOUR, 0.0)
    assert (after.policy, after.policy_id) == (newer, B)
    assert after.expires_at == T + HOUR + newer.max_age
    gone = discovered(after, NO_RECORD, after.expires_at)
    assert gone.policy is None


@pytest.mark.parametrize("error", [NO_RECORD, InvalidRecordError("two")])
@pytest.mark.parametrize("age", [1.0, HOUR, DAY - 1])
def test_a_live_policy_outlives_the_record(error: DiscoveryError, age: float) -> None:
    """Whatever the DNS fails to say, the policy stays as it is, and its age too (C3, D14)."""
    after = discovered(KEPT, error, T + age)
    assert live(after, T + age) is after
    assert (after.policy, after.policy_id, after.expires_at) == (KEPT.policy, A, T + WEEK)
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
    """Under its own id or a new one, for any reason, until it expires (C3)."""
    after = after_fetch(KEPT, Fetch(policy_id, 300), error, T + DAY, 0.0)
    assert live(after, T + WEEK - 1) is after
    assert (after.policy, after.policy_id, after.fetched_at) == (KEPT.policy, A, T)
    assert after.refetch_at == T + DAY + BACKOFF_FIRST
    assert live(after, T + WEEK) is None


def test_everything_dead_for_the_whole_life_of_a_policy() -> None:
    """It is served to its last second and not one longer; then the domain has none (C3, C4)."""
    state, now, gets = KEPT, T, 0
    while now < T + WEEK:
        assert standing(state, now) is not Standing.UNKNOWN
        assert state.policy == KEPT.policy
        step = after_discovery(state, SERVFAIL, now)
        if isinstance(step, Fetch):
            gets += 1
            step = after_fetch(state, step, NOT_FOUND_404, now, 0.0)
        state = step
        assert state.recheck_at > now
        now = state.recheck_at
    assert 6 * 24 <= gets <= 6 * 24 + 5  # six days of hourly tries, and those before the hour
    assert discovered(state, SERVFAIL, T + WEEK).policy is None


def test_a_failed_fetch_backs_off_per_id() -> None:
    """Five minutes, doubled with each failure of that id, up to an hour (F14)."""
    state: State | None = None
    now = T
    waits = []
    for _ in range(7):
        state = refused(state, NOT_FOUND_404, now)
        until = state.backoffs[-1].until
        assert isinstance(after_discovery(state, Discovered(A, 300), until - 1), State)
        assert after_discovery(state, Discovered(A, 300), until) == Fetch(A, 300)
        waits.append(until - now)
        now = until
    assert waits == [BACKOFF_FIRST, 600, 1200, 2400, BACKOFF_MOST, BACKOFF_MOST, BACKOFF_MOST]


def test_a_new_id_is_tried_at_once_and_the_old_one_still_waits() -> None:
    """Back-off is per id, also where two ids take turns (§3.3)."""
    state = refused(None, NOT_FOUND_404, T, A)
    state = refused(state, NOT_FOUND_404, T + 60, B)
    assert isinstance(after_discovery(state, Discovered(A, 60), T + 120), State)
    assert isinstance(after_discovery(state, Discovered(B, 60), T + 120), State)
    assert after_discovery(state, Discovered(C, 60), T + 120) == Fetch(C, 60)
    assert after_discovery(state, Discovered(A, 60), T + BACKOFF_FIRST) == Fetch(A, 60)


def test_backing_off_survives_other_failures() -> None:
    """A DNS failure in between does not let the failed id be tried sooner."""
    state = refused(None, NOT_FOUND_404, T)
    state = discovered(state, SERVFAIL, T + 60)
    state = discovered(state, NO_RECORD, T + 120)
    assert isinstance(after_discovery(state, Discovered(A, 60), T + 180), State)


def test_while_backing_off_the_record_is_still_rechecked() -> None:
    """So that a new id is noticed; the recheck never comes later than the next try."""
    state = refused(KEPT, NOT_FOUND_404, T + 10, B)
    waiting = discovered(state, Discovered(B, 3600), T + 70)
    assert waiting.recheck_at == T + 10 + BACKOFF_FIRST
    assert waiting.failure == state.failure
    assert waiting.policy == KEPT.policy
    back = discovered(waiting, Discovered(A, 60), T + 130)  # the new id was withdrawn
    assert back.failure is None


def test_only_so_many_failing_ids_are_remembered() -> None:
    """A domain that names a new id each time takes no more room for it."""
    state: State | None = None
    for n in range(10):
        state = refused(state, NOT_FOUND_404, T + 60 * n, PolicyId(str(n)))
    assert state
    assert [b.policy_id for b in state.backoffs] == [str(n) for n in range(10 - BACKOFFS_KEPT, 10)]


def test_success_forgets_every_failure() -> None:
    """A fetched policy begins with a clean slate."""
    state = refused(KEPT, NOT_FOUND_404, T + 10, B)
    after = after_fetch(state, Fetch(C, 60), policy(), T + 20, 0.0)
    assert (after.failure, after.backoffs) == (None, ())


def test_absence() -> None:
    """Rechecked from five minutes on, forgotten after an hour, told apart from not knowing."""
    assert (ABSENT.recheck_at, ABSENT.expires_at) == (T + 300, T + HOUR)
    assert not ABSENT.undecided
    again = discovered(ABSENT, NO_RECORD, T + 600)
    assert (again.recheck_at, again.expires_at) == (T + 900, T + 600 + HOUR)
    assert after_discovery(ABSENT, Discovered(A, 300), T + 600) == Fetch(A, 300)


def test_a_fetch_that_fails_with_nothing_cached_is_an_absence() -> None:
    """As though the domain had no policy (C4), and not as though the DNS had failed."""
    state = refused(None, NOT_FOUND_404, T)
    assert state.policy is None
    assert not state.undecided
    assert state.expires_at == T + ABSENCE_BELIEVED


def test_dns_failure_with_nothing_cached() -> None:
    """Believed for 30 seconds only, and known as such (D20)."""
    assert UNDECIDED.undecided
    assert UNDECIDED.expires_at == T + DNS_FAILURE_BELIEVED
    again = discovered(UNDECIDED, SERVFAIL, T + 31)
    assert again.expires_at == T + 31 + DNS_FAILURE_BELIEVED
    assert not discovered(UNDECIDED, NO_RECORD, T + 31).undecided


@pytest.mark.parametrize("state", [ABSENT, KEPT, refused(KEPT, NOT_FOUND_404, T, B)])
def test_a_silent_dns_takes_nothing_back(state: State) -> None:
    """Absence or policy, as long as it is believed: only the recheck moves."""
    after = discovered(state, SERVFAIL, T + 600)
    assert after == replace(state, checked_at=T + 600, recheck_at=T + 600 + DNS_FAILURE_BELIEVED)


def test_an_absence_is_undecided_once_it_is_forgotten() -> None:
    """After its hour a silent DNS is all that is known."""
    assert discovered(ABSENT, SERVFAIL, T + HOUR).undecided


def test_a_fault_of_our_own_weakens_nothing() -> None:
    """A live policy stays; without one the domain has none."""
    fault = OwnFaultError("see the log")
    assert after_fault(KEPT, fault, T + 60).policy == KEPT.policy
    assert after_fault(None, fault, T).policy is None


def test_failures_in_a_row_are_counted() -> None:
    """By their kind, with the time since when anything failed, and the last reason."""
    state = discovered(KEPT, NO_RECORD, T + 60)
    state = discovered(state, NO_RECORD, T + 400)
    assert state.failure
    assert (state.failure.count, state.failure.since) == (2, T + 60)
    assert (state.failure.code, state.failure.result) == ("no-record", "sts-policy-fetch-error")
    state = discovered(state, InvalidRecordError("two"), T + 500)
    assert state.failure
    assert (state.failure.count, state.failure.since) == (1, T + 60)
    assert discovered(state, Discovered(A, 60), T + 600).failure is None


def test_a_record_that_lacks_is_no_news_while_a_renewal_fails() -> None:
    """The failed GET stays what there is to tell, and is what is counted."""
    state = refused(replace(KEPT, refetch_at=T), CertificateError("expired"), T + 60)
    after = discovered(state, NO_RECORD, T + 120)
    assert after == replace(state, checked_at=T + 120, recheck_at=T + 120 + ABSENCE_RECHECK)


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
    """Whatever happens: a live policy changes only by a GET, and every state has its times."""
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
        assert len(after.backoffs) <= BACKOFFS_KEPT
        state = after
