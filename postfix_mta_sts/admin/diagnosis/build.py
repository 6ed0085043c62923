"""Put the evidence and the verdict together to a `Diagnosis`, also while look-ups still run.

Pure.
"""

from collections.abc import Iterator

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.policy_now import as_value
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaemonState,
    DaneHost,
    DaneNow,
    Diagnosis,
    Host,
    PostfixHere,
)
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.mail_hosts_values import MailHosts

_NOT_ASKED = DaemonAnswer(DaemonState.FAILED, "not asked yet")
_NO_POSTFIX = PostfixHere(None, "may", None)


def build(evidence: Evidence) -> Diagnosis:
    """Return the diagnosis of what was found so far."""
    hosts = evidence.mail_hosts
    return Diagnosis(
        key=evidence.next_hop.text,
        domain=evidence.domain,
        asked_at=round(evidence.asked_at),
        verdict=conclude(evidence),
        delivery=evidence.delivery,
        source=evidence.source,
        reply=evidence.reply,
        replies=evidence.replies,
        daemon=evidence.daemon or _NOT_ASKED,
        network=as_value(evidence.network),
        dane=evidence.dane,
        mail_hosts=hosts,
        hosts=tuple(_hosts(hosts, evidence.in_force)) if hosts else (),
        probes=evidence.probes,
        postfix=evidence.postfix or _NO_POSTFIX,
        waiting=evidence.waiting,
        words=evidence.words,
        tlsrpt=evidence.tlsrpt,
        mistakes=evidence.mistakes,
        waited_for=evidence.waits() if evidence.is_interrupted else (),
    )


def dane_now(outcome: DaneOutcome) -> DaneNow:
    """Convert a DANE outcome."""
    hosts = tuple(DaneHost(host.name, host.state, host.step) for host in outcome.hosts)
    return DaneNow(outcome.kind, outcome.reason, outcome.step, hosts, outcome.ttl)


def _hosts(found: MailHosts, policy: Policy | None) -> Iterator[Host]:
    for host in found.hosts:
        pattern = policy.pattern_of(host.name) if policy else None
        yield Host(host.name, host.preference, host.addresses, host.aliases, host.reason, pattern)
