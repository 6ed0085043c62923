"""Decide which entry Postfix follows: of another table, of the daemon, or of the network's policy.

Pure. The order is that of smtp_tls_policy_maps: the first table with an entry for one of the keys
counts. While the daemon knows nothing of the domain, the next look-up of Postfix makes it ask the
network, so that what the network says now is what Postfix will be told.
"""

from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState, PostfixHere, Source
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.decision import Knowledge, PolicyStep
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.postfix.answers import (
    OTHER,
    Answering,
    reply_text,
    told,
    told_without_look_up,
)
from postfix_mta_sts.postfix.policy_maps import first_answer
from postfix_mta_sts.postfix.smtp_client.next_hop import policy_keys
from postfix_mta_sts.postfix.smtp_client.tls_policy import parse_tls_policy
from postfix_mta_sts.postfix.smtp_client.values import InvalidTlsPolicy, MainCf, TlsPolicy
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats.labels import Source as AnswerSource
from postfix_mta_sts.values import replace

_FOUND: Final = "OK "
_NOT_FOUND: Final = "NOTFOUND"
DEFAULT_MAP: Final = "postfix"
"""The map name of the README."""


def with_own_map(evidence: Evidence, replies: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return the replies of the daemon (`daemon_answer.Said`) by map name, with Postfix's own map.

    Postfix may ask with a name that the settings do not have.
    """
    named = {name: reply for name, reply in replies.items() if name != OTHER.name}
    return {**named, map_name(evidence): named.get(map_name(evidence), replies.get(OTHER.name))}


def by_what_is_here(evidence: Evidence, replies: Mapping[str, str | None]) -> bool:
    """Let the tables, main.cf or the daemon decide; return False if it takes the network's answer.

    `replies` are those of the running daemon, by map name.
    """
    here = evidence.postfix
    if here and here.version and here.map_name is None:  # it does not ask the daemon
        _decide(evidence, Source.MAIN_CF, None)
        return True
    reply = replies.get(map_name(evidence))
    if reply is None:
        return False
    evidence.replies = tuple((name, said) for name, said in replies.items() if said is not None)
    _decide(evidence, Source.DAEMON, reply)
    return True


def by_network(evidence: Evidence, answering: Answering) -> None:
    """Let what the network says decide, as the daemon would answer by it and by what it has."""
    evidence.replies = tuple(_told(evidence, answering).items())
    source = Source.DAEMON if evidence.cached else Source.NETWORK
    _decide(evidence, source, dict(evidence.replies).get(map_name(evidence)))


def _decide(evidence: Evidence, source: Source, reply: str | None) -> None:
    """Find the table whose entry counts, with the daemon's reply in the place of its own table."""
    evidence.source, evidence.reply, evidence.is_decided = source, reply, True
    evidence.tls_policy = read_reply(reply, evidence.main_cf) if reply else None
    keys = policy_keys(evidence.next_hop)
    found = reply.removeprefix(_FOUND) if reply and reply.startswith(_FOUND) else None
    failed = reply if reply and found is None and not reply.startswith(_NOT_FOUND) else ""
    if silent := silence(evidence):
        evidence.tls_policy, found, failed = InvalidTlsPolicy(silent), None, silent
    tables = [
        replace(each, found=found, key=keys[0], error=failed) if each.is_ours else each
        for each in (evidence.postfix.tables if evidence.postfix else ())
    ]
    first = first_answer(tables, keys)
    if first is None or first.is_ours:
        return
    evidence.source = Source.TABLE
    if first.found is None:
        evidence.tls_policy = InvalidTlsPolicy(f"{first.name}: {first.error}")
    else:
        evidence.reply = f"{_FOUND}{first.found}"
        evidence.tls_policy = parse_tls_policy(first.found, evidence.main_cf)


def map_name(evidence: Evidence) -> str:
    """The map name with which Postfix asks the daemon, or would."""
    return (evidence.postfix and evidence.postfix.map_name) or DEFAULT_MAP


def read_reply(reply: str, main_cf: MainCf) -> TlsPolicy | InvalidTlsPolicy | None:
    """Read a reply of a socketmap as Postfix does (socketmap_table(5)); None: not found."""
    if reply.startswith(_FOUND):
        return parse_tls_policy(reply.removeprefix(_FOUND), main_cf)
    return None if reply.startswith(_NOT_FOUND) else InvalidTlsPolicy(reply)


def silence(evidence: Evidence) -> str:
    """Why Postfix gets no answer from the daemon, so that all mail is deferred; empty: it does."""
    here, daemon = evidence.postfix, evidence.daemon
    if here is None or here.map_name is None:
        return ""
    if here.listener_problem is None and daemon and daemon.state is DaemonState.NOT_RUNNING:
        return daemon.reason
    return here.listener_problem or ""


def reached(answer: DaemonAnswer, here: PostfixHere | None) -> DaemonAnswer:
    """Correct an answer: without its control socket a daemon may run, if its listener answers."""
    answers = here is not None and here.map_name is not None and here.listener_problem == ""
    if answer.state is not DaemonState.NOT_RUNNING or not answers:
        return answer
    reason = f"{answer.reason}; the daemon runs, for its listener answers"
    return replace(answer, state=DaemonState.FAILED, reason=reason)


def _told(evidence: Evidence, answering: Answering) -> Mapping[str, str]:
    key, own = evidence.next_hop.text.encode(), map_name(evidence)
    if own not in {each.name for each in answering.maps}:
        answering = replace(answering, maps=(*answering.maps, answering.served(own)))
    domain = told_without_look_up(key, answering)
    if isinstance(domain, str):
        result = LookupResult(_knowledge(evidence), AnswerSource.NETWORK, time_is_up=True)
        domain = told(key, domain, result, answering, evidence.asked_at)
    return {each.served.name: reply_text(each.reply) for each in domain if each.reply}


def _knowledge(evidence: Evidence) -> Knowledge:
    """What a look-up of the daemon would know now."""
    now, found = evidence.asked_at, evidence.network
    verdict = after_verdict(None, evidence.outcome, now) if evidence.outcome else None
    # The daemon keeps the policy that it has, even if it must look up DANE again first.
    cached = evidence.daemon if evidence.cached else None
    policy_id = cached.policy_id if cached else found.policy_id
    if evidence.in_force and policy_id:
        state = lifecycle.restored(evidence.in_force, PolicyId(policy_id), now, now, verdict)
        return Knowledge(state, PolicyStep.ANSWERED)
    unanswered = isinstance(found.error, DnsFailureError)
    step = PolicyStep.DNS_FAILED if unanswered else PolicyStep.ANSWERED
    return Knowledge(replace(lifecycle.unknown(now), dane=verdict), step)
