"""What an administrator is told of two states, one after the other."""

import pytest

from postfix_mta_sts.mtasts.changes import Change, Severity, changes
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DiscoveryError,
    DnsFailureError,
    FetchError,
    InvalidRecordError,
    NoRecordError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import (
    DAY,
    Discovered,
    Fetch,
    State,
    after_discovery,
    after_fetch,
)
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from tests.support.surroundings import START, policy

DESCRIPTION = {"id": "a", "mode": "enforce", "mx": policy().mx, "max_age": 604800}
"""What a line about a policy always has."""
A, B = PolicyId("a"), PolicyId("b")


def got(before: State | None, outcome: Policy | FetchError, policy_id: PolicyId = A) -> State:
    """The state after a GET."""
    at = START if before is None else before.checked_at + 60
    return after_fetch(before, Fetch(policy_id, 300), outcome, at, 0.0)


def asked(before: State | None, outcome: Discovered | DiscoveryError) -> State:
    """The state after an attempt that needed no GET."""
    at = START if before is None else before.checked_at + 60
    after = after_discovery(before, outcome, at)
    assert isinstance(after, State)
    return after


def told(before: State | None, after: State) -> list[Change]:
    """The changes between two states."""
    return list(changes(before, after, after.checked_at))


ENFORCED = got(None, policy())
NONE = got(None, policy("none"))


def test_fetched() -> None:
    """A first policy is told with id, mode, mx and max_age."""
    (change,) = told(None, ENFORCED)
    assert (change.what, change.weight) == ("policy fetched", Severity.NOTE)
    assert change.fields == DESCRIPTION


@pytest.mark.parametrize(
    ("newer", "policy_id", "whats"),
    [
        (policy(), A, ["policy renewed"]),
        (policy(), B, ["policy changed"]),
        (policy(max_age=60), A, ["policy changed"]),
        (policy("testing"), B, ["policy changed", "enforce became testing"]),
        (policy("none"), B, ["policy changed", "enforce became none"]),
        (policy(mx="mx9.evil.test"), B, ["policy changed", "mx set replaced"]),
    ],
)
def test_fetched_again(newer: Policy, policy_id: PolicyId, whats: list[str]) -> None:
    """What was replaced is told, and what an attacker would replace is told by name."""
    found = told(ENFORCED, got(ENFORCED, newer, policy_id))
    assert [change.what for change in found] == whats
    assert all(change.weight is not Severity.WARNING for change in found)


def test_nothing_changed() -> None:
    """A confirmation by DNS is no line."""
    assert told(ENFORCED, asked(ENFORCED, Discovered(A, 300))) == []


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (NoRecordError("NXDOMAIN"), "record vanished"),
        (InvalidRecordError("two"), "renewal failed"),
    ],
)
def test_a_live_policy_whose_renewal_fails(error: DiscoveryError, what: str) -> None:
    """A warning with the reason, and the time that is left; none for mode none (C9)."""
    (change,) = told(ENFORCED, asked(ENFORCED, error))
    assert (change.what, change.weight) == (what, Severity.WARNING)
    assert change.fields["reason"] == str(error)
    assert change.fields["expires_in"] == 604800 - 60
    assert DESCRIPTION.items() <= change.fields.items()
    (quiet,) = told(NONE, asked(NONE, error))
    assert quiet.weight is not Severity.WARNING


def test_growing_intervals() -> None:
    """The 1st, 2nd, 4th and 8th failure in a row are warnings, those between are details."""
    state, weights = ENFORCED, []
    for _ in range(9):
        after = got(state, StatusError("HTTP 404"))
        weights += [change.weight for change in told(state, after)]
        state = after
    warned = [n for n, weight in enumerate(weights, 1) if weight is Severity.WARNING]
    assert warned == [1, 2, 4, 8]
    (recovered,) = told(state, got(state, policy()))[1:]
    assert (recovered.what, recovered.fields["failures"]) == ("recovered", 9)
    assert DESCRIPTION.items() <= recovered.fields.items()


def test_a_silent_dns_is_no_change() -> None:
    """While a policy lives, a recheck that gets no answer is no line about its domain."""
    assert told(ENFORCED, asked(ENFORCED, DnsFailureError("SERVFAIL"))) == []


def test_expired() -> None:
    """The end of a protection is a warning, with the reason why there is no newer one."""
    dead = after_discovery(ENFORCED, DnsFailureError("SERVFAIL"), START + 7 * DAY)
    assert isinstance(dead, State)
    (change,) = told(ENFORCED, dead)
    assert (change.what, change.weight) == ("policy expired", Severity.WARNING)
    assert DESCRIPTION.items() <= change.fields.items()
    assert change.fields["reason"] == "SERVFAIL"


def test_no_policy() -> None:
    """That a domain has none is a detail; that it has one which cannot be had is not."""
    assert told(None, asked(None, NoRecordError("NXDOMAIN")))[0].weight is Severity.DETAIL
    assert told(None, asked(None, DnsFailureError("SERVFAIL")))[0].weight is Severity.DETAIL
    assert told(None, asked(None, InvalidRecordError("two")))[0].weight is Severity.NOTE
    assert told(None, got(None, StatusError("HTTP 404")))[0].weight is Severity.NOTE


def test_a_policy_that_cannot_be_had_is_told_by_its_result_type() -> None:
    """As RFC 8460 names it (L1, §6); what has no record has nothing to report."""
    lost = told(None, got(None, CertificateError("certificate has expired")))[0]
    assert (lost.what, lost.fields["result"]) == ("no policy", "sts-webpki-invalid")
    assert "result" not in told(None, asked(None, NoRecordError("NXDOMAIN")))[0].fields
