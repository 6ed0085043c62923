"""What a shared policy is worth: it may add protection, and never takes any away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.errors import DiscoveryError
from postfix_mta_sts.mtasts.lifecycle import (
    DAY,
    HOUR,
    REFETCH_JITTER,
    Discovered,
    Fetch,
    State,
    after_discovery,
    after_fetch,
    live,
    restored,
)
from postfix_mta_sts.mtasts.policy import Mode, is_enforced
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SAME_FETCH, SharedPolicy, adopted, is_relay_name
from postfix_mta_sts.mtasts.verdict import after_verdict
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
    after_failed_get,
    after_txt,
    fetched,
    policy,
)
from tests.support.surroundings import UNSIGNED


def shared(
    age: float = HOUR,
    mode: str = "enforce",
    *,
    max_age: float = WEEK,
    mx: str = "mx1.good.test",
    policy_id: PolicyId = A,
) -> SharedPolicy:
    """A policy of the store, fetched by another relay `age` seconds ago."""
    return SharedPolicy(policy(mode, max_age, mx), policy_id, age, "mx2", round(1e15 - age * 1e6))


def taken(row: SharedPolicy, known: State | None, named: PolicyId | None, now: float = T) -> State:
    """The state after the row; it must be taken."""
    found = adopted(row, known, named, now, 0.5)
    assert isinstance(found, State)
    return found


def refused(row: SharedPolicy, known: State | None, named: PolicyId | None, now: float = T) -> str:
    """Why the row is not taken; it must not be."""
    found = adopted(row, known, named, now, 0.5)
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("known", [None, ABSENT, UNDECIDED])
@pytest.mark.parametrize("named", [A, None])
def test_first_use(known: State | None, named: PolicyId | None) -> None:
    """A relay that knows no policy takes a living one, if its TXT record names it or is absent."""
    found = taken(shared(), known, named)
    assert found.policy == policy()
    assert (found.policy_id, found.fetched_at, found.expires_at) == (A, T - HOUR, T - HOUR + WEEK)


def test_it_is_decided_upon_as_a_stored_policy() -> None:
    """The step after discovery is decided as for a row of the own store: no GET until it is due."""
    found = taken(shared(), None, A)
    assert found == restored(policy(), A, T - HOUR, found.refetch_at)
    confirmed = after_txt(found, Discovered(A, 300), T)
    assert (confirmed.policy, confirmed.recheck_at) == (policy(), T + 300)
    assert live(after_txt(found, NO_RECORD, T), T)
    assert live(after_txt(found, SERVFAIL, T), T)
    assert isinstance(after_discovery(found, Discovered(B, 300), T), Fetch)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_its_next_fetch_is_due_as_after_an_own_fetch(jitter: float) -> None:
    """A relay renews a shared policy half its life after it was fetched, spread by the jitter."""
    found = adopted(shared(), None, A, T, jitter)
    assert isinstance(found, State)
    assert found.refetch_at == T - HOUR + DAY * (1 - REFETCH_JITTER * jitter)


def test_one_that_is_due_is_taken_and_fetched() -> None:
    """An old policy is in force while the relay fetches it, and stays if that fails."""
    found = taken(shared(age=2 * DAY), None, A)
    step = after_discovery(found, Discovered(A, 300), T)
    assert isinstance(step, Fetch)
    assert live(after_fetch(found, step, NOT_FOUND_404, T, 0.0), T)


@pytest.mark.parametrize("mode", ["testing", "none"])
@pytest.mark.parametrize("known", [None, CACHED, fetched(T - 30 * DAY)])
def test_only_enforce(mode: str, known: State | None) -> None:
    """No policy in mode testing or none is taken, whatever the relay knows."""
    assert refused(shared(0, mode), known, A) == f"its mode is {mode}"


def test_another_id_than_that_of_the_record() -> None:
    """A policy is not served while the relay's own TXT record names another one."""
    assert refused(shared(), None, B) == "its id is a, and the record names b"


@pytest.mark.parametrize("max_age", [0, HOUR, HOUR - 1])
def test_expired(max_age: float) -> None:
    """A policy that has lived for its max_age is not taken."""
    assert refused(shared(age=HOUR, max_age=max_age), None, A) == "it has expired"


def test_renewed_by_another_relay() -> None:
    """A later fetch of the policy in force is taken, and extends its life."""
    known = fetched(T - 2 * DAY)
    found = taken(shared(), known, A)
    assert found.expires_at > known.expires_at


@pytest.mark.parametrize("age", [2 * DAY, 2 * DAY - SAME_FETCH, 6 * DAY])
def test_replayed(age: float) -> None:
    """A policy that is not newer than what the relay has fetched is not taken."""
    known = fetched(T - 2 * DAY)
    assert refused(shared(age), known, A) == "it is not newer than what this relay knows"


