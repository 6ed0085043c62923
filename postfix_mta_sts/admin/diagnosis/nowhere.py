"""Why Postfix connects to no address: there is none, or it is none that Postfix uses.

Pure.
"""

import ipaddress
from typing import Final

from postfix_mta_sts.admin.diagnosis.causes import Cause
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import CANNOT_TELL, HELD, Fault, Flow, Verdict
from postfix_mta_sts.admin.diagnosis.words import LETTER, cannot_tell, subject
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.network.smtp.host_names import is_address
from postfix_mta_sts.postfix.smtp_client.values import Delivery, Outcome

_LOOPS: Final = frozenset({"5.4.6", "4.4.4"})
"""What Postfix says if the best MX host is itself (smtp_addr.c)."""
_TAKE: Final = (
    "if this machine is to take its mail, add the domain to mydestination, relay_domains or "
    "virtual_mailbox_domains in main.cf; otherwise correct its MX record"
)
_PUBLIC: Final = "its postmaster has to name an MX host that has a public address"
CHECK_DNS: Final = (
    "check whether other domains resolve: if they do, the name servers of this one fail"
)
_SPELLING: Final = "check the spelling of the address"
_NOT_THERE: Final = {
    DnsProblem.NO_SUCH_NAME: "does not exist",
    DnsProblem.NO_RECORDS: "has no address",
    DnsProblem.INVALID: "is not a host name",
}
_ADDRESS: Final = "its postmaster has to correct the MX record, or give the name an address"
_NO_HOSTS: Final = {
    DnsProblem.NULL_MX: ("null-mx", "the domain says that it takes no mail (null MX)"),
    DnsProblem.NO_SUCH_NAME: ("no-such-domain", "the domain does not exist"),
    DnsProblem.NO_RECORDS: ("no-mail-host", "the domain has no mail server"),
    DnsProblem.INVALID: ("no-mail-host", "the domain has no valid mail server"),
}


def problem_of(hosts: MailHosts) -> DnsProblem | None:
    """Why there is no address to send mail to; None if there is one."""
    if hosts.problem or any(host.addresses for host in hosts.hosts):
        return hosts.problem
    problems = [host.problem for host in hosts.hosts]
    # Where one look-up failed, that host may have an address.
    return DnsProblem.FAILURE if DnsProblem.FAILURE in problems else next(iter(problems), None)


def without_hosts(evidence: Evidence, problem: DnsProblem) -> Verdict:
    """The verdict if the DNS names no mail server that has an address."""
    if problem is DnsProblem.FAILURE:
        hosts = evidence.mail_hosts
        failed = [each for each in hosts.hosts if each.problem is problem] if hosts else []
        reasons = (hosts.reason, *(host.reason for host in failed)) if hosts else ()
        return dns_is_silent(evidence, next(filter(None, reasons), "no answer"))
    code, words = _NO_HOSTS[problem]
    fault, advice = Fault.NOBODY, [_SPELLING]
    if without := _named_without_address(evidence.mail_hosts, problem):
        code, words, fault, advice = "no-mail-host", without, Fault.THEIRS, [_ADDRESS, LETTER]
    is_deferred = evidence.delivery and evidence.delivery.outcome is Outcome.DEFERRED
    verb, flow = ("held", Flow.HELD) if is_deferred else ("returned to its sender", Flow.BOUNCED)
    sentence = f"{subject(evidence)} is {verb}: {words}"
    return Verdict(flow, sentence, fault, code, tuple(advice), HELD)


def _named_without_address(found: MailHosts | None, problem: DnsProblem) -> str:
    """Say which names in MX records have no address; empty: it is not that."""
    names = [host.name for host in found.hosts if not host.addresses] if found else []
    if not found or found.implicit or not names or problem not in _NOT_THERE:
        return ""
    shown = ", ".join(names[:3])
    if len(names) == 1:
        return f"its MX host {shown} {_NOT_THERE[problem]}"
    return f"none of its {len(names)} MX hosts has an address: {shown}"


def dns_is_silent(evidence: Evidence, reason: str) -> Verdict:
    """The verdict if the DNS does not say where mail goes, or whether there is a policy."""
    sentence = cannot_tell(evidence, f"the DNS does not answer: {reason}")
    advice = (
        CHECK_DNS,
        "if none does, see docs/dns.md for the name servers that are asked",
    )
    return Verdict(Flow.UNKNOWN, sentence, Fault.NETWORK, "dns-failure", advice, CANNOT_TELL)


def cause_without_address(evidence: Evidence, delivery: Delivery) -> Cause | None:
    """Return what is behind it; None: it is something else."""
    hosts = [host for host in _hosts(evidence) if any(map(is_address, host.addresses))]
    if not hosts or delivery.hosts:
        return None
    texts = [text for host in hosts for text in host.addresses if is_address(text)]
    addresses = [ipaddress.ip_address(text) for text in texts]
    names = ", ".join(host.name for host in hosts[:3])
    if delivery.dsn in _LOOPS:
        if all(each.is_loopback for each in addresses):
            words = f"its MX host is {names}, the address of each machine for itself"
            return Cause("loop", words, Fault.THEIRS, _PUBLIC)
        words = f"its MX host {names} is this machine, which does not take its mail"
        return Cause("loop", words, Fault.YOURS, _TAKE)
    versions = {each.version for each in addresses}
    if len(versions) > 1 or evidence.main_cf.inet_protocols == "all":
        return None
    (version,) = versions
    only = evidence.main_cf.inet_protocols
    words = f"its MX hosts have only IPv{version} addresses, and inet_protocols is {only}"
    advice = f"if this machine has IPv{version}, set inet_protocols = all in main.cf"
    return Cause("address-family", words, Fault.YOURS, advice)


def _hosts(evidence: Evidence) -> tuple[MxHost, ...]:
    return evidence.mail_hosts.hosts if evidence.mail_hosts else ()
