"""Which look-ups are reported, from what is known of a domain and what it was answered."""

import pytest

from postfix_mta_sts.mtasts.decision import Decision, Knowledge, PolicyStep, from_memory
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DnsFailureError,
    InvalidPolicyError,
    InvalidRecordError,
    MtaStsError,
    NoRecordError,
    ResultType,
    StatusError,
)
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure, session_failure
from tests.support.dane_outcomes import FAILED, signed
from tests.support.states import a_failed_state, a_state

NOW = 1_500.0
REPORTED = Decision.NOT_FOUND, Decision.TRY_AGAIN_DANE
STS, TLSA = PolicyType.STS, PolicyType.TLSA


def of(knowledge: Knowledge, decision: Decision = Decision.NOT_FOUND) -> SessionFailure | None:
    """The failure of a look-up at `NOW`."""
    return session_failure(knowledge, decision, NOW)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (StatusError("status 404"), ResultType.FETCH_ERROR),
        (InvalidPolicyError(2, "no mode"), ResultType.POLICY_INVALID),
        (CertificateError("it has expired"), ResultType.WEBPKI_INVALID),
        (InvalidRecordError("no id field"), ResultType.POLICY_INVALID),
    ],
    ids=lambda each: getattr(each, "code", None),
)
def test_no_policy(error: MtaStsError, result: ResultType) -> None:
    """A policy that is announced, and cannot be had."""
    known = from_memory(a_failed_state(error))
    assert of(known) == SessionFailure(STS, result, str(error))


@pytest.mark.parametrize("error", [NoRecordError("NXDOMAIN"), DnsFailureError("no answer")])
def test_not_known_to_have_one(error: MtaStsError) -> None:
    """A domain of which nothing says that it has a policy fails nobody."""
    assert of(from_memory(a_failed_state(error))) is None


def test_a_policy_whose_renewal_fails() -> None:
    """It is in force, so it could be had."""
    state = a_failed_state(StatusError("status 500"), a_state())
    assert state.failure
    assert of(from_memory(state)) is None
    assert of(from_memory(state), Decision.SECURE) is None


@pytest.mark.parametrize("step", PolicyStep)
def test_time_is_up(step: PolicyStep) -> None:
    """Mail went without the policy though its TXT record was there."""
    is_fetching = step in {PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING}
    failure = of(Knowledge(None, step))
    assert (failure is not None) is is_fetching
    assert failure is None or (failure.policy_type, failure.result) == (STS, ResultType.FETCH_ERROR)


@pytest.mark.parametrize("decision", [each for each in Decision if each not in REPORTED])
def test_other_decisions(decision: Decision) -> None:
    """Postfix connects by them, and reports itself; or it waits for what nobody has published."""
    assert of(from_memory(a_failed_state(StatusError("status 404"))), decision) is None


def test_dane_is_not_known() -> None:
    """Postfix does not connect, so it cannot report what DNSSEC has failed to show."""
    known = Knowledge(None, PolicyStep.ANSWERED, so_far=signed(FAILED))
    failure = of(known, Decision.TRY_AGAIN_DANE)
    assert failure == SessionFailure(TLSA, ResultType.DNSSEC_INVALID, "TLSA of mx0")
