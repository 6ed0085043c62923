"""Compare the policy that the daemon keeps with the one that the domain publishes now.

Pure. The one that is kept decides what happens to mail, until the daemon fetches the other.
"""

from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Fault, Flow, Source, Verdict
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.values import replace

_BY_NAME: Final = frozenset({"mx-not-in-policy"})
_BY_MODE: Final = frozenset({"no-starttls", "starttls-refused", "tls-handshake"})
_TRY_AGAIN: Final = "then have Postfix try the mail again: postqueue -f"


def by_what_is_published(evidence: Evidence, verdict: Verdict) -> Verdict:
    """Say so if mail is held only because the policy that is kept is not the latest one."""
    kept, published = evidence.cached, evidence.network.policy
    if verdict.flow is not Flow.HELD or evidence.source is not Source.DAEMON:
        return verdict
    if kept is None or published is None or not _helps(evidence, verdict.cause, published):
        return verdict
    if (kept.mode, kept.mx) == (published.mode, published.mx):
        return verdict
    sentence = f"{verdict.sentence}; that policy is kept here, and the domain has corrected it"
    refresh = f"fetch it now: postfix-mta-sts policy refresh {printable(evidence.domain or '')}"
    return replace(verdict, sentence=sentence, fault=Fault.YOURS, advice=(refresh, _TRY_AGAIN))


def names_no_host_now(evidence: Evidence) -> bool:
    """Whether the policy that is published now, and not yet kept, would hold all mail."""
    published = evidence.network.policy
    if evidence.cached is None or published is None or published.mode is not Mode.ENFORCE:
        return False
    return bool(_names(evidence)) and not any(map(published.allows, _names(evidence)))


def _helps(evidence: Evidence, cause: str, published: Policy) -> bool:
    """Whether what is wrong is right by the policy that is published now."""
    if published.mode is not Mode.ENFORCE:
        return cause in _BY_NAME | _BY_MODE or cause.startswith("certificate")
    return cause in _BY_NAME and any(map(published.allows, _names(evidence)))


def _names(evidence: Evidence) -> tuple[str, ...]:
    hosts = evidence.mail_hosts.hosts if evidence.mail_hosts else ()
    return tuple(host.name for host in hosts)
