"""Which policy counts while the daemon has to ask the network."""

from postfix_mta_sts.admin.diagnosis import in_force
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState, Source
from postfix_mta_sts.mtasts.errors import UnreachableError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.postfix.smtp_client.values import Level, NextHop, TlsPolicy
from tests.support.policy_host import policy_text


def test_a_cached_policy_counts_although_dane_must_be_looked_up_again() -> None:
    """The daemon waits for DANE only: it answers the policy that it has."""
    evidence = Evidence.of(NextHop("good.test", "good.test"), 1_800_000_000.0)
    evidence.cached = parse_policy(policy_text())
    evidence.daemon = DaemonAnswer(DaemonState.ANSWERED, in_force=True, policy_id=PolicyId("1"))
    evidence.network.error = UnreachableError("connection refused")

    in_force.by_network(evidence, Answering())

    assert isinstance(evidence.tls_policy, TlsPolicy)
    assert evidence.tls_policy.level is Level.SECURE
    assert evidence.source is Source.DAEMON
