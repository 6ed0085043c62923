"""Make a `Diagnosis` of the evidence and the verdict, also while look-ups still run.

Pure. The types are in `values`; `conclude` draws the verdict.
"""

from collections.abc import Iterator

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence, PolicyFindings
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaemonState,
    Diagnosis,
    Fetch,
    Host,
    PolicyHostCertificate,
    PolicyNow,
    PostfixHere,
)
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.policy_families import difference
from postfix_mta_sts.network.trace import FetchTrace

_NOT_ASKED = DaemonAnswer(DaemonState.NOT_ASKED)
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
        network=_policy_now(evidence.network),
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


def _policy_now(findings: PolicyFindings) -> PolicyNow | None:
    """The findings as a value; None if the look-up has found nothing yet."""
    error, policy = findings.error, findings.policy
    if findings.record is None:
        return None
    return PolicyNow(
        record=findings.record,
        policy_id=findings.policy_id,
        fetch=_fetch(findings.trace) if findings.trace else None,
        body=None if findings.body is None else findings.body.decode("utf-8", "backslashreplace"),
        mode=policy.mode if policy else None,
        mx=policy.mx if policy else (),
        max_age=policy.max_age if policy else None,
        error=error.code if error else None,
        result=_result(error),
        reason=str(error or ""),
        line=error.line if isinstance(error, InvalidPolicyError) and error.line else None,
        families=findings.families,
        families_differ=difference(findings.families),
    )


def _result(error: MtaStsError | None) -> str | None:
    """The result type of RFC 8460 §4.3, which some errors have."""
    result = getattr(error, "result", None)
    return None if result is None else str(result)


def _fetch(trace: FetchTrace) -> Fetch:
    shown = trace.certificate
    certificate = (
        PolicyHostCertificate(shown.names, shown.issuer, shown.not_after) if shown else None
    )
    return Fetch(
        url=trace.url,
        address=trace.address,
        tls=trace.tls_version,
        certificate=certificate,
        status=trace.status,
        location=trace.location,
        media_type=trace.media_type,
        size=trace.size,
    )


def _hosts(found: MailHosts, policy: Policy | None) -> Iterator[Host]:
    for host in found.hosts:
        pattern = policy.pattern_of(host.name) if policy else None
        yield Host(host.name, host.preference, host.addresses, host.aliases, host.reason, pattern)