def test_replayed_after_the_end() -> None:
    """What the relay knew last counts after its end, too: an older policy is not taken."""
    none = restored(policy("none", DAY), B, T - 2 * DAY, T)
    assert live(none, T) is None
    for named in (A, None):
        assert "not newer" in refused(shared(age=3 * DAY), none, named)


@pytest.mark.parametrize("mode", ["enforce", "testing"])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (shared(mx="mx2.good.test"), "it names other mail servers than the policy in force"),
        (shared(mx="*.good.test"), "it names other mail servers than the policy in force"),
        (shared(max_age=WEEK - 1), "its life is shorter than that of the policy in force"),
        (shared(max_age=DAY), "its life is shorter than that of the policy in force"),
    ],
)
def test_weaker_than_what_is_in_force(row: SharedPolicy, reason: str, mode: str) -> None:
    """Other mail servers or a shorter life: the relay fetches for itself."""
    known = restored(policy(mode), A, T - 2 * DAY, T)
    assert refused(row, known, A) == reason
    assert refused(row, known, None) == reason


@pytest.mark.parametrize("mx", ["mx1.good.test", "mx2.good.test"])
def test_some_of_the_mail_servers(mx: str) -> None:
    """A policy that names only some of the mail servers is another one, too: mail would be held."""
    both = "mx1.good.test\nmx: mx2.good.test"
    known = restored(policy(mx=both), A, T - 2 * DAY, T)
    assert "other mail servers" in refused(shared(mx=mx), known, A)


def test_instead_of_no_protection() -> None:
    """A newer policy replaces one in mode none, or one that has expired, whatever it names."""
    row = shared(mx="mx2.good.test", max_age=DAY)
    for known in (restored(policy("none"), A, T - 2 * DAY, T), fetched(T - 2 * WEEK)):
        assert taken(row, known, A).policy == row.policy


def test_the_order_of_mail_servers() -> None:
    """The same mail servers in another order, or with repeats, are the same."""
    both = "mx1.good.test\nmx: mx2.good.test"
    known = restored(policy(mx=both), A, T - 2 * DAY, T)
    row = shared(mx="mx2.good.test\nmx: mx1.good.test\nmx: mx2.good.test")
    assert taken(row, known, A).policy == row.policy


def test_what_is_kept() -> None:
    """The DANE verdict and the pauses after failed GETs stay as they are; the failure is over."""
    verdict = after_verdict(None, UNSIGNED, T)
    failed = after_failed_get(fetched(T - 2 * DAY), NOT_FOUND_404, T)
    known = replace(failed, dane=verdict)
    found = taken(shared(), known, A)
    assert (found.dane, found.backoffs, found.failure) == (verdict, known.backoffs, None)
    assert isinstance(found.backoffs[0], Backoff)


def test_what_memory_and_disk_keep() -> None:
    """Pauses are those in memory, and what the record was is told by the last policy."""
    on_file = replace(fetched(T - 2 * WEEK), record_was_gone=True)
    known = after_failed_get(ABSENT, NOT_FOUND_404, T)
    for memory in (known, ABSENT, None):
        found = adopted(shared(), memory, None, T, 0.5, on_file)
        assert isinstance(found, State)
        assert found.backoffs == (memory.backoffs if memory else on_file.backoffs)
        assert found.record_was_gone


def test_a_row_that_memory_does_not_have() -> None:
    """A policy on file is not weakened by one that only memory's would admit."""
    on_file = restored(policy(), A, T - 2 * DAY, T)
    row = shared(mx="mx2.good.test")
    for known in (None, ABSENT, restored(policy(mx="mx2.good.test"), A, T - DAY, T)):
        found = adopted(row, known, None, T, 0.5, on_file)
        assert found == "it names other mail servers than the policy in force"


def test_a_record_that_was_gone() -> None:
    """That the record was gone is remembered until it is there again."""
    known = replace(fetched(T - 2 * DAY), record_was_gone=True)
    assert taken(shared(), known, None).record_was_gone
    assert not taken(shared(), known, A).record_was_gone
    assert not taken(shared(), None, None).record_was_gone


def test_a_clock_that_was_set_back() -> None:
    """What was fetched in the future counts as newer than any shared policy."""
    assert "not newer" in refused(shared(0), fetched(T + HOUR), A)


_MX = ("mx1.good.test", "mx2.good.test", "*.good.test", "mx1.good.test\nmx: mx2.good.test")
_AGES = st.sampled_from([0.0, 1.0, 3600.0]) | st.floats(0, 2 * WEEK)
_MODES = st.sampled_from(["enforce", "enforce", "testing", "none"])
_LIVES = st.sampled_from([0, 60, HOUR, DAY, WEEK, 52 * WEEK])
_IDS = st.sampled_from([A, B])
ROWS = st.builds(
    lambda age, mode, max_age, mx, policy_id: shared(
        age, mode, max_age=max_age, mx=mx, policy_id=policy_id
    ),
    _AGES,
    _MODES,
    _LIVES,
    st.sampled_from(_MX),
    _IDS,
)
"""Whatever a signed row can say, also one that was replayed or that a stolen key has signed."""
JITTERS = st.floats(0, 1, exclude_max=True)


