"""Which entry Postfix follows: of another table, of the daemon, or of the network's policy."""

from typing import Final

import pytest

from postfix_mta_sts.admin.diagnosis import in_force
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState, PostfixHere, Source
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import DnsFailureError, UnreachableError
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.answers import Answering, AnswerRules, ServedMap
from postfix_mta_sts.postfix.policy_maps import Table
from postfix_mta_sts.postfix.protocol.reply import ReplyFormat
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    Level,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.values import replace
from tests.support.diagnoses import SECURE, SIGNED
from tests.support.evidence import (
    NO_POSTFIX,
    NO_RECORD,
    README,
    RUNNING,
    STOPPED,
    TESTING,
    evidence,
)
from tests.support.exceptions import configured, exception
from tests.support.policy_host import policy_text
from tests.support.smtp_client import NAME
from tests.support.surroundings import START

OURS: Final = Table("socketmap:inet:127.0.0.1:8461:postfix", is_ours=True)


def other(found: str | None, key: str | None = "x.test", error: str = "") -> Table:
    """Another table, with an entry for a key."""
    return Table("hash:/etc/tls", is_ours=False, found=found, key=key, error=error)


def beside(*tables: Table) -> PostfixHere:
    """A Postfix with these tables."""
    return replace(README, tables=tables)


def level(found: Evidence) -> Level | None:
    """The level that Postfix is told; None: nothing."""
    assert not isinstance(found.tls_policy, InvalidTlsPolicy)
    return found.tls_policy.level if found.tls_policy else None


TABLES: Final = [
    ((OURS,), Source.DAEMON, Level.SECURE),
    ((other(None, None), OURS), Source.DAEMON, Level.SECURE),
    ((other("may"), OURS), Source.TABLE, Level.MAY),
    ((OURS, other("may")), Source.DAEMON, Level.SECURE),
    ((other("may", ".test"), OURS), Source.DAEMON, Level.SECURE),
]


@pytest.mark.parametrize(("tables", "source", "expected"), TABLES)
def test_tables(tables: tuple[Table, ...], source: Source, expected: Level) -> None:
    """The first table counts that has the first of the keys that one has."""
    found = evidence(reply=SECURE, postfix=beside(*tables))
    assert (found.source, level(found)) == (source, expected)


def test_a_table_below_ours() -> None:
    """A table after the daemon's counts where that knows nothing, for a parent domain as well."""
    tables = (OURS, other("encrypt", ".test"))
    found = evidence(reply="NOTFOUND ", postfix=beside(*tables))
    assert (found.source, found.reply, level(found)) == (Source.TABLE, "OK encrypt", Level.ENCRYPT)


def test_a_table_that_fails() -> None:
    """A table that fails before the daemon is asked holds the mail."""
    found = evidence(reply=SECURE, postfix=beside(other(None, error="it is damaged"), OURS))
    assert found.source is Source.TABLE
    assert found.tls_policy == InvalidTlsPolicy("hash:/etc/tls: it is damaged")


def test_try_again() -> None:
    """A daemon that says "try again" counts before the tables after it."""
    found = evidence(reply="TEMP no answer", postfix=beside(OURS, other("may")))
    assert (found.source, found.tls_policy) == (
        Source.DAEMON,
        InvalidTlsPolicy("TEMP no answer"),
    )


def test_main_cf() -> None:
    """A Postfix that does not ask the daemon follows main.cf, whatever the daemon would say."""
    found = evidence(reply=SECURE, postfix=replace(README, map_name=None))
    assert (found.source, found.reply, found.tls_policy) == (Source.MAIN_CF, None, None)


@pytest.mark.parametrize("daemon", [RUNNING, STOPPED])
def test_no_postfix(daemon: DaemonAnswer) -> None:
    """Without a Postfix here, what the network says is what it would be told."""
    found = evidence(daemon=daemon, postfix=NO_POSTFIX)
    assert (found.source, found.reply, level(found)) == (Source.NETWORK, SECURE, Level.SECURE)


def test_a_stopped_daemon() -> None:
    """A Postfix that asks a daemon that does not run gets no answer; another table may have one."""
    found = evidence(daemon=STOPPED)
    assert found.tls_policy == InvalidTlsPolicy(STOPPED.reason)
    found = evidence(daemon=STOPPED, postfix=beside(other("may"), OURS))
    assert (found.source, level(found)) == (Source.TABLE, Level.MAY)


