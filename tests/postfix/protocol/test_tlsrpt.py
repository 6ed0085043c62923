"""Datagrams are those that the collector takes; `tests/e2e/test_tlsrpt_reports.py` asks it."""

import json

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import ResultType
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure
from postfix_mta_sts.postfix.protocol.tlsrpt import LIMIT, datagram

GOOD = parse_domain("good.test")
RECORD = "v=TLSRPTv1; rua=mailto:tlsrpt@good.test"


def test_a_policy() -> None:
    """The whole content, for a policy that could not be fetched."""
    failure = SessionFailure(PolicyType.STS, ResultType.FETCH_ERROR, "status 404")
    made = datagram(GOOD, RECORD, failure)
    assert made
    assert json.loads(made) == {
        "dpv": "1",
        "d": "good.test",
        "pr": RECORD,
        "policies": [
            {
                "policy-type": 2,
                "policy-domain": "good.test",
                "f": 1,
                "t": 1,
                "failure-details": [
                    {
                        "c": 301,
                        "f": "status 404",
                        "a": "https://mta-sts.good.test/.well-known/mta-sts.txt",
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("policy_type", "result", "code"),
    [
        (PolicyType.STS, ResultType.POLICY_INVALID, 302),
        (PolicyType.STS, ResultType.WEBPKI_INVALID, 303),
        (PolicyType.TLSA, ResultType.DNSSEC_INVALID, 305),
    ],
)
def test_codes(policy_type: PolicyType, result: ResultType, code: int) -> None:
    """Each result type has the number of libtlsrpt, and only a policy has a URL."""
    made = datagram(GOOD, RECORD, SessionFailure(policy_type, result, "x"))
    assert made
    (policy,) = json.loads(made)["policies"]
    (details,) = policy["failure-details"]
    assert details["c"] == code
    assert ("a" in details) is (policy_type is PolicyType.STS)
    assert policy["policy-type"] == {"sts": 2, "tlsa": 1}[policy_type]


@pytest.mark.parametrize("length", [LIMIT, 100_000])
def test_a_record_that_is_too_long(length: int) -> None:
    """None: the kernel would refuse it, or keep too much."""
    failure = SessionFailure(PolicyType.STS, ResultType.FETCH_ERROR, "x")
    assert datagram(GOOD, "v=TLSRPTv1;" + "x" * length, failure) is None
