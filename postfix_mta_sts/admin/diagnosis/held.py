"""Why mail for a domain is held or returned, whose fault that is, and what to do.

Pure. `causes` says what is wrong with one MX host; this module sums it up for the domain.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.diagnosis.causes import Cause, cause, is_impatience
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.in_force import silence
from postfix_mta_sts.admin.diagnosis.nowhere import cause_without_address
from postfix_mta_sts.admin.diagnosis.values import (
    CANNOT_TELL,
    HELD,
    DaemonState,
    Fault,
    Flow,
    Source,
    Verdict,
)
from postfix_mta_sts.admin.diagnosis.words import LETTER, cannot_tell, enumerated, subject
from postfix_mta_sts.network.smtp.values import FailureKind, Phase, ProbeResult, by_address
from postfix_mta_sts.postfix.smtp_client.authentication import DANE
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    HostOutcome,
    InvalidTlsPolicy,
    Level,
    Outcome,
    TlsPolicy,
)
from postfix_mta_sts.values import Value

_LOG: Final = "see the log of the daemon"
_SMTP_TIMEOUT: Final = 300.0
"""Seconds that smtp(8) waits for a reply (postconf(5), smtp_helo_timeout)."""
_MANY: Final = 3
"""Messages for other domains that wait for the same reason: then it is not the domain's fault."""
_NOT_IN_POLICY: Final = "its policy names none of its MX hosts"
_NOT_READ: Final = ("ermission denied", "cannot run ", "did not end within", "no answer within")
"""Errors that Postfix, which runs as root where it opens a table, need not have."""


def by_the_map(evidence: Evidence, entry: InvalidTlsPolicy) -> Verdict:
    """The verdict if the table gives Postfix no usable answer."""
    held = f"{subject(evidence)} is held: "
    map_name = evidence.postfix.map_name if evidence.postfix else None
    if evidence.source is Source.TABLE:
        if any(words in entry.reason for words in _NOT_READ):
            return _not_read(evidence, entry)
    elif silent := silence(evidence):
        return _without_daemon(evidence, silent)
    if evidence.reply and evidence.reply.startswith("TEMP"):
        reason = evidence.reply.removeprefix("TEMP ")
        advice = (
            "check whether the name servers of the domain answer",
            "see docs/answers.md for when this is so",
        )
        sentence = f'{held}the daemon answers "try again": {reason}'
        return Verdict(Flow.HELD, sentence, Fault.NETWORK, "try-again", advice, HELD)
    sentence = f"{held}this Postfix does not accept the answer of its table: {entry.reason}"
    first = "correct smtp_tls_policy_maps in main.cf"
    if "policy_type" in entry.reason and evidence.source is not Source.TABLE:
        first = f"write postfix in place of {map_name} in smtp_tls_policy_maps of main.cf"
    advice = (first, "see docs/troubleshooting.md")
    return Verdict(Flow.HELD, sentence, Fault.YOURS, "map", advice, HELD)


def _without_daemon(evidence: Evidence, silent: str) -> Verdict:
    """The verdict if Postfix asks the daemon and gets no answer."""
    held = f"{subject(evidence)} is held: Postfix asks the daemon first, and"
    daemon = evidence.daemon
    if daemon and daemon.state is DaemonState.ANSWERED:
        advice = ("compare `listen` of the daemon with smtp_tls_policy_maps in main.cf", _LOG)
        sentence = f"{held} its listener does not answer: {silent}"
        return Verdict(Flow.HELD, sentence, Fault.YOURS, "listener-silent", advice, HELD)
    if daemon and daemon.state is DaemonState.FAILED:
        advice = ("restart the daemon: systemctl restart postfix-mta-sts", _LOG)
        sentence = f"{held} the daemon does not answer: {silent}"
        return Verdict(Flow.HELD, sentence, Fault.YOURS, "daemon-silent", advice, HELD)
    advice = (
        "start the daemon: systemctl start postfix-mta-sts",
        "if it runs with another configuration file, name that with --config",
    )
    sentence = f"{held} the daemon does not run"
    return Verdict(Flow.HELD, sentence, Fault.YOURS, "daemon-not-running", advice, HELD)


def _not_read(evidence: Evidence, entry: InvalidTlsPolicy) -> Verdict:
    """The verdict if it is this command that cannot read a table, and not Postfix."""
    why = f"a table that counts first cannot be read: {entry.reason}"
    sentence = cannot_tell(evidence, why)
    advice = ("run this command as root",)
    return Verdict(Flow.UNKNOWN, sentence, Fault.YOURS, "table-not-read", advice, CANNOT_TELL)


