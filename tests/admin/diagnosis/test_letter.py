"""What the letter says, and what it leaves out."""

from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.letter import letter
from postfix_mta_sts.network.smtp.values import FailureKind, Phase
from postfix_mta_sts.values import replace
from tests.support.diagnoses import TWO
from tests.support.evidence import ENFORCE, evidence
from tests.support.smtp_client import EXPIRED, at, failed, session, talked

POLICY = replace(ENFORCE, mx=("*.x.test",))


def test_nothing_of_a_cache_if_the_policy_is_there() -> None:
    """Where only a host has a problem, the letter does not say that a policy was kept."""
    bad, good = talked(session("mx1.x.test", error=EXPIRED)), talked(session("mx2.x.test"))
    text = letter(build(evidence(at(1, bad), at(2, good), hosts=TWO, policy=POLICY)))
    assert "certificate has expired" in text
    assert "have kept" not in text


def test_nothing_of_addresses_without_a_route() -> None:
    """An address that this machine has no way to is nothing that they could correct."""
    unreachable = failed(Phase.CONNECT, FailureKind.UNREACHABLE, reason="no route")
    bad = talked(session("mx2.x.test", error=EXPIRED))
    text = letter(build(evidence(at(1, unreachable), at(2, bad), hosts=TWO, policy=POLICY)))
    assert "mx2.x.test" in text
    assert "no route" not in text.partition("What we found")[2]
