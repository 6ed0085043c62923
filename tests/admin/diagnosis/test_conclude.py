"""The verdict: what happens to mail, whose fault that is, and the exit code."""

from typing import Final

import pytest

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Fault, Flow, Source
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.mistakes import Mistake, Place
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import FailureKind, Phase, ProbeTarget
from postfix_mta_sts.postfix.policy_maps import Table
from postfix_mta_sts.postfix.smtp_client.values import Level, NextHop, TlsPolicy
from postfix_mta_sts.values import replace
from tests.support.diagnoses import (
    CASES,
    DANE_CF,
    REPORTS,
    SECURE,
    SIGNED,
    SILENT,
    TABLE,
    TWO,
    whole,
)
from tests.support.evidence import CACHED, ENFORCE, GONE, NO_RECORD, README, STOPPED, evidence
from tests.support.smtp_client import EXPIRED, NAME, at, failed, session, talked

EXPECTED: Final = {
    "verified": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "elsewhere": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "not-probed": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "cached": (Flow.POLICY, Fault.THEIRS, "policy", 0),
    "expired": (Flow.HELD, Fault.THEIRS, "certificate-expired", 2),
    "wrong-name": (Flow.HELD, Fault.THEIRS, "certificate-wrong-name", 2),
    "no-starttls": (Flow.HELD, Fault.THEIRS, "no-starttls", 2),
    "two-hosts": (Flow.HELD, Fault.THEIRS, "certificate-self-signed", 2),
    "foreign-mx": (Flow.HELD, Fault.THEIRS, "mx-not-in-policy", 2),
    "no-policy": (Flow.UNPROTECTED, Fault.NOBODY, "no-policy", 1),
    "mode-none": (Flow.UNPROTECTED, Fault.NOBODY, "mode-none", 1),
    "testing": (Flow.TESTING, Fault.NOBODY, "testing", 0),
    "testing-breach": (Flow.TESTING, Fault.THEIRS, "testing-breach", 0),
    "gone": (Flow.UNPROTECTED, Fault.THEIRS, "status", 2),
    "policy-host-certificate": (Flow.UNPROTECTED, Fault.THEIRS, "certificate", 2),
    "invalid-record": (Flow.UNPROTECTED, Fault.THEIRS, "invalid-record", 2),
    "mistyped": (Flow.UNPROTECTED, Fault.THEIRS, "invalid-policy", 2),
    "only-reports": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "dns-silent": (Flow.UNKNOWN, Fault.NETWORK, "dns-failure", 3),
    "try-again": (Flow.HELD, Fault.NETWORK, "try-again", 2),
    "no-such-domain": (Flow.BOUNCED, Fault.NOBODY, "no-such-domain", 2),
    "null-mx": (Flow.BOUNCED, Fault.NOBODY, "null-mx", 2),
    "daemon-stopped": (Flow.HELD, Fault.YOURS, "daemon-not-running", 2),
    "no-postfix": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "map-not-used": (Flow.UNPROTECTED, Fault.YOURS, "map-not-used", 1),
    "exception": (Flow.UNPROTECTED, Fault.NOBODY, "exception", 1),
    "exception-pin": (Flow.POLICY, Fault.THEIRS, "policy", 0),
    "another-table": (Flow.UNPROTECTED, Fault.YOURS, "table", 1),
    "reports-on-3.7": (Flow.HELD, Fault.YOURS, "map", 2),
    "no-ca": (Flow.HELD, Fault.YOURS, "no-ca", 2),
    "dane": (Flow.DANE, Fault.NOBODY, "dane", 0),
    "dane-verified": (Flow.DANE, Fault.NOBODY, "dane", 0),
    "dane-mismatch": (Flow.HELD, Fault.THEIRS, "dane-mismatch", 2),
    "dane-unusable": (Flow.DANE, Fault.NOBODY, "dane", 0),
    "dane-absent": (Flow.UNPROTECTED, Fault.NOBODY, "no-policy", 1),
    "port-25-closed": (Flow.UNKNOWN, Fault.YOURS, "port-25-closed", 3),
    "silent-host": (Flow.HELD, Fault.NETWORK, "connection-timeout", 2),
    "refused-to-talk": (Flow.HELD, Fault.YOURS, "refused-to-talk", 2),
    "in-brackets": (Flow.POLICY, Fault.NOBODY, "policy", 0),
    "interrupted": (Flow.UNKNOWN, Fault.NOBODY, "not-known", 3),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    """Flow, fault, cause and exit code of each case; who must act is told what to do."""
    verdict = conclude(CASES[name]())
    assert (verdict.flow, verdict.fault, verdict.cause, verdict.exit_code) == EXPECTED[name]
    assert verdict.advice or verdict.fault is Fault.NOBODY
    is_theirs = verdict.fault is Fault.THEIRS and verdict.flow is not Flow.TESTING
    assert any("--letter" in each for each in verdict.advice) is is_theirs


def test_each_flow_is_in_a_case() -> None:
    """Every flow and every fault has a case."""
    assert {flow for flow, *_ in EXPECTED.values()} == set(Flow)
    assert {fault for _, fault, *_ in EXPECTED.values()} == set(Fault)


SAID: Final = {
    "verified": "Mail to x.test is delivered, verified by its policy",
    "cached": "that is cached until 2027-01-19, and it cannot be fetched now: HTTP 404",
    "expired": "is held: its MX host mx.x.test fails: certificate expired 3 days ago",
    "two-hosts": "all 2 MX hosts fail: mx1.x.test: certificate is self-signed; mx2.x.test:",
    "foreign-mx": "its policy names none of its MX hosts (mx.x.test), only *.other.test",
    "no-policy": "is delivered without protection: it publishes no policy",
    "gone": "its policy cannot be fetched: HTTP 404",
    "mistyped": "its policy is not valid: line 3: ",
    "daemon-stopped": "Postfix asks the daemon first, and the daemon does not run",
    "another-table": "texthash:/etc/postfix/tls has an entry that comes before its policy",
    "reports-on-3.7": "no attribute 'policy_type'",
    "port-25-closed": "no mail server can be reached on port 25",
}


@pytest.mark.parametrize("name", SAID)
def test_sentences(name: str) -> None:
    """The sentence says because of what."""
    assert SAID[name] in conclude(CASES[name]()).sentence


class TestHosts:
    """Several MX hosts."""

    def test_one_of_two(self) -> None:
        """Mail flows through the second host, and what is wrong with the first is said."""
        verdict = conclude(
            evidence(
                at(1, talked(session("mx1.x.test", error=EXPIRED))),
                at(2, talked(session("mx2.x.test"))),
                hosts=TWO,
                policy=replace(ENFORCE, mx=("*.x.test",)),
            )
        )
        assert (verdict.flow, verdict.fault, verdict.exit_code) == (Flow.POLICY, Fault.THEIRS, 0)
        assert "; not through mx1.x.test: certificate expired" in verdict.sentence

    def test_the_same_reason(self) -> None:
        """What is wrong with all hosts is said once."""
        failures = [at(n, failed(Phase.CONNECT, FailureKind.REFUSED)) for n in (1, 2)]
        policy = replace(ENFORCE, mx=("*.x.test",))
        verdict = conclude(evidence(*failures, hosts=TWO, policy=policy))
        assert verdict.sentence.endswith("all 2 MX hosts fail: connection refused")

    def test_one_family(self) -> None:
        """A host that takes mail over IPv4, and has IPv6, is well on a machine without IPv6."""
        hosts = MailHosts((MxHost(NAME, 10, ("192.0.2.25", "2001:db8::25")),))
        unreachable = failed(Phase.CONNECT, FailureKind.UNREACHABLE, reason="no route")
        verdict = conclude(
            evidence(
                whole(),
                replace(unreachable, target=ProbeTarget(NAME, "2001:db8::25")),
                hosts=hosts,
            )
        )
        assert (verdict.fault, verdict.advice) == (Fault.NOBODY, ())
        assert verdict.sentence == "Mail to x.test is delivered, verified by its policy"

    def test_the_family_that_can_be_reached(self) -> None:
        """On a machine without IPv6, what counts of a host is what it does over IPv4."""
        hosts = MailHosts((MxHost(NAME, 10, ("2001:db8::25", "192.0.2.25")),))
        unreachable = failed(Phase.CONNECT, FailureKind.UNREACHABLE, reason="no route")
        verdict = conclude(
            evidence(
                whole(error=EXPIRED),
                replace(unreachable, target=ProbeTarget(NAME, "2001:db8::25")),
                hosts=hosts,
            )
        )
        assert (verdict.fault, verdict.cause) == (Fault.THEIRS, "certificate-expired")

    def test_a_silent_second_host(self) -> None:
        """A host that cannot be reached is not the fault of a domain that takes mail at another."""
        verdict = conclude(
            evidence(
                at(1, talked(session("mx1.x.test"))),
                at(2, SILENT),
                hosts=TWO,
                policy=replace(ENFORCE, mx=("*.x.test",)),
            )
        )
        assert (verdict.flow, verdict.fault, verdict.exit_code) == (Flow.POLICY, Fault.NETWORK, 0)
        assert not any("--letter" in each for each in verdict.advice)

    def test_only_the_common_name(self) -> None:
        """What Postfix accepts and RFC 8461 forbids is said although mail flows."""
        found = evidence(talked(session(common_name=NAME)))
        verdict = conclude(found)
        assert (verdict.flow, verdict.fault, verdict.exit_code) == (Flow.POLICY, Fault.THEIRS, 0)
        assert "RFC 8461 does not allow mx.x.test: only the common name" in verdict.sentence

    def test_a_tarpit(self) -> None:
        """A host that is slower than this command, but not than Postfix, may take mail."""
        found = evidence(failed(Phase.GREETING, FailureKind.TIMEOUT, reason="timed out"))
        verdict = conclude(found)
        assert (verdict.flow, verdict.fault, verdict.exit_code) == (
            Flow.UNKNOWN,
            Fault.NETWORK,
            3,
        )
        assert verdict.sentence.endswith("no answer before its greeting within 10 s")
        assert any("--timeout 5m" in each for each in verdict.advice)
        found.seconds = 300.0  # as long as Postfix waits
        assert conclude(found).flow is Flow.HELD

    def test_unreachable(self) -> None:
        """If no address can be reached from here, nobody can tell what others can."""
        probe = failed(Phase.CONNECT, FailureKind.UNREACHABLE, reason="no route")
        verdict = conclude(evidence(probe))
        assert (verdict.flow, verdict.cause) == (Flow.UNKNOWN, "port-25-closed")

    def test_plain_text_later(self) -> None:
        """Without a policy, mail goes without TLS in the end where TLS cannot be started."""
        probe = failed(Phase.HANDSHAKE, FailureKind.TLS, reason="no shared cipher")
        verdict = conclude(evidence(probe, error=NO_RECORD))
        assert (verdict.flow, verdict.exit_code) == (Flow.UNPROTECTED, 1)
        assert "is delivered late and without TLS: TLS handshake failed" in verdict.sentence
        assert "minimal_backoff_time" in verdict.advice[0]

    @pytest.mark.parametrize(
        ("problem", "cause", "code"),
        [
            (DnsProblem.NO_RECORDS, "no-mail-host", 2),
            (DnsProblem.INVALID, "no-mail-host", 2),
            (DnsProblem.NO_SUCH_NAME, "no-mail-host", 2),
            (DnsProblem.FAILURE, "dns-failure", 3),
        ],
    )
    def test_hosts_without_addresses(self, problem: DnsProblem, cause: str, code: int) -> None:
        """A domain whose hosts have no addresses gets no mail."""
        hosts = MailHosts((MxHost(NAME, 10, problem=problem, reason="it has none"),))
        verdict = conclude(evidence(hosts=hosts))
        assert (verdict.cause, verdict.exit_code) == (cause, code)

    @pytest.mark.parametrize(
        ("problem", "cause"),
        [(DnsProblem.NO_RECORDS, "no-mail-host"), (DnsProblem.NO_SUCH_NAME, "no-such-domain")],
    )
    def test_a_domain_without_mx(self, problem: DnsProblem, cause: str) -> None:
        """A domain that is its own mail host, and has no address, gets no mail either."""
        hosts = MailHosts((MxHost(NAME, 0, problem=problem, reason="it has none"),), implicit=True)
        assert conclude(evidence(hosts=hosts)).cause == cause

    def test_it_is_the_host_that_does_not_exist(self) -> None:
        """A host without an address is named; the domain itself may well exist."""
        gone = MxHost(NAME, 10, problem=DnsProblem.NO_SUCH_NAME)
        assert (
            f"its MX host {NAME} does not exist"
            in conclude(evidence(hosts=MailHosts((gone,)))).sentence
        )
        assert (
            "none of its 2 MX hosts has an address"
            in conclude(evidence(hosts=MailHosts((gone, gone)))).sentence
        )

    def test_a_failure_of_the_dns_counts_first(self) -> None:
        """If the look-up of one host failed, that host may take mail."""
        gone = MxHost(NAME, 10, problem=DnsProblem.NO_SUCH_NAME)
        silent = MxHost(f"b.{NAME}", 20, problem=DnsProblem.FAILURE, reason="SERVFAIL")
        assert conclude(evidence(hosts=MailHosts((gone, silent)))).cause == "dns-failure"


class TestPolicies:
    """Which policy counts, and who hinders it."""

    def test_the_record_was_gone(self) -> None:
        """A cached policy counts although its record is gone (RFC 8461 §3.1), which is said."""
        found = evidence(error=NO_RECORD, cached=ENFORCE, daemon=CACHED, reply=SECURE)
        verdict = conclude(found)
        assert verdict.exit_code == 0
        assert "and its TXT record is gone: NXDOMAIN" in verdict.sentence

    @pytest.mark.parametrize("text", ["v=STS1; id=1;", "id=1; v=STSv1;", "v=STSv12; id=1;"])
    def test_a_mistyped_record_is_none(self, text: str) -> None:
        """A record that is none is no policy, but it is their mistake (RFC 8461 §3.1, E3)."""
        found = evidence(error=NO_RECORD)
        found.mistakes = (Mistake("record", Place.RECORD, text, "v=STSv1; id=1;"),)
        verdict = conclude(found)
        assert (verdict.flow, verdict.fault, verdict.exit_code) == (
            Flow.UNPROTECTED,
            Fault.THEIRS,
            1,
        )
        assert text in verdict.sentence

    def test_a_table_that_is_stricter(self) -> None:
        """An entry of another table that verifies mail is no fault."""
        entry = replace(TABLE.tables[0], found=f"secure match={NAME}")
        tables = (entry, TABLE.tables[1])
        found = evidence(talked(session()), postfix=replace(README, tables=tables))
        verdict = conclude(found)
        assert (found.source, verdict.flow, verdict.exit_code) == (Source.TABLE, Flow.POLICY, 0)
        assert "verified by an entry of smtp_tls_policy_maps" in verdict.sentence

    @pytest.mark.parametrize(
        ("error", "flow", "cause"),
        [
            ("open /etc/x.db: No such file or directory", Flow.HELD, "map"),
            ("open /etc/x.db: Permission denied", Flow.UNKNOWN, "table-not-read"),
        ],
    )
    def test_a_table_that_cannot_be_read(self, error: str, flow: Flow, cause: str) -> None:
        """It holds all mail, unless it is only this user who may not read it."""
        broken = Table("hash:/etc/x", is_ours=False, key="x.test", error=error)
        tables = (broken, TABLE.tables[1])
        verdict = conclude(evidence(postfix=replace(README, tables=tables)))
        assert (verdict.flow, verdict.fault, verdict.cause) == (flow, Fault.YOURS, cause)
        assert f"hash:/etc/x: {error}" in verdict.sentence

    def test_not_told(self) -> None:
        """A policy of which Postfix is told nothing, by an exception of the settings, is said."""
        verdict = conclude(evidence(reply="NOTFOUND "))
        assert (verdict.flow, verdict.cause, verdict.exit_code) == (
            Flow.UNPROTECTED,
            "not-told",
            1,
        )

    def test_trial(self) -> None:
        """On trial it is nobody's fault that Postfix is told nothing of a policy."""
        made = evidence(reply="NOTFOUND ")
        made.is_on_trial = True
        verdict = conclude(made)
        assert (verdict.fault, verdict.cause, verdict.exit_code) == (Fault.NOBODY, "trial", 1)
        assert "on trial" in verdict.sentence
        assert "trial report" in verdict.advice[-1]
        made.source = Source.TABLE  # which has an entry before the daemon's
        assert conclude(made).cause == "table"

    def test_an_address(self) -> None:
        """No policy applies to an address."""
        next_hop = NextHop("[127.0.0.1]", "127.0.0.1", has_mx=False)
        verdict = conclude(evidence(next_hop=next_hop, policy=None))
        assert (verdict.cause, verdict.exit_code) == ("not-applicable", 1)

    def test_patterns_are_compared(self) -> None:
        """A Postfix that compares MX host names holds the mail for certain."""
        reply = REPORTS.replace(f"mx_host_pattern={NAME}", "mx_host_pattern=*.other.test")
        found = evidence(policy=replace(ENFORCE, mx=("*.other.test",)), reply=reply)
        assert isinstance(found.tls_policy, TlsPolicy)
        assert found.tls_policy.level is Level.SECURE
        assert "unless a certificate" not in conclude(found).sentence


class TestDane:
    """Mail by DANE."""

    def test_unusable(self) -> None:
        """TLSA records that cannot verify a server still demand TLS (RFC 7672 §2.2)."""
        hosts = (Host(NAME, HostState.UNUSABLE, "TLSA: none usable"),)
        outcome = DaneOutcome(MxState.SECURE, "signed", hosts)
        verdict = conclude(evidence(error=NO_RECORD, outcome=outcome, main_cf=DANE_CF))
        assert (verdict.flow, verdict.exit_code) == (Flow.DANE, 0)
        assert "cannot verify a server" in verdict.sentence

    def test_none(self) -> None:
        """A domain with neither says so of both."""
        outcome = DaneOutcome(MxState.INSECURE, "MX: not signed")
        verdict = conclude(evidence(error=NO_RECORD, outcome=outcome))
        assert verdict.sentence.endswith("it publishes no policy and no DANE")

    def test_a_gone_policy(self) -> None:
        """DANE protects the mail although the policy cannot be had."""
        verdict = conclude(evidence(error=GONE, outcome=SIGNED, main_cf=DANE_CF))
        assert (verdict.flow, verdict.exit_code) == (Flow.DANE, 0)


def test_no_evidence_at_all() -> None:
    """Right after its start the command knows nothing, and says so."""
    verdict = conclude(Evidence.of(NextHop("x.test", "x.test"), 0.0))
    assert (verdict.flow, verdict.exit_code) == (Flow.UNKNOWN, 3)


def test_a_stopped_daemon_with_a_cached_policy() -> None:
    """A daemon that does not run holds mail, whatever the policy."""
    assert conclude(evidence(daemon=STOPPED, error=GONE)).cause == "daemon-not-running"
