"""A check draws the verdict of `query --smtp` for the policy that would be enforced."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.diagnosis.check import (
    SENTENCE_LIMIT,
    CheckRules,
    OthersAnswer,
    check_domain,
    nobody_answers,
    result_of_verdict,
)
from postfix_mta_sts.admin.diagnosis.setup import RECOMMENDED, SmtpSetup
from postfix_mta_sts.admin.diagnosis.values import Fault, Flow, Verdict
from postfix_mta_sts.mtasts.check import CANNOT_CHECK, Check, CheckResult
from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, FoundHosts, MailHosts
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Phase,
    ProbePlan,
    ProbeResult,
    TrustFiles,
)
from postfix_mta_sts.postfix.protocol.reply import STRICT, ReplyFormat
from postfix_mta_sts.values import replace
from tests.support.dane_outcomes import signed
from tests.support.evidence import ENFORCE, FOREIGN, NOW, TESTING
from tests.support.smtp_client import EXPIRED, RECORD, dane, failed, host, matched, session, talked

X = Domain("x.test")
SETUP = SmtpSetup(RECOMMENDED, TrustFiles(append_default_ca=True), "system", "no postconf")
HOSTS = FoundHosts(MailHosts((host(),)))
DELIVERED, HELD, UNKNOWN = CheckResult.DELIVERED, CheckResult.HELD, CheckResult.UNKNOWN
SILENT = failed(Phase.CONNECT, FailureKind.TIMEOUT, reason="no answer")


class Sources:
    """What the network says; `plans` are the probes that were asked for."""

    def __init__(self, *found: ProbeResult, hosts: FoundHosts = HOSTS) -> None:
        self.found = found
        self.hosts = hosts
        self.plans: list[ProbePlan] = []
        self.error: OwnFaultError | None = None

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """See `CheckSources`."""
        assert (domain, seconds) == (X, CheckRules().look_up_seconds)
        assert with_dane == (self.hosts.dane is not None)
        if self.error:
            raise self.error
        return self.hosts

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `CheckSources`."""
        self.plans.append(plan)
        return self.found


async def check(
    sources: Sources,
    policy: Policy = ENFORCE,
    policy_id: str = "1",
    *,
    rules: CheckRules | None = None,
    before: Check | None = None,
    now: float = NOW,
    others_answer: OthersAnswer = nobody_answers,
) -> Check:
    """Check x.test."""
    return await check_domain(
        X,
        policy,
        policy_id,
        sources,
        SETUP,
        now=now,
        rules=rules,
        before=before,
        others_answer=others_answer,
    )


async def some_answer() -> bool:
    """Servers of other domains have answered."""
    return True


async def test_delivered() -> None:
    """A host with a good certificate takes the mail."""
    sources = Sources(talked(session()))
    made = await check(sources)
    sentence = "Mail to x.test is delivered, verified by its policy"
    assert made == Check(X, DELIVERED, sentence, "policy", "nobody", "1", NOW, NOW)
    plan = sources.plans[0]
    assert [(each.host, each.port, each.is_verified) for each in plan.targets] == [
        ("mx.x.test", 25, True)
    ]
    assert (plan.domain, plan.names, plan.trust) == ("x.test", ("mx.x.test",), SETUP.trust)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (talked(session(error=EXPIRED)), "certificate-expired"),
        (talked(), "no-starttls"),
        (talked(session("other.test")), "certificate-wrong-name"),
    ],
)
async def test_held(found: ProbeResult, cause: str) -> None:
    """What fails, and whose fault that is; mode testing is tried as if it were enforced."""
    made = await check(Sources(found))
    assert (made.result, made.cause, made.fault) == (HELD, cause, "theirs")
    tested = await check(Sources(found), TESTING)
    assert tested.result is HELD


async def test_hosts_that_the_policy_does_not_name() -> None:
    """Mail is held before any host is asked."""
    made = await check(Sources(talked(session())), FOREIGN)
    assert made.result is HELD


async def test_a_pin() -> None:
    """Its names count as those of a policy, and it is never claimed to be one."""
    rules = CheckRules(reply_format=ReplyFormat(tlsrpt=True))
    made = await check(Sources(talked(session())), policy_id="", rules=rules)
    assert (made.result, made.policy_id) == (DELIVERED, "")


