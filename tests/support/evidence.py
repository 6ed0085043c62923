"""Evidence for a diagnosis of x.test, with as few words as possible; see `smtp_client` for probes.

conclude(evidence(talked(session())))                # sent, verified by its policy
conclude(evidence(error=StatusError("HTTP 404")))     # no probe, and no policy either
"""

from typing import Final

from postfix_mta_sts.admin.diagnosis import in_force
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaemonState,
    DaneNow,
    PostfixHere,
    Record,
    TlsReports,
)
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.errors import MtaStsError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.network.trace import Certificate, FetchTrace
from postfix_mta_sts.postfix.answers import Answering, AnswerRules
from postfix_mta_sts.postfix.protocol.reply import STRICT
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.delivery import predict
from postfix_mta_sts.postfix.smtp_client.values import InvalidTlsPolicy, MainCf, NextHop
from tests.support.policy_host import policy_text
from tests.support.smtp_client import NAME, NEW, NEXT_HOP, host

NOW: Final = 1_800_000_000.0
DAY: Final = 86_400
ENFORCE: Final = parse_policy(policy_text(mx=[NAME]))
TESTING: Final = parse_policy(policy_text("testing", mx=[NAME]))
NONE: Final = parse_policy(policy_text("none"))
FOREIGN: Final = parse_policy(policy_text(mx=["*.other.test"]))

RUNNING: Final = DaemonAnswer(DaemonState.ANSWERED)
STOPPED: Final = DaemonAnswer(DaemonState.NOT_RUNNING, "there is no control socket")
CACHED: Final = DaemonAnswer(
    DaemonState.ANSWERED,
    in_force=True,
    mode=ENFORCE.mode,
    policy_id=PolicyId("20260901"),
    mx=ENFORCE.mx,
    fetched_at=round(NOW) - 3 * DAY,
    expires_at=round(NOW) + 4 * DAY,
    failure="HTTP 404",
)
NO_RECORD: Final = NoRecordError("NXDOMAIN")
GONE: Final = StatusError("HTTP 404")
README: Final = PostfixHere("3.10.13", "may", "postfix", ca="/etc/ssl/certs/ca-certificates.crt")
NO_POSTFIX: Final = PostfixHere(None, "may", None)
ALONE: Final = MailHosts((host(),))


def evidence(
    *probes: ProbeResult,
    next_hop: NextHop = NEXT_HOP,
    hosts: MailHosts = ALONE,
    policy: Policy | None = ENFORCE,
    error: MtaStsError | None = None,
    cached: Policy | None = None,
    daemon: DaemonAnswer = RUNNING,
    reply: str | None = None,
    outcome: DaneOutcome | None = None,
    postfix: PostfixHere = README,
    main_cf: MainCf = NEW,
    waiting: Waiting | None = None,
    defers: bool = False,
) -> Evidence:
    """Return evidence; with `error` there is no policy, without probes there was no `--smtp`.

    `reply` is the daemon's, if it need not ask the network; `defers` is `dns.on_failure: defer`.
    """
    made = Evidence.of(next_hop, NOW)
    made.main_cf, made.postfix, made.waiting = main_cf, postfix, waiting
    made.cached, made.daemon, made.exception = cached, daemon, daemon.exception
    made.mail_hosts, made.outcome = hosts, outcome
    if outcome:
        made.dane = DaneNow.of(outcome)
    _publish(made, policy if error is None else None, error)
    if not in_force.by_what_is_here(made, {} if reply is None else {"postfix": reply}):
        rules = AnswerRules(STRICT if outcome else None, dns_defers=defers)
        in_force.by_network(made, Answering(rules=rules))
    made.probes = probes
    if probes or hosts.problem or isinstance(made.tls_policy, InvalidTlsPolicy):
        made.delivery = predict(next_hop, hosts, made.tls_policy, probes, main_cf, made.in_force)
    return made


def _publish(made: Evidence, policy: Policy | None, error: MtaStsError | None) -> None:
    """Fill in what the network says of the policy."""
    found, name = made.network, "_mta-sts.x.test"
    found.error = error
    made.tlsrpt = TlsReports(
        Record("_smtp._tls.x.test", ("v=TLSRPTv1; rua=mailto:tls@x.test",), 300),
        ("mailto:tls@x.test",),
    )
    if isinstance(error, NoRecordError):
        found.record = Record(name, None, reason=str(error))
        return
    found.record = Record(name, ("v=STSv1; id=20260901;",), 300)
    found.policy_id = PolicyId("20260901")
    url = "https://mta-sts.x.test/.well-known/mta-sts.txt"
    found.trace = FetchTrace(
        url,
        "192.0.2.80",
        "TLSv1.3",
        Certificate(("DNS:mta-sts.x.test",), "Example CA", "Mar  1 00:00:00 2027 GMT"),
        404 if isinstance(error, StatusError) else 200,
        "text/html" if isinstance(error, StatusError) else "text/plain",
    )
    if policy:
        found.policy, found.body = policy, policy.text.encode()
        found.trace.size = len(found.body)
