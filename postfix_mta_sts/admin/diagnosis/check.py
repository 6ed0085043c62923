"""Check whether Postfix would hold mail to a domain if its policy were enforced.

The verdict is that of `query --smtp`, by the same pure model, for the answer that the daemon would
give without a trial and without exceptions. The sources ask the network: the network process of the
daemon, or `network.mail_checks` in this one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from postfix_mta_sts.admin.diagnosis import in_force
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.setup import SmtpSetup
from postfix_mta_sts.admin.diagnosis.values import (
    CANNOT_TELL,
    DaemonAnswer,
    DaemonState,
    Fault,
    Flow,
    PostfixHere,
    Verdict,
)
from postfix_mta_sts.admin.diagnosis.words import cannot_tell
from postfix_mta_sts.mtasts.check import CANNOT_CHECK, Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError, printable
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.mail_hosts_values import FoundHosts
from postfix_mta_sts.network.smtp.values import (
    SMTP_PORT,
    FailureKind,
    Phase,
    ProbePlan,
    ProbeResult,
)
from postfix_mta_sts.postfix.answers import Answering, AnswerRules, ServedMap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.smtp_client.delivery import predict, targets_of_mail
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    MainCf,
    NextHop,
    Outcome,
)
from postfix_mta_sts.values import Value, replace

SENTENCE_LIMIT: Final = 500
"""Characters of `Check.sentence`."""
LOOK_UP_SECONDS: Final = 20.0
"""For the MX hosts, their addresses and TLSA records."""
PROBE_SECONDS: Final = 60.0
"""For the conversations: nobody waits, and servers that delay their greeting take up to 45 s."""

_FLOWS: Final = frozenset({Flow.POLICY, Flow.DANE, Flow.UNPROTECTED, Flow.TESTING})
_TRY_AGAIN: Final = "try-again"
_BY_NAMES: Final = "mx-not-in-policy"
"""A cause that no server needs to be reached for."""
_SILENCE: Final = frozenset(
    {FailureKind.REFUSED, FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.CLOSED}
)
"""Failures that a firewall on this side causes as well: one that drops, rejects or resets."""
_NO_SERVER: Final = "no mail server has answered, neither of this domain nor of others"

OthersAnswer: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether mail servers of other domains have answered lately: then port 25 is open, and silence is
a fault of those that are silent. Asked at the end of a check whose servers are silent."""


class CheckSources(Protocol):
    """Asks the network. Both raise `MtaStsError` for a fault on this side, and nothing else."""

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """The hosts that take mail for a domain; `with_dane`: and what the signed DNS says."""

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """Talk to each address of a plan; the results are in its order."""


class CheckRules(Value, frozen=True):
    """How the daemon would answer, and what is known of the network here."""

    dane: DaneRule | None = None
    """None: the daemon does not use DANE."""
    reply_format: ReplyFormat = PLAIN
    """Of the map that Postfix asks. Mode testing is enforced in any case: that is the question."""
    look_up_seconds: float = LOOK_UP_SECONDS
    probe_seconds: float = PROBE_SECONDS
    port: int = SMTP_PORT
    """Of mail servers; another one is for tests."""


async def nobody_answers() -> bool:
    """An `OthersAnswer` without knowledge of other domains."""
    return False


async def check_domain(  # noqa: PLR0913 - independent values
    domain: Domain,
    policy: Policy,
    policy_id: str,
    sources: CheckSources,
    setup: SmtpSetup,
    *,
    now: float,
    rules: CheckRules | None = None,
    before: Check | None = None,
    others_answer: OthersAnswer = nobody_answers,
) -> Check:
    """Find out what would happen to mail if this policy were enforced; `before`: the last check.

    For a pin, `policy` has its patterns and `policy_id` is empty. `now` is in epoch seconds. It
    connects to at most `delivery.MAX_TARGETS` addresses, to which Postfix may connect, too, and
    ends within the seconds of the rules. Raises nothing for what the network does.
    """
    rules = rules or CheckRules()
    evidence, is_returned = _evidence(domain, policy, setup, rules, now), False
    try:
        await _collect(evidence, domain, policy, policy_id, sources, setup, rules)
    except MtaStsError as error:
        verdict = _cannot_check(domain, error)
    else:
        # In a thread: 100 addresses in all their orders take longer than a reply may wait.
        verdict, is_returned = await asyncio.to_thread(_verdict, evidence)
        if _may_be_here(evidence, verdict) and not await others_answer():
            verdict = _nothing_told(evidence, verdict)
    result = CheckResult.HELD if is_returned else result_of_verdict(verdict)
    return _check(domain, policy_id, verdict, result, now, before)


def _evidence(
    domain: Domain, policy: Policy, setup: SmtpSetup, rules: CheckRules, now: float
) -> Evidence:
    made = Evidence.of(NextHop(domain, domain, rules.port), now)
    made.seconds = rules.probe_seconds
    made.main_cf = _main_cf(setup, rules)
    made.postfix = PostfixHere(
        version=".".join(map(str, made.main_cf.version)) or None,
        level=made.main_cf.smtp_tls_security_level,
        map_name=in_force.DEFAULT_MAP,
        listener_problem="",
        ca=setup.ca,
    )
    made.daemon = DaemonAnswer(DaemonState.ANSWERED)
    made.network.policy = policy
    return made


