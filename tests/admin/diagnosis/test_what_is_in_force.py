"""The verdict if another table, the map or level dane decides."""

import pytest

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaemonState,
    Fault,
    Flow,
    PostfixHere,
    Source,
)
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    HostOutcome,
    InvalidTlsPolicy,
    Level,
    NextHop,
    Outcome,
    TlsPolicy,
)
from tests.support.policy_host import policy_text

TABLE = "texthash:/etc/postfix/tls_policy"


def evidence(source: Source) -> Evidence:
    """Evidence of a domain without a policy; Postfix 3.7 asks map QUERYwithTLSRPT."""
    made = Evidence.of(NextHop("x.test", "x.test"), 1_800_000_000.0)
    made.network.error = NoRecordError("NXDOMAIN")
    made.postfix = PostfixHere("3.7.11", "dane", "QUERYwithTLSRPT")
    made.daemon = DaemonAnswer(DaemonState.ANSWERED)
    made.source = source
    return made


@pytest.mark.parametrize(
    "error",
    [
        "open /etc/postfix/tls_policy: Permission denied",
        "cannot run postmap: postmap: No such file or directory",
        "postmap did not end within 5 s",
        "no answer within 5 s",
    ],
)
def test_a_table_that_this_user_cannot_read(error: str) -> None:
    """Postfix may be able to read it, so that nothing can be told of mail."""
    made = evidence(Source.TABLE)
    made.tls_policy = InvalidTlsPolicy(f"{TABLE}: {error}")
    verdict = conclude(made)
    assert (verdict.flow, verdict.cause, verdict.exit_code) == (Flow.UNKNOWN, "table-not-read", 3)
    assert verdict.advice == ("run this command as root",)


def test_a_table_with_an_error() -> None:
    """Postfix meets the same error: mail is held, even if the daemon does not run."""
    made = evidence(Source.TABLE)
    made.daemon = DaemonAnswer(DaemonState.NOT_RUNNING)
    made.tls_policy = InvalidTlsPolicy("not a security level: 'sekure'")
    verdict = conclude(made)
    assert (verdict.flow, verdict.cause, verdict.fault) == (Flow.HELD, "map", Fault.YOURS)


def test_a_map_for_a_newer_postfix() -> None:
    """The advice is the map name that this Postfix understands."""
    made = evidence(Source.DAEMON)
    made.tls_policy = InvalidTlsPolicy("this version of Postfix has no attribute 'policy_type'")
    write = "write postfix in place of QUERYwithTLSRPT in smtp_tls_policy_maps of main.cf"
    assert conclude(made).advice[0] == write


@pytest.mark.parametrize(
    ("level", "tls", "flow", "exit_code"),
    [
        (Level.DANE, "Verified", Flow.DANE, 0),
        (Level.ENCRYPT, "Untrusted", Flow.DANE, 0),
        (Level.MAY, "Trusted", Flow.UNPROTECTED, 1),
    ],
)
def test_level_dane_is_that_of_the_host(level: Level, tls: str, flow: Flow, exit_code: int) -> None:
    """Postfix lowers level dane for a host without TLSA records, which verifies nothing."""
    made = evidence(Source.NETWORK)
    host = HostOutcome("mx.x.test", "192.0.2.1", is_tried=True, accepts=True, level=level, tls=tls)
    made.delivery = Delivery(
        Outcome.SENT, "2.0.0", "", Level.DANE, host="mx.x.test", tls=tls, hosts=(host,)
    )
    verdict = conclude(made)
    assert (verdict.flow, verdict.exit_code) == (flow, exit_code)


@pytest.mark.parametrize(("is_interrupted", "number"), [(False, 1), (True, 0)])
def test_option_that_was_interrupted(*, is_interrupted: bool, number: int) -> None:
    """After Ctrl-C, the advice is not to use --smtp, which may have been used."""
    made = evidence(Source.DAEMON)
    made.tls_policy, made.is_decided = TlsPolicy(Level.SECURE, match=("mx.x.test",)), True
    made.is_interrupted = is_interrupted
    advice = [each for each in conclude(made).advice if "--smtp" in each]
    assert len(advice) == number


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_interrupted_before_the_daemon_answered(mode: str) -> None:
    """A policy that was found says nothing before it is known what Postfix is told."""
    made = Evidence.of(NextHop("x.test", "x.test"), 1.0)
    made.network.policy = parse_policy(policy_text(mode))
    made.is_interrupted = True
    verdict = conclude(made)
    assert (verdict.flow, verdict.exit_code) == (Flow.UNKNOWN, 3)
    assert verdict.fault is Fault.NOBODY