def by_the_patterns(evidence: Evidence) -> Verdict:
    """The verdict if no MX host fits the policy, which explains whatever else fails."""
    policy = evidence.in_force
    hosts = evidence.mail_hosts.hosts if evidence.mail_hosts else ()
    names = ", ".join(host.name for host in hosts[:3])
    allowed = ", ".join(policy.mx[:3]) if policy else ""
    is_certain = evidence.delivery or _compares_names(evidence)
    unless = "" if is_certain else ", unless a certificate has such a name"
    sentence = f"{subject(evidence)} is held: {_NOT_IN_POLICY} ({names}), only {allowed}{unless}"
    add = f"its postmaster has to add `mx: {hosts[0].name}` to the policy, then change the id"
    return Verdict(Flow.HELD, sentence, Fault.THEIRS, "mx-not-in-policy", (add, LETTER), HELD)


def by_the_hosts(evidence: Evidence, delivery: Delivery) -> Verdict:
    """The verdict if no MX host can be sent mail as it must be."""
    causes = _causes(evidence, delivery)
    if _is_here(evidence, delivery):
        return _port_is_closed(evidence, next(iter(causes.values())))
    if _is_by_policy(evidence) and no_host_fits(evidence):
        return by_the_patterns(evidence)
    if causes and _may_be_slow(evidence, delivery):
        return _is_too_slow(evidence, causes)
    bounced = delivery.outcome is Outcome.BOUNCED
    verb, flow = ("returned to its sender", Flow.BOUNCED) if bounced else ("held", Flow.HELD)
    if not causes and (nowhere := cause_without_address(evidence, delivery)):
        return _to_nowhere(f"{subject(evidence)} is {verb}", nowhere, flow)
    said = [(name, each.words) for name, each in causes.items()]
    why = enumerated(said, _number(evidence)) if said else delivery.text
    sentence = f"{subject(evidence)} is {verb}: {why}"
    worst = _worst(causes)
    fault = worst.fault if worst else Fault.NETWORK
    advice = tuple(dict.fromkeys(each.advice for each in causes.values()))[:3]
    if fault is Fault.THEIRS:
        advice += (LETTER,)
    return Verdict(flow, sentence, fault, worst.code if worst else "postfix", advice, HELD)


def _to_nowhere(start: str, why: Cause, flow: Flow) -> Verdict:
    advice = (why.advice, LETTER) if why.fault is Fault.THEIRS else (why.advice,)
    return Verdict(flow, f"{start}: {why.words}", why.fault, why.code, advice, HELD)


def _port_is_closed(evidence: Evidence, first: Cause) -> Verdict:
    why = f"no mail server can be reached on port {evidence.next_hop.port}"
    sentence, advice = cannot_tell(evidence, why), (first.advice,)
    return Verdict(Flow.UNKNOWN, sentence, Fault.YOURS, "port-25-closed", advice, CANNOT_TELL)


def _may_be_slow(evidence: Evidence, delivery: Delivery) -> bool:
    """Whether a host that Postfix tries may take mail, if it is given the time that Postfix has."""
    if evidence.seconds >= _SMTP_TIMEOUT:
        return False
    probes = by_address(evidence.probes)
    tried = (probes.get((host.host, host.address)) for host in delivery.hosts if host.is_tried)
    return any(each and each.failure and is_impatience(each.failure) for each in tried)


def _is_too_slow(evidence: Evidence, causes: dict[str, Cause]) -> Verdict:
    why = enumerated([(name, each.words) for name, each in causes.items()], _number(evidence))
    sentence = f"{cannot_tell(evidence, why)} within {evidence.seconds:g} s"
    advice = tuple(dict.fromkeys(each.advice for each in causes.values()))[:3]
    return Verdict(Flow.UNKNOWN, sentence, Fault.NETWORK, "conversation", advice, CANNOT_TELL)


def _number(evidence: Evidence) -> int:
    """How many MX hosts the domain has."""
    hosts = evidence.mail_hosts.hosts if evidence.mail_hosts else ()
    return len({host.name for host in hosts})


def reason(evidence: Evidence) -> Cause:
    """Why the first MX host is not sent mail with TLS."""
    unknown = Cause("postfix", "see the log of Postfix", Fault.NETWORK, "see the log of Postfix")
    causes = _causes(evidence, evidence.delivery) if evidence.delivery else {}
    return next(iter(causes.values()), unknown)


def no_host_fits(evidence: Evidence) -> bool:
    """Whether an enforced policy names none of the MX hosts (RFC 8461 §4.1)."""
    policy = evidence.in_force
    hosts = evidence.mail_hosts.hosts if evidence.mail_hosts else ()
    if policy is None or not hosts:
        return False
    return not any(policy.allows(host.name) for host in hosts)