def test_a_listener_that_does_not_answer() -> None:
    """What Postfix asks counts: neither the control socket nor a table after ours helps."""
    silent = replace(README, listener_problem="127.0.0.1:8461: Connection refused")
    found = evidence(postfix=silent, reply=SECURE)
    assert found.tls_policy == InvalidTlsPolicy("127.0.0.1:8461: Connection refused")
    verdict = conclude(found)
    assert (verdict.cause, verdict.fault, verdict.exit_code) == ("listener-silent", "yours", 2)


def test_a_daemon_at_another_control_path() -> None:
    """It runs if its listener answers, wherever its control socket is."""
    answering = replace(README, listener_problem="")
    daemon = in_force.reached(STOPPED, answering)
    assert (daemon.state, "--config" in daemon.reason) == (DaemonState.FAILED, False)
    assert isinstance(evidence(postfix=answering, daemon=daemon).tls_policy, TlsPolicy)
    for other_case in (None, README, replace(README, listener_problem="refused")):
        assert in_force.reached(STOPPED, other_case) == STOPPED


@pytest.mark.parametrize(
    ("state", "expected"),
    [(HostState.USABLE, "OK dane-only"), (HostState.ABSENT, SECURE)],
)
def test_dane(state: HostState, expected: str) -> None:
    """DANE overrides a policy (RFC 8461 §2) where there are TLSA records."""
    outcome = replace(SIGNED, hosts=(Host(NAME, state, "TLSA"),))
    assert evidence(outcome=outcome).reply == expected


def test_dane_without_a_policy() -> None:
    """Where there is neither, Postfix is told nothing."""
    outcome = DaneOutcome(MxState.INSECURE, "MX: not signed")
    assert evidence(outcome=outcome, error=NO_RECORD).reply == "NOTFOUND"


@pytest.mark.parametrize(("defers", "start"), [(False, "NOTFOUND"), (True, "TEMP ")])
def test_a_silent_dns(start: str, *, defers: bool) -> None:
    """`dns.on_failure` decides what is answered if the DNS is silent."""
    reply = evidence(error=DnsFailureError("SERVFAIL"), defers=defers).reply
    assert reply
    assert reply.startswith(start)


PIN: Final = ("mx9.x.test",)
INSTEAD: Final = [
    (exception("x.test"), False, "NOTFOUND"),
    (exception("*.test", use=Use.MAY), False, "OK may"),
    (exception("x.test", use=Use.ENCRYPT), True, "OK encrypt"),
    (
        exception("x.test", use=Use.PIN, mx=PIN),
        False,
        f"OK secure match={PIN[0]} servername=hostname",
    ),
    (exception("x.test", use=Use.PIN, mx=PIN), True, "NOTFOUND"),
    (exception("other.test"), True, "NOTFOUND"),
    (exception("other.test"), False, SECURE),
    (exception("x.test", lasts=0), False, SECURE),
]


@pytest.mark.parametrize(("found", "trial", "reply"), INSTEAD)
def test_exceptions_and_trial(found: PolicyException, reply: str, *, trial: bool) -> None:
    """Without the daemon its answer is made by the same rules, also in a map without a name."""
    made = evidence()
    made.asked_at = START
    rules = AnswerRules(exceptions=Exceptions(added=configured(found)))
    other = ServedMap("", reply_format=ReplyFormat(trial=trial))
    for answering in (
        Answering(rules, (replace(other, name="postfix"),)),
        Answering(rules, (ServedMap("another"),), other),
    ):
        in_force.by_network(made, answering)
        assert made.reply == reply


def test_testing() -> None:
    """A policy in mode testing is not told to Postfix."""
    assert evidence(policy=TESTING).reply == "NOTFOUND"


def test_a_cached_policy_counts_although_dane_must_be_looked_up_again() -> None:
    """The daemon waits for DANE only: it answers the policy that it has."""
    evidence = Evidence.of(NextHop("good.test", "good.test"), 1_800_000_000.0)
    evidence.cached = parse_policy(policy_text())
    evidence.daemon = DaemonAnswer(DaemonState.ANSWERED, in_force=True, policy_id=PolicyId("1"))
    evidence.network.error = UnreachableError("connection refused")

    in_force.by_network(evidence, Answering())

    assert isinstance(evidence.tls_policy, TlsPolicy)
    assert evidence.tls_policy.level is Level.SECURE
    assert evidence.source is Source.DAEMON
