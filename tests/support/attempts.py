"""States as attempts make them, one after the other."""

from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    NoRecordError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import (
    DAY,
    MINUTE,
    Discovered,
    Fetch,
    State,
    after_discovery,
    after_fetch,
)
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId

T = 1_790_000_000.0
"""Time of the first attempt."""
WEEK = 7 * DAY
A, B, C = PolicyId("a"), PolicyId("b"), PolicyId("c")
NO_RECORD = NoRecordError("NXDOMAIN")
SERVFAIL = DnsFailureError("SERVFAIL")
NOT_FOUND_404 = StatusError("HTTP 404")


def policy(mode: str = "enforce", max_age: float = WEEK, mx: str = "mx1.good.test") -> Policy:
    """Return a policy as a Policy Host would serve it."""
    text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age:.0f}\n"
    return parse_policy(text.encode())


def fetched(at: float = T, policy_id: PolicyId = A, max_age: float = WEEK) -> State:
    """Return the state after a first successful attempt: a TTL of 5 minutes, no jitter."""
    step = Fetch(policy_id, recheck_in=5 * MINUTE)
    return after_fetch(None, step, policy(max_age=max_age), at, 0.0)


def after_txt(state: State | None, outcome: Discovered | DiscoveryError, now: float) -> State:
    """Return the state after an attempt that needs no GET."""
    after = after_discovery(state, outcome, now)
    assert isinstance(after, State)
    return after


def after_failed_get(
    state: State | None, error: FetchError, now: float, policy_id: PolicyId = A
) -> State:
    """Return the state after the DNS gave an id and the GET failed."""
    step = after_discovery(state, Discovered(policy_id, 300), now)
    assert isinstance(step, Fetch)
    return after_fetch(state, step, error, now, 0.0)


CACHED = fetched()
ABSENT = after_txt(None, NO_RECORD, T)
UNDECIDED = after_txt(None, SERVFAIL, T)