def breach(evidence: Evidence) -> str:
    """Why mode enforce would hold all mail of a policy in mode testing; empty if it would not."""
    if no_host_fits(evidence):
        return _NOT_IN_POLICY
    seen = evidence.delivery.hosts if evidence.delivery else ()
    known = [host for host in seen if host.conforms is not None]
    if not known or any(host.conforms for host in known):
        return ""
    return known[0].breach


def _compares_names(evidence: Evidence) -> bool:
    """Whether this Postfix compares MX host names with the patterns (3.10.5 and later)."""
    policy = evidence.tls_policy
    return isinstance(policy, TlsPolicy) and bool(policy.patterns)


class Note(Value, frozen=True):
    """Something that is wrong although mail flows."""

    words: str
    fault: Fault
    advice: str


def weaknesses(evidence: Evidence) -> Iterator[Note]:
    """What is wrong although mail flows: hosts that fail, and what only Postfix accepts.

    A host that takes mail at one address, and cannot be reached at another, is none: most often
    this machine has no IPv6.
    """
    delivery = evidence.delivery
    if delivery is None:
        return
    accepting = {host.host for host in delivery.hosts if host.accepts}
    causes = {
        name: each
        for name, each in _causes(evidence, delivery, tried_only=False).items()
        if not (each.fault is Fault.NETWORK and name in accepting)
    }
    for name, each in list(causes.items())[:3]:
        advice = LETTER if each.fault is Fault.THEIRS else each.advice
        yield Note(f"not through {name}: {each.words}", each.fault, advice)
    host = taker(delivery)
    # DANE goes before a policy (RFC 8461 §2).
    if host and host.conforms is False and host.level not in DANE:
        yield Note(f"RFC 8461 does not allow {host.host}: {host.breach}", Fault.THEIRS, LETTER)


def taker(delivery: Delivery) -> HostOutcome | None:
    """The host that takes the message."""
    return next((host for host in delivery.hosts if host.is_tried and host.accepts), None)


def _is_by_policy(evidence: Evidence) -> bool:
    """Whether Postfix is told to follow the domain's policy."""
    policy = evidence.tls_policy
    is_secure = isinstance(policy, TlsPolicy) and policy.level is Level.SECURE
    return is_secure and evidence.source is not Source.TABLE


def _causes(evidence: Evidence, delivery: Delivery, *, tried_only: bool = True) -> dict[str, Cause]:
    """The cause of each host that does not take the message, by its name.

    Of several addresses the first counts whose failure is not one of the way to it.
    """
    probes = by_address(evidence.probes)
    has_ca = not evidence.postfix or not evidence.postfix.ca.startswith("none")
    found: dict[str, Cause] = {}
    for host in delivery.hosts:
        known = found.get(host.host)
        if host.accepts or (known and known.fault is not Fault.NETWORK):
            continue
        if tried_only and not (host.is_tried or host.skipped):
            continue
        probe = probes.get((host.host, host.address))
        if probe is None and not host.text and not host.skipped:  # it was not asked
            continue
        this = cause(host, probe, evidence.asked_at, has_ca=has_ca)
        if known is None or this.fault is not Fault.NETWORK:
            found[host.host] = this
    return found


def _worst(causes: dict[str, Cause]) -> Cause | None:
    """The cause that counts for the domain: the most frequent one, theirs before the others."""
    if not causes:
        return None
    counted = Counter(causes.values())
    return max(counted, key=lambda each: (each.fault is Fault.THEIRS, counted[each]))


def _is_here(evidence: Evidence, delivery: Delivery) -> bool:
    """Whether it is this machine that reaches no mail server."""
    probes = by_address(evidence.probes)
    tried = [probes.get((host.host, host.address)) for host in delivery.hosts if host.is_tried]
    if not tried or any(probe is None or not _is_unconnected(probe) for probe in tried):
        return False
    if all(_has(probe, FailureKind.UNREACHABLE) for probe in tried):
        return True
    silent = all(_has(probe, FailureKind.TIMEOUT, FailureKind.UNREACHABLE) for probe in tried)
    return (
        silent and evidence.waiting is not None and (evidence.waiting.others_with_reason >= _MANY)
    )


def _is_unconnected(probe: ProbeResult) -> bool:
    return probe.failure is not None and probe.failure.phase is Phase.CONNECT


def _has(probe: ProbeResult | None, *kinds: FailureKind) -> bool:
    return probe is not None and probe.failure is not None and probe.failure.kind in kinds
