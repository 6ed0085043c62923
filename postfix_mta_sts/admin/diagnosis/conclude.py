"""Draw the verdict from the evidence: what happens to mail, because of what, and what to do.

Pure. The exit codes follow what happens to mail, and not how the look-ups ended.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.diagnosis import by_exception, held, nowhere
from postfix_mta_sts.admin.diagnosis.doubts import doubts
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.outdated import by_what_is_published, names_no_host_now
from postfix_mta_sts.admin.diagnosis.values import (
    CANNOT_TELL,
    FLOWS,
    HELD,
    UNPROTECTED,
    Fault,
    Flow,
    Source,
    Verdict,
)
from postfix_mta_sts.admin.diagnosis.words import LETTER, and_later, subject
from postfix_mta_sts.admin.times import day
from postfix_mta_sts.mtasts.dane import DANE_KINDS, DaneKind
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    InvalidPolicyError,
    InvalidRecordError,
    NoRecordError,
    printable,
)
from postfix_mta_sts.mtasts.mistakes import Place
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.smtp_client.authentication import DANE, nominal_level
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    InvalidTlsPolicy,
    Level,
    Outcome,
    TlsPolicy,
)
from postfix_mta_sts.values import replace

_BY_POLICY: Final = frozenset({Level.SECURE, Level.VERIFY, Level.FINGERPRINT})
_VERIFIED: Final = "Verified"
"""What Postfix calls a session with a host that it has authenticated."""
_TLSA_UNUSABLE: Final = "is delivered with TLS: its TLSA records cannot verify a server"
_WILL_BE_HELD: Final = (
    "but the policy that it publishes now names none of its MX hosts, and will hold all mail"
)
_ASK_MX: Final = "add --smtp to see whether its mail servers are what that demands"
_REPORT: Final = "postfix-mta-sts trial report says what becomes of its mail without the trial"
_MAP_LINE: Final = "add to main.cf: smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:postfix"


def conclude(evidence: Evidence) -> Verdict:
    """Return the verdict, also of evidence that is not complete."""
    verdict = by_what_is_published(evidence, _conclude(evidence))
    exception = by_exception.deciding(evidence)
    last = (by_exception.advice(exception),) if exception else ()
    return replace(verdict, advice=(*doubts(evidence), *verdict.advice, *last))


def _conclude(evidence: Evidence) -> Verdict:
    if evidence.mail_hosts and (problem := nowhere.problem_of(evidence.mail_hosts)):
        return nowhere.without_hosts(evidence, problem)
    if isinstance(evidence.tls_policy, InvalidTlsPolicy):
        return held.by_the_map(evidence, evidence.tls_policy)
    if evidence.delivery is None:
        return _by_reply(evidence)
    if evidence.delivery.outcome is Outcome.SENT:
        return _sent(evidence, evidence.delivery)
    if evidence.delivery.plain_later:
        return _plain_later(evidence)
    return held.by_the_hosts(evidence, evidence.delivery)


def _by_reply(evidence: Evidence) -> Verdict:
    """The verdict if no MX host was probed, or not all of them before Ctrl-C."""
    if evidence.is_interrupted and not evidence.is_decided:
        return _not_known(evidence)
    policy = evidence.tls_policy
    ask = () if evidence.is_interrupted else (_ASK_MX,)
    if isinstance(policy, TlsPolicy) and policy.level in _BY_POLICY:
        if held.no_host_fits(evidence):
            return held.by_the_patterns(evidence)
        what = "is delivered only to servers that are verified by its policy"
        return _flows(evidence, Flow.POLICY, what, "policy", *ask)
    level = nominal_level(policy, evidence.main_cf)
    if level in DANE and evidence.outcome and evidence.outcome.kind in DANE_KINDS:
        what = "is delivered only to servers that are verified by DANE"
        if evidence.outcome.kind is DaneKind.UNUSABLE:
            what = _TLSA_UNUSABLE
        return _flows(evidence, Flow.DANE, what, "dane", *ask)
    return _unprotected(evidence)


def _sent(evidence: Evidence, delivery: Delivery) -> Verdict:
    """The verdict if a host takes the message; level dane is lowered for a host without TLSA."""
    taker = held.taker(delivery)
    level = taker.level if taker else delivery.level
    if level in _BY_POLICY:
        what = f"is delivered, verified {_whose_policy(evidence)}"
        return _flows(evidence, Flow.POLICY, what, "policy")
    if level in DANE and delivery.tls == _VERIFIED:
        return _flows(evidence, Flow.DANE, "is delivered, verified by DANE", "dane")
    if delivery.level in DANE and level is Level.ENCRYPT:
        return _flows(evidence, Flow.DANE, _TLSA_UNUSABLE, "dane")
    return _unprotected(evidence)


def _flows(evidence: Evidence, flow: Flow, what: str, cause: str, *advice: str) -> Verdict:
    """Mail flows as it should, perhaps not through each host, or not for ever."""
    notes = [*_cannot_be_fetched(evidence, flow), *held.weaknesses(evidence)]
    sentence = "; ".join((f"{subject(evidence)} {what}", *(note.words for note in notes)))
    order = (Fault.THEIRS, Fault.YOURS, Fault.NETWORK)
    fault = next((each for each in order if any(n.fault is each for n in notes)), Fault.NOBODY)
    added = dict.fromkeys(note.advice for note in notes if note.fault is fault)
    return Verdict(flow, sentence, fault, cause, (*added, *advice), FLOWS)


def _cannot_be_fetched(evidence: Evidence, flow: Flow) -> Iterator[held.Note]:
    """Say if the policy in force is one that the domain does not give any more."""
    error = evidence.network.error
    if flow is Flow.POLICY and names_no_host_now(evidence):
        yield held.Note(_WILL_BE_HELD, Fault.THEIRS, LETTER)
    if flow is not Flow.POLICY or not evidence.cached or not error:
        return
    expires = evidence.daemon and evidence.daemon.expires_at
    until = f" until {day(expires)}" if expires else ""
    gone = isinstance(error, NoRecordError)
    now = f"its TXT record is gone: {error}" if gone else f"it cannot be fetched now: {error}"
    words = f"that is cached{until}, and {now}"
    if isinstance(error, DnsFailureError):
        yield held.Note(words, Fault.NETWORK, nowhere.CHECK_DNS)
    else:
        yield held.Note(words, Fault.THEIRS, LETTER)


def _unprotected(evidence: Evidence) -> Verdict:
    """Mail is delivered, and neither a policy nor DANE says how."""
    if exception := by_exception.deciding(evidence):
        return by_exception.unprotected(evidence, exception)
    return _without_protection(evidence)


def _without_protection(evidence: Evidence) -> Verdict:
    """The same, and no exception decides it."""
    policy = evidence.in_force
    if policy and policy.mode is Mode.TESTING:
        return _testing(evidence)
    if policy and policy.mode is Mode.ENFORCE:
        return _ignored(evidence)
    if evidence.domain is None:
        reason, cause = "no policy can apply to this next-hop", "not-applicable"
    elif policy:
        reason, cause = "its policy has mode none", "mode-none"
    elif evidence.network.error is None:
        return _not_known(evidence)
    elif isinstance(evidence.network.error, NoRecordError):
        if mistyped := next((m for m in evidence.mistakes if m.place is Place.RECORD), None):
            verdict = _missing(evidence, "its TXT record is not valid", mistyped.found)
            return replace(verdict, exit_code=UNPROTECTED)  # it is no policy (RFC 8461 §3.1)
        reason, cause = f"it publishes no policy{_no_dane(evidence)}", "no-policy"
    else:
        return _policy_missing(evidence)
    sentence = f"{subject(evidence)} is delivered without protection: {reason}"
    return Verdict(Flow.UNPROTECTED, sentence, Fault.NOBODY, cause, (), UNPROTECTED)


def _not_known(evidence: Evidence) -> Verdict:
    """The command was interrupted before it was known what Postfix is told."""
    sentence = f"What happens to mail to {printable(evidence.next_hop.text)} is not known yet"
    return Verdict(Flow.UNKNOWN, sentence, Fault.NOBODY, "not-known", (), CANNOT_TELL)


def _testing(evidence: Evidence) -> Verdict:
    sentence = f"{subject(evidence)} is delivered in any case: its policy is in mode testing"
    breach = held.breach(evidence)
    if breach:
        advice = (f"tell its postmaster that mode enforce would hold all mail: {breach}",)
        return Verdict(Flow.TESTING, sentence, Fault.THEIRS, "testing-breach", advice, FLOWS)
    return Verdict(Flow.TESTING, sentence, Fault.NOBODY, "testing", (), FLOWS)


def _ignored(evidence: Evidence) -> Verdict:
    """The domain has a policy, and this Postfix does not follow it."""
    start = f"{subject(evidence)} is delivered without protection: "
    if evidence.source is Source.TABLE:
        tables = evidence.postfix.tables if evidence.postfix else ()
        table = next((each.name for each in tables if each.found), "another table")
        sentence = f"{start}{table} has an entry that comes before its policy"
        advice = (f"remove the entry from {table}, if it is not needed any more",)
        return Verdict(Flow.UNPROTECTED, sentence, Fault.YOURS, "table", advice, UNPROTECTED)
    if evidence.postfix and evidence.postfix.version and evidence.postfix.map_name is None:
        sentence = f"{start}it has a policy, but this Postfix does not ask for policies"
        return Verdict(
            Flow.UNPROTECTED, sentence, Fault.YOURS, "map-not-used", (_MAP_LINE,), UNPROTECTED
        )
    if evidence.is_on_trial:
        sentence = f"{start}policies are on trial, so that none is enforced"
        return Verdict(Flow.UNPROTECTED, sentence, Fault.NOBODY, "trial", (_REPORT,), UNPROTECTED)
    sentence = f"{start}Postfix is told nothing of its policy"
    return Verdict(Flow.UNPROTECTED, sentence, Fault.YOURS, "not-told", (), UNPROTECTED)


def _policy_missing(evidence: Evidence) -> Verdict:
    """A policy is published, it cannot be fetched, and none is cached."""
    error = evidence.network.error
    if isinstance(error, DnsFailureError):
        return nowhere.dns_is_silent(evidence, str(error))
    match error:
        case InvalidRecordError():
            what = "its TXT record is not valid"
        case InvalidPolicyError():
            what = "its policy is not valid"
        case _:
            what = "its policy cannot be fetched"
    return _missing(evidence, what, str(error), error.code if error else "unknown")


def _missing(
    evidence: Evidence, what: str, why: str, code: str = InvalidRecordError.code
) -> Verdict:
    sentence = f"{subject(evidence)} is delivered without protection: {what}: {why}"
    return Verdict(Flow.UNPROTECTED, sentence, Fault.THEIRS, code, (LETTER,), HELD)


def _plain_later(evidence: Evidence) -> Verdict:
    reason = held.reason(evidence)
    sentence = f"{subject(evidence)} is delivered late and without TLS: {reason.words}"
    advice = (and_later(reason.advice),)
    return Verdict(Flow.UNPROTECTED, sentence, reason.fault, reason.code, advice, UNPROTECTED)


def _whose_policy(evidence: Evidence) -> str:
    if evidence.tls_policy is None:
        return f"as smtp_tls_security_level = {evidence.main_cf.smtp_tls_security_level} demands"
    if exception := by_exception.deciding(evidence):
        return f"by the exception {by_exception.named(exception)}"
    is_table = evidence.source is Source.TABLE
    return "by an entry of smtp_tls_policy_maps" if is_table else "by its policy"


def _no_dane(evidence: Evidence) -> str:
    if evidence.outcome is None:
        return ""
    if evidence.outcome.kind in DANE_KINDS:
        return ", and the server that takes it has no TLSA records"
    return " and no DANE"