def _main_cf(setup: SmtpSetup, rules: CheckRules) -> MainCf:
    """The settings of Postfix; of one elsewhere, as the daemon takes it to be: `dane.mode`."""
    if not setup.problem or rules.dane is None:
        return setup.main_cf
    return replace(setup.main_cf, smtp_dns_support_level="dnssec")


async def _collect(
    evidence: Evidence,
    domain: Domain,
    policy: Policy,
    policy_id: str,
    sources: CheckSources,
    setup: SmtpSetup,
    rules: CheckRules,
) -> None:
    """Look up the hosts, decide what Postfix would be told, and probe them."""
    found = await sources.look_up_hosts(
        domain, rules.look_up_seconds, with_dane=rules.dane is not None
    )
    evidence.mail_hosts, evidence.outcome = found.hosts, found.dane
    await asyncio.to_thread(_decide, evidence, policy_id, rules)
    if isinstance(evidence.tls_policy, InvalidTlsPolicy):  # no look at the hosts changes that
        return
    wanted = await asyncio.to_thread(
        targets_of_mail, evidence.next_hop, found.hosts, evidence.tls_policy, evidence.main_cf
    )
    if wanted:
        plan = ProbePlan(
            domain=domain,
            targets=wanted,
            trust=setup.trust,
            ehlo=evidence.main_cf.smtp_helo_name,
            names=tuple(pattern.removeprefix("*") for pattern in policy.mx),
            seconds=rules.probe_seconds,
        )
        evidence.probes = tuple(await sources.probe(plan))


def _decide(evidence: Evidence, policy_id: str, rules: CheckRules) -> None:
    """Fill in what Postfix would be told."""
    # A pin is never claimed to be a policy of the domain.
    form = replace(
        rules.reply_format,
        enforce_testing=True,
        tlsrpt=bool(policy_id) and rules.reply_format.tlsrpt,
    )
    served = ServedMap(in_force.DEFAULT_MAP, reply_format=form)
    evidence.network.policy_id = PolicyId(policy_id or "pin")
    in_force.by_network(evidence, Answering(AnswerRules(rules.dane), (served,)))


def _verdict(evidence: Evidence) -> tuple[Verdict, bool]:
    """The verdict, and whether mail is returned to its sender only because of the policy.

    So it is if a host refuses STARTTLS with 5xx: without a policy Postfix sends in the clear then.
    """
    hosts = evidence.mail_hosts
    if not hosts:
        return conclude(evidence), False
    evidence.predict(hosts)
    verdict = conclude(evidence)
    if verdict.flow is not Flow.BOUNCED:
        return verdict, False
    without = predict(evidence.next_hop, hosts, None, evidence.probes, evidence.main_cf)
    return verdict, without.outcome is not Outcome.BOUNCED


def is_silent(results: Sequence[ProbeResult]) -> bool:
    """Whether no server has said a word: one that has shows that port 25 is open."""
    failures = [each.failure for each in results]
    return all(
        each and each.kind in _SILENCE and each.phase in {Phase.CONNECT, Phase.GREETING}
        for each in failures
    )


def _may_be_here(evidence: Evidence, verdict: Verdict) -> bool:
    """Whether it may be a fault of this side that mail would be held."""
    if verdict.flow is not Flow.HELD or verdict.cause == _BY_NAMES:
        return False
    probes = evidence.probes
    return verdict.fault is Fault.NETWORK or bool(probes and is_silent(probes))


def _nothing_told(evidence: Evidence, verdict: Verdict) -> Verdict:
    """The verdict if silence may be the fault of either side."""
    sentence = verdict.sentence
    if evidence.probes:
        sentence = cannot_tell(evidence, _NO_SERVER)
    return Verdict(Flow.UNKNOWN, sentence, Fault.NETWORK, verdict.cause, (), CANNOT_TELL)


def _cannot_check(domain: Domain, error: MtaStsError) -> Verdict:
    """The verdict if a fault of this side ended the check."""
    sentence = f"Mail to {domain} could not be checked: {error}"
    return Verdict(Flow.UNKNOWN, sentence, Fault.YOURS, CANNOT_CHECK, (), 3)


def _check(
    domain: Domain,
    policy_id: str,
    verdict: Verdict,
    result: CheckResult,
    now: float,
    before: Check | None,
) -> Check:
    return Check(
        domain=domain,
        result=result,
        sentence=printable(verdict.sentence, SENTENCE_LIMIT)[:SENTENCE_LIMIT],
        cause=verdict.cause,
        fault=verdict.fault.value,
        policy_id=policy_id,
        checked_at=now,
        since=before.since if before and before.result is result else now,
    )


def result_of_verdict(verdict: Verdict) -> CheckResult:
    """What a verdict means for a trial.

    Of mail that is returned to its sender with and without the policy it is not known what the
    policy would do to it. A fault of the DNS on this side is unknown.
    """
    if verdict.flow in _FLOWS:
        return CheckResult.DELIVERED
    if verdict.flow is not Flow.HELD or verdict.cause == _TRY_AGAIN:
        return CheckResult.UNKNOWN
    return CheckResult.HELD
