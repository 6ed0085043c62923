"""The log events that two consecutive states of a domain give."""

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
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from tests.support.surroundings import START, policy

DESCRIPTION = {"id": "a", "mode": "enforce", "mx": policy().mx, "max_age": 604800}
"""The fields of every event about a policy."""
A, B = PolicyId("a"), PolicyId("b")


def after_get(before: State | None, outcome: Policy | FetchError, policy_id: PolicyId = A) -> State:
    """Return the state after a GET."""
    at = START if before is None else before.checked_at + 60
    return after_fetch(before, Fetch(policy_id, 300), outcome, at, 0.0)


def after_txt(before: State | None, outcome: Discovered | DiscoveryError) -> State:
    """Return the state after an attempt without a GET."""
    at = START if before is None else before.checked_at + 60
    after = after_discovery(before, outcome, at)
    assert isinstance(after, State)
    return after


def changed(before: State | None, after: State) -> list[Change]:
    """Return the changes between two states."""
    return list(changes(before, after, after.checked_at))


ENFORCED = after_get(None, policy())
NONE = after_get(None, policy("none"))


def test_fetched() -> None:
    """The first policy of a domain is a note with id, mode, mx and max_age."""
    (change,) = changed(None, ENFORCED)
    assert (change.what, change.severity) == ("policy fetched", Severity.NOTE)
    assert change.fields == DESCRIPTION


@pytest.mark.parametrize(
    ("newer", "policy_id", "whats"),
    [
        (policy(), A, ["policy renewed"]),
        (policy(), B, ["policy changed"]),
        (policy(max_age=60), A, ["policy changed"]),
        (policy("testing"), B, ["policy changed"]),
    ],
)
def test_fetched_again(newer: Policy, policy_id: PolicyId, whats: list[str]) -> None:
    """A replaced policy is a note; `weakening` finds the changes that an attacker would make."""
    found = changed(ENFORCED, after_get(ENFORCED, newer, policy_id))
    assert [change.what for change in found] == whats
    assert all(change.severity is not Severity.WARNING for change in found)


@pytest.mark.parametrize("mx", ["127.0.0.1", "*.1.2.3.4"])
def test_a_policy_that_no_certificate_can_match(mx: str) -> None:
    """It holds all mail: a warning, once for each policy, and only if it is enforced (E4)."""
    first = after_get(None, policy(mx=mx))
    warning = changed(None, first)[1]
    assert warning.what == "no certificate can match the policy, mail is held"
    assert warning.severity is Severity.WARNING
    assert warning.fields == {"id": "a", "mx": (mx,)}
    assert len(changed(first, after_get(first, policy(mx=mx)))) == 1
    assert changed(ENFORCED, after_get(ENFORCED, policy(mx=mx), B))[-1].what == warning.what
    assert len(changed(None, after_get(None, policy("testing", mx=mx)))) == 1


def test_one_pattern_that_can_match_is_enough() -> None:
    """An address beside a host name holds no mail."""
    mixed = parse_policy(
        b"version: STSv1\nmode: enforce\nmx: 127.0.0.1\nmx: mx1.good.test\nmax_age: 60\n"
    )
    assert len(changed(None, after_get(None, mixed))) == 1


def test_nothing_changed() -> None:
    """A TXT record with the same id gives no event."""
    assert changed(ENFORCED, after_txt(ENFORCED, Discovered(A, 300))) == []


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (NoRecordError("NXDOMAIN"), "TXT record missing"),
        (InvalidRecordError("two"), "renewal failed"),
    ],
)
def test_a_live_policy_whose_renewal_fails(error: DiscoveryError, what: str) -> None:
    """It is a warning with the reason and the time left; for mode none it is no warning (C9)."""
    (change,) = changed(ENFORCED, after_txt(ENFORCED, error))
    assert (change.what, change.severity) == (what, Severity.WARNING)
    assert change.fields["reason"] == str(error)
    assert change.fields["expires_in"] == 604800 - 60
    assert DESCRIPTION.items() <= change.fields.items()
    (quiet,) = changed(NONE, after_txt(NONE, error))
    assert quiet.severity is not Severity.WARNING


def test_repeated_failures_warn_at_growing_intervals() -> None:
    """The 1st, 2nd, 4th and 8th failure in a row are warnings, the others details."""
    state, severities = ENFORCED, []
    for _ in range(9):
        after = after_get(state, StatusError("HTTP 404"))
        severities += [change.severity for change in changed(state, after)]
        state = after
    warned = [n for n, severity in enumerate(severities, 1) if severity is Severity.WARNING]
    assert warned == [1, 2, 4, 8]
    (recovered,) = changed(state, after_get(state, policy()))[1:]
    assert (recovered.what, recovered.fields["failures"]) == ("renewal recovered", 9)
    assert DESCRIPTION.items() <= recovered.fields.items()


def test_an_unanswered_recheck_is_no_change() -> None:
    """While a policy has not expired, a recheck that gets no answer gives no event."""
    assert changed(ENFORCED, after_txt(ENFORCED, DnsFailureError("SERVFAIL"))) == []


def test_expired() -> None:
    """The expiry of a policy is a warning, with the reason why there is no newer one."""
    dead = after_discovery(ENFORCED, DnsFailureError("SERVFAIL"), START + 7 * DAY)
    assert isinstance(dead, State)
    (change,) = changed(ENFORCED, dead)
    assert (change.what, change.severity) == ("policy expired", Severity.WARNING)
    assert DESCRIPTION.items() <= change.fields.items()
    assert change.fields["reason"] == "SERVFAIL"


def test_no_policy() -> None:
    """A domain without a record is a detail; a record without a usable policy is a note."""
    afters = [
        after_txt(None, NoRecordError("NXDOMAIN")),
        after_txt(None, DnsFailureError("SERVFAIL")),
        after_txt(None, InvalidRecordError("two")),
        after_get(None, StatusError("HTTP 404")),
    ]
    severities = [changed(None, after)[0].severity for after in afters]
    assert severities == [Severity.DETAIL, Severity.DETAIL, Severity.NOTE, Severity.NOTE]


def test_an_unavailable_policy_is_logged_with_its_result_type() -> None:
    """The event has the RFC 8460 result type (L1, §6); without a record there is none."""
    lost = changed(None, after_get(None, CertificateError("certificate has expired")))[0]
    assert (lost.what, lost.fields["result"]) == ("no policy", "sts-webpki-invalid")
    assert "result" not in changed(None, after_txt(None, NoRecordError("NXDOMAIN")))[0].fields
