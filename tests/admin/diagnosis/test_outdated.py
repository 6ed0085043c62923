"""The policy that the daemon keeps is not the one that the domain publishes now."""

from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.letter import letter
from postfix_mta_sts.admin.diagnosis.values import Fault, Flow
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.smtp.values import FailureKind, Phase, ProbeResult, ProbeTarget
from postfix_mta_sts.values import replace
from tests.support.diagnoses import PLACED, SECURE, whole
from tests.support.evidence import CACHED, ENFORCE, FOREIGN, TESTING, evidence
from tests.support.smtp_client import EXPIRED, NAME, failed

OTHER = "OK secure match=.other.test servername=hostname"


def kept(policy: Policy, published: Policy, probe: ProbeResult | None = None) -> Evidence:
    """Return evidence of a daemon that keeps one policy, while another one is published."""
    return evidence(
        probe or whole(),
        hosts=PLACED,
        policy=published,
        cached=policy,
        daemon=replace(CACHED, mx=policy.mx, failure=None),
        reply=OTHER if policy is FOREIGN else SECURE,
    )


def test_corrected() -> None:
    """Who has corrected a policy gets no letter; the daemon is made to fetch it."""
    verdict = conclude(kept(FOREIGN, ENFORCE))
    assert (verdict.flow, verdict.fault) == (Flow.HELD, Fault.YOURS)
    assert verdict.sentence.endswith("and the domain has corrected it")
    assert verdict.advice[0].endswith("postfix-mta-sts policy refresh x.test")


def test_lowered() -> None:
    """A policy that is in mode testing now does not hold mail for an expired certificate."""
    verdict = conclude(kept(ENFORCE, TESTING, whole(error=EXPIRED)))
    assert (verdict.flow, verdict.fault) == (Flow.HELD, Fault.YOURS)


def test_no_help() -> None:
    """A policy that is published now and changes nothing is not told of."""
    there = ProbeTarget(NAME, "192.0.2.25")
    refused = failed(Phase.CONNECT, FailureKind.REFUSED, reason="refused", target=there)
    for found in (kept(FOREIGN, FOREIGN), kept(ENFORCE, TESTING, refused)):
        verdict = conclude(found)
        assert (verdict.flow, verdict.fault) == (Flow.HELD, Fault.THEIRS)


def test_broken_since() -> None:
    """Mail flows by the policy that is kept; that the new one will hold it is said in time."""
    found = kept(ENFORCE, FOREIGN)
    verdict = conclude(found)
    assert (verdict.flow, verdict.fault, verdict.exit_code) == (Flow.POLICY, Fault.THEIRS, 0)
    assert "publishes now names none of its MX hosts" in verdict.sentence
    assert "by the policy that we have kept" in letter(build(found))