def end(state: State | None, now: float, *, testing: bool) -> tuple[frozenset[str], float] | None:
    """Which hosts a state allows and until when; None: it protects nothing at this time."""
    policy = state.policy if state and live(state, now) else None
    if state is None or policy is None or not is_enforced(policy.mode, testing=testing):
        return None
    return frozenset(policy.mx), state.expires_at


def assert_not_weaker(before: State | None, after: State | None, now: float) -> None:
    """What was protected is as well protected, and as long; also with `enforce_testing`."""
    for testing in (False, True):
        had, has = end(before, now, testing=testing), end(after, now, testing=testing)
        if had is not None:
            assert has is not None
            assert (has[0], has[1] >= had[1]) == (had[0], True)


STATES = st.builds(
    lambda row, now_to_check: replace(
        restored(row.policy, row.policy_id, T - row.age, T - row.age + HOUR),
        checked_at=T - now_to_check,
    ),
    ROWS,
    _AGES,
)


@given(
    ROWS,
    st.none() | STATES | st.sampled_from([ABSENT, UNDECIDED]),
    st.none() | _IDS,
    JITTERS,
    st.none() | STATES,
)
def test_never_weaker(
    row: SharedPolicy,
    known: State | None,
    named: PolicyId | None,
    jitter: float,
    on_file: State | None,
) -> None:
    """Whatever a row says, what the relay gives afterwards is not weaker than before.

    Nor is it weaker than the row on its own disk, which memory may not have.
    """
    after = adopted(row, known, named, T, jitter, on_file)
    if isinstance(after, str):
        assert after.isprintable()
        return
    assert_not_weaker(known, after, T)
    assert_not_weaker(on_file, after, T)
    assert after.policy is not None
    assert after.policy.mode is Mode.ENFORCE
    assert named in {None, after.policy_id}
    assert T < after.expires_at == T - row.age + row.policy.max_age
    assert after.fetched_at <= after.refetch_at <= after.fetched_at + DAY
    assert live(after, T)


_OUTCOMES = st.sampled_from([Discovered(A, 300), Discovered(B, 60), NO_RECORD, SERVFAIL, NO_RECORD])
_STEPS = st.lists(
    st.tuples(st.floats(0, WEEK), ROWS, _OUTCOMES, JITTERS, st.booleans()), min_size=1, max_size=12
)


def attempt(
    state: State | None, outcome: Discovered | DiscoveryError, now: float, *, lives: bool
) -> State:
    """The state after an attempt whose GET fails, or brings a policy in mode enforce."""
    step = after_discovery(state, outcome, now)
    if isinstance(step, State):
        return step
    return after_fetch(state, step, policy() if lives else NOT_FOUND_404, now, 0.5)


@given(_STEPS, st.none() | STATES)
def test_never_weaker_than_a_relay_alone(
    steps: list[tuple[float, SharedPolicy, Discovered | DiscoveryError, float, bool]],
    start: State | None,
) -> None:
    """While a Policy Host is dead, a relay with a store protects all that one without it does."""
    alone = together = start
    now = T
    for pause, row, outcome, jitter, is_asked in steps:
        now += pause
        assert_not_weaker(alone, together, now)
        if is_asked:
            named = outcome.policy_id if isinstance(outcome, Discovered) else None
            found = adopted(row, together, named, now, jitter)
            together = together if isinstance(found, str) else found
        alone = attempt(alone, outcome, now, lives=False)
        together = attempt(together, outcome, now, lives=False)
        assert_not_weaker(alone, together, now)


@given(_STEPS)
def test_no_row_outlives_its_fetch(
    steps: list[tuple[float, SharedPolicy, Discovered | DiscoveryError, float, bool]],
) -> None:
    """However often a row is read, the policy ends max_age after its one fetch."""
    row, state, now = shared(0, max_age=3 * DAY), None, T
    for pause, _, outcome, jitter, _ in steps:
        now += pause
        read = replace(row, age=now - T)
        found = adopted(read, state, None, now, jitter)
        state = attempt(state if isinstance(found, str) else found, outcome, now, lives=False)
        if live(state, now):
            assert state.expires_at <= T + 3 * DAY + 0.001


@pytest.mark.parametrize("name", ["mx1", "MX-1.example.com", "a_b", "1", "a" * 64])
def test_names(name: str) -> None:
    """Host names, and what people call relays, are names."""
    assert is_relay_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".", "a b", "a\n", "{a}", "a:b", "\xe9", "a" * 65, "<"])
def test_no_names(name: str) -> None:
    """What could leave its place in a key, a log line or a table is no name."""
    assert not is_relay_name(name)
