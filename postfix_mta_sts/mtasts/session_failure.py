"""Which look-ups a TLS report has to name, because Postfix cannot (RFC 8460 §4.3). Pure.

Without a policy, Postfix delivers as though there were none, and while DANE is not known it does
not connect at all. In both cases its own reports say nothing of the failure.
"""

import enum
from typing import Final

from postfix_mta_sts.mtasts.decision import Decision, Knowledge, PolicyStep, last_step, outcome
from postfix_mta_sts.mtasts.errors import DnsFailureError, InvalidRecordError, ResultType
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.values import Value

_TOO_LATE: Final = "the policy had not arrived when the lookup timeout ended"
_FETCHING: Final = (PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING)
"""Steps after which a TXT record is known, so that the domain has a policy."""


class PolicyType(enum.StrEnum):
    """The kinds of policy that can fail here (RFC 8460 §4.2)."""

    STS = "sts"
    TLSA = "tlsa"


class SessionFailure(Value, frozen=True):
    """Why mail went, or waits, without a policy that its domain publishes."""

    policy_type: PolicyType
    result: ResultType
    reason: str
    """One line of printable ASCII."""


def session_failure(knowledge: Knowledge, decision: Decision, now: float) -> SessionFailure | None:
    """The failure of a look-up that was decided by what is known; None: there is none to report.

    A domain without a TXT record has no policy to fail. Nor is a DNS that does not answer for the
    record one: then it is not known whether there is a policy.
    """
    if decision is Decision.TRY_AGAIN_DANE:
        found = outcome(knowledge, now)
        reason = found.failure if found else DnsFailureError.code
        return SessionFailure(PolicyType.TLSA, ResultType.DNSSEC_INVALID, reason)
    if decision is not Decision.NOT_FOUND:
        return None
    state = knowledge.state
    if state and state.policy:
        return None
    if knowledge.step in _FETCHING:
        return SessionFailure(PolicyType.STS, ResultType.FETCH_ERROR, _TOO_LATE)
    return _failure_in(state) if state else None


def _failure_in(state: State) -> SessionFailure | None:
    failure = state.failure
    if failure is None:
        return None
    is_record = failure.code == InvalidRecordError.code
    if not is_record and last_step(state) is not PolicyStep.FETCH_FAILED:
        return None
    return SessionFailure(PolicyType.STS, ResultType(failure.result), failure.reason)