async def test_dane_decides() -> None:
    """If TLSA records authenticate the hosts, the policy holds nothing."""
    hosts = MailHosts((replace(host(), dane=dane(HostState.USABLE, RECORD)),), mx_is_secure=True)
    found = FoundHosts(hosts, signed(HostState.USABLE))
    rules = CheckRules(dane=STRICT)
    bad = session(error=EXPIRED, tlsa=matched(fits=True))
    made = await check(Sources(talked(bad), hosts=found), rules=rules)
    assert (made.result, made.cause) == (DELIVERED, "dane")


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.CONNECT, FailureKind.TIMEOUT),
        (Phase.CONNECT, FailureKind.REFUSED),
        (Phase.CONNECT, FailureKind.CLOSED),
        (Phase.GREETING, FailureKind.CLOSED),
    ],
)
async def test_silent_hosts(phase: Phase, kind: FailureKind) -> None:
    """It may be a firewall on this side that drops, rejects or resets, unless others answer."""
    silent = failed(phase, kind, reason="no answer")
    made = await check(Sources(silent))
    assert (made.result, made.fault) == (UNKNOWN, "network")
    assert made.sentence == (
        "Nobody can tell from here what happens to mail to x.test: no mail server has answered, "
        "neither of this domain nor of others"
    )
    known = await check(Sources(silent), others_answer=some_answer)
    assert (known.result, known.cause) == (HELD, made.cause)


async def test_silent_hosts_that_the_policy_does_not_name() -> None:
    """No server needs to be reached to know that mail would be held."""
    made = await check(Sources(SILENT), FOREIGN)
    assert (made.result, made.cause) == (HELD, "mx-not-in-policy")


async def test_a_server_that_speaks() -> None:
    """It shows by itself that this machine is not cut off."""
    spoken = failed(Phase.EHLO, FailureKind.CLOSED, reason="lost connection")
    assert (await check(Sources(spoken))).result is HELD


async def test_no_hosts() -> None:
    """If the DNS fails, or the domain takes no mail, nothing is known of what the policy does."""
    for problem in (DnsProblem.FAILURE, DnsProblem.NULL_MX):
        hosts = FoundHosts(MailHosts((), problem=problem, reason="SERVFAIL"))
        sources = Sources(hosts=hosts)
        assert (await check(sources)).result is UNKNOWN
        assert not sources.plans


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (failed(Phase.STARTTLS, reply="554 5.7.3 no TLS for you"), HELD),
        (failed(Phase.STARTTLS, reply="501 5.5.4 no parameters"), HELD),
        (failed(Phase.EHLO, reply="550 5.7.1 bad name"), UNKNOWN),
    ],
)
async def test_returned(found: ProbeResult, result: CheckResult) -> None:
    """Mail that is returned only because of the policy counts as held; what no server takes not."""
    made = await check(Sources(found))
    assert "is returned to its sender" in made.sentence
    assert made.result is result


async def test_fault_of_this_side() -> None:
    """It is said with its reason, and says nothing of the domain."""
    sources = Sources()
    sources.error = OwnFaultError("the network process ended")
    made = await check(sources)
    assert (made.result, made.cause, made.fault) == (UNKNOWN, CANNOT_CHECK, "yours")
    assert made.sentence == "Mail to x.test could not be checked: the network process ended"


async def test_since() -> None:
    """The time of the first check in a row with the same result."""
    first = await check(Sources(talked()))
    again = await check(Sources(talked()), before=first, now=NOW + 60)
    other = await check(Sources(talked(session())), before=again, now=NOW + 120)
    assert [each.since - NOW for each in (first, again, other)] == [0, 0, 120]
    assert other.checked_at == NOW + 120


@given(st.text())
def test_any_verdict(text: str) -> None:
    """Each flow has a result; only mail that waits is held."""
    for flow in Flow:
        for fault in Fault:
            verdict = Verdict(flow, text, fault, "any", (), 0)
            found = result_of_verdict(verdict)
            assert found is not HELD or flow is Flow.HELD


async def test_sentence_is_bounded() -> None:
    """A reply that a host makes long, or full of control characters, is cut and printable."""
    reply = "554 5.7.1 " + "x\x1b[31m" * 500
    made = await check(Sources(failed(Phase.STARTTLS, reply=reply)))
    assert len(made.sentence) <= SENTENCE_LIMIT
    assert made.sentence.isprintable()
