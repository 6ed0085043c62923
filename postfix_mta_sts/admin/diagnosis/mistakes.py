"""Gather what `mtasts.mistakes` looks at, and look at near names if a record is not there."""

from collections.abc import Callable

from postfix_mta_sts.admin.diagnosis.evidence import Evidence, PolicyFindings
from postfix_mta_sts.admin.diagnosis.policy_now import find_misplaced
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import CertificateError, HostNotFoundError
from postfix_mta_sts.mtasts.mistakes import MailName, Mistake, Seen, Texts, find_mistakes
from postfix_mta_sts.mtasts.record import record_name
from postfix_mta_sts.mtasts.tlsrpt_record import tlsrpt_name
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.near_names import look_up_near_names
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.values import replace


async def look_for_mistakes(
    evidence: Evidence, dns: DnsClient, fetcher: PolicyFetcher, time_left: Callable[[], float]
) -> tuple[Mistake, ...]:
    """Return what the other side has mistyped; looks at near names and paths for what is missing.

    Each of the two takes as many seconds as `time_left` says then, at most.
    """
    domain, found = evidence.domain, evidence.network
    if domain is None or found.record is None:
        return ()
    record = Texts(record_name(domain), found.texts, found.record.aliases)
    tlsrpt = _tlsrpt(evidence, domain)
    is_missing = not record.texts or (tlsrpt is not None and not tlsrpt.texts)
    seen = Seen(
        domain,
        record=record,
        tlsrpt=tlsrpt,
        near=await look_up_near_names(dns, domain, time_left()) if is_missing else (),
        mx=_mail_names(evidence),
    )
    near_path = await find_misplaced(domain, found, fetcher, time_left())
    return find_mistakes(replace(_with_policy_host(seen, found), near_path=near_path))


def _with_policy_host(seen: Seen, found: PolicyFindings) -> Seen:
    """Add what the Policy Host sent."""
    trace = found.trace or FetchTrace()
    shown = trace.certificate
    is_certificate = isinstance(found.error, CertificateError)
    return replace(
        seen,
        body=found.body,
        status=trace.status,
        media_type=trace.media_type,
        location=trace.location,
        certificate_error=str(found.error) if is_certificate else None,
        certificate_names=shown.names if shown else (),
        host_exists=not isinstance(found.error, HostNotFoundError) if found.trace else None,
    )


def _tlsrpt(evidence: Evidence, domain: Domain) -> Texts | None:
    if evidence.tlsrpt is None:
        return None
    return Texts(tlsrpt_name(domain), evidence.tlsrpt_texts, evidence.tlsrpt.record.aliases)


def _mail_names(evidence: Evidence) -> tuple[MailName, ...] | None:
    hosts = evidence.mail_hosts
    if hosts is None or hosts.problem:
        return None
    if hosts.implicit:
        return ()
    return tuple(MailName(host.name, host.preference, host.aliases) for host in hosts.hosts)
