"""The checker: which answers it allows, and which it reports, event by event."""

from typing import Final

import pytest

from tests.torture.events import (
    NOT_FOUND,
    TEMP,
    UNANSWERED,
    Answered,
    Asked,
    ClockSet,
    DaemonKilled,
    DaemonReady,
    Fault,
    FaultBegan,
    FaultEnded,
    Policy,
    PolicyServed,
    Published,
    Reloaded,
    Reloading,
    SettingsInForce,
    Verdict,
    VerdictServed,
)
from tests.torture.invariants import Checker

DOMAIN: Final = "plain1.g0.test"
POLICY: Final = Policy(1, "enforce", ("mx1.test",), 7200)
NEWER: Final = Policy(2, "enforce", ("mx2.test",), 7200)
UNSIGNED: Final = Verdict(1, "insecure", 86_400)
ALL: Final = Verdict(1, "all", 86_400)
EPOCH: Final = 1_000_000.0
HOUR: Final = 3600.0


class Run:
    """A checker, and a clock that moves on with each event."""

    def __init__(self, policy: Policy | None = POLICY, verdict: Verdict = UNSIGNED) -> None:
        self.now = 100.0
        self.offset = EPOCH
        self.checker = Checker()
        self.checker.observe(ClockSet(self.now, self.offset))
        self.later(10)
        self.policy, self.verdict = policy, verdict
        self.publish(policy)

    def publish(self, policy: Policy | None, *, hidden: bool = False) -> None:
        """Publish a policy with the verdict of the run."""
        self.policy = policy
        event = Published(self.later(), DOMAIN, policy, self.verdict, hides_policy=hidden)
        self.checker.observe(event)

    def serve(self) -> None:
        """The servers send what is published."""
        self.checker.observe(VerdictServed(self.later(), DOMAIN, self.verdict.version))
        if self.policy:
            self.checker.observe(PolicyServed(self.later(), DOMAIN, self.policy.version))

    def later(self, seconds: float = 0.1) -> float:
        """The moment so many seconds after the last one."""
        self.now += seconds
        return self.now

    def set_clock(self, seconds: float) -> None:
        """Set the daemon's clock ahead, or back."""
        self.offset += seconds
        self.checker.observe(ClockSet(self.later(), self.offset))

    def begin(self, fault: Fault) -> None:
        """A fault begins."""
        self.checker.observe(FaultBegan(self.later(), fault))

    def end(self, fault: Fault) -> None:
        """A fault ends."""
        self.checker.observe(FaultEnded(self.later(), fault))

    def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.checker.observe(DaemonKilled(self.later(10)))
        self.checker.observe(DaemonReady(self.later(1)))

    def answer(self, answer: str, *, key: str = DOMAIN, took: float = 0.01, lag: float = 0) -> str:
        """The daemon answers; the reason of the violation, or nothing."""
        asked_at = self.later()
        event = Answered(self.later(took), asked_at, "s1", key, "postfix", answer, lag)
        violations = self.checker.observe(event)
        assert len(violations) < 2
        return violations[0].reason if violations else ""


def known(policy: Policy | None = POLICY, verdict: Verdict = UNSIGNED) -> Run:
    """A run in which the daemon has answered right once."""
    run = Run(policy, verdict)
    run.serve()
    assert run.answer("dane-only" if verdict is ALL else POLICY.answer) == ""
    return run


class TestNew:
    """A domain that was not asked for before."""

    @pytest.mark.parametrize(
        ("policy", "verdict", "answer"),
        [
            (POLICY, UNSIGNED, POLICY.answer),
            (None, UNSIGNED, NOT_FOUND),
            (Policy(1, "testing", ("mx1.test",), 7200), UNSIGNED, NOT_FOUND),
            (POLICY, Verdict(1, "none", 3600), POLICY.answer),
            (POLICY, ALL, "dane-only"),
            (None, ALL, "dane-only"),
            (POLICY, Verdict(1, "some", 60), "dane-only"),
            (None, Verdict(1, "some", 60), "dane"),
        ],
    )
    def test_only_the_right_answer_is_allowed(
        self, policy: Policy | None, verdict: Verdict, answer: str
    ) -> None:
        """Without a fault there is one right answer."""
        for given in (POLICY.answer, NOT_FOUND, "dane-only", "dane", TEMP):
            run = Run(policy, verdict)
            run.serve()
            assert (run.answer(given) == "") is (given == answer)

    @pytest.mark.parametrize(
        "fault", [Fault.DNS_SILENT, Fault.HOSTS_503, Fault.NETWORK_STOPPED, Fault.BUSY]
    )
    def test_a_fault_excuses_it(self, fault: Fault) -> None:
        """In a fault that concerns it, a new domain may go without a policy."""
        run = Run()
        run.begin(fault)
        assert run.answer(NOT_FOUND) == ""
        run.end(fault)
        run.later(60)
        assert run.answer(NOT_FOUND) == ""  # the back-off

    @pytest.mark.parametrize("fault", [Fault.STORE_FULL, Fault.LOG_STUCK, Fault.DNS_LYING])
    def test_other_faults_do_not_excuse_it(self, fault: Fault) -> None:
        """A fault that does not concern the look-up changes nothing."""
        run = Run()
        run.begin(fault)
        assert run.answer(NOT_FOUND) == "a new domain is answered wrong"

    def test_a_silent_policy_host_does_not_excuse_a_missing_verdict(self) -> None:
        """DANE needs no HTTPS."""
        run = Run(verdict=ALL)
        run.publish(POLICY, hidden=True)
        run.begin(Fault.HOSTS_SILENT)
        assert run.answer(NOT_FOUND) == "a new domain is answered wrong"

    def test_a_fault_of_the_daemon_is_not_remembered(self) -> None:
        """Soon after the network process was killed, the answer must be right."""
        run = Run()
        run.begin(Fault.NETWORK_KILLED)
        run.end(Fault.NETWORK_KILLED)
        assert run.answer(NOT_FOUND) == ""
        run.later(10)
        assert run.answer(NOT_FOUND) == "a new domain is answered wrong"

    def test_a_look_up_that_began_in_the_fault_excuses_others(self) -> None:
        """They share its attempt, though they were asked later and answered earlier."""
        run = Run()
        run.begin(Fault.HOSTS_RESET)
        run.checker.observe(Asked(run.later(), DOMAIN))
        run.end(Fault.HOSTS_RESET)
        run.later(5)
        assert run.answer(NOT_FOUND) == ""

    def test_an_hour_after_the_fault_nothing_is_excused(self) -> None:
        """Each back-off is over by then."""
        run = Run()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND) == ""
        run.end(Fault.DNS_SILENT)
        run.later(HOUR + 200)
        assert run.answer(NOT_FOUND) == "a new domain is answered wrong"


class TestKnown:
    """A domain that was answered right before."""

    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("answer", [NOT_FOUND, TEMP])
    def test_no_fault_excuses_a_weaker_answer(self, fault: Fault, answer: str) -> None:
        """What was answered once is not lost while it is valid."""
        run = known()
        run.begin(fault)
        assert run.answer(answer) != ""
        assert run.answer(POLICY.answer) == ""

    def test_it_ends_with_its_age(self) -> None:
        """After max_age it must not be answered, and need not be found again in an outage."""
        run = known()
        run.later(20)
        run.begin(Fault.DNS_SILENT)
        run.set_clock(2.5 * HOUR)
        assert run.answer(NOT_FOUND) == ""
        assert run.answer(POLICY.answer) == "an expired, replaced or unknown policy"

    def test_a_clock_that_was_wrong_takes_nothing_away(self) -> None:
        """Back in time the policy is valid again; cached replies may be repeated for a while."""
        run = known()
        run.begin(Fault.DNS_SILENT)
        run.set_clock(500 * 24 * HOUR)
        assert run.answer(NOT_FOUND) == ""
        run.set_clock(-500 * 24 * HOUR)
        assert run.answer(NOT_FOUND) == ""
        assert run.answer(NOT_FOUND, key=f"{DOMAIN}:25") == "what was known is lost"
        run.later(100)
        assert run.answer(NOT_FOUND) == "what was known is lost"

    def test_a_newer_policy_replaces_it_for_good(self) -> None:
        """Both are right until the newer one was answered."""
        run = known()
        run.publish(NEWER)
        run.serve()
        assert run.answer(POLICY.answer) == ""
        assert run.answer(NEWER.answer) == ""
        assert run.answer(POLICY.answer) == "an expired, replaced or unknown policy"

    def test_a_newer_policy_is_noticed(self) -> None:
        """Some seconds after a look-up with a recheck that was due, only the newer one is right."""
        run = known()
        run.publish(NEWER)
        run.set_clock(HOUR + 200)
        assert run.answer(POLICY.answer) == ""  # starts the recheck
        run.serve()
        run.later(12)
        assert run.answer(POLICY.answer) == "an expired, replaced or unknown policy"
        assert run.answer(NEWER.answer) == ""

    def test_a_fault_delays_that(self) -> None:
        """After a fault the recheck may wait for its back-off."""
        run = known()
        run.publish(NEWER)
        run.set_clock(HOUR + 200)
        assert run.answer(POLICY.answer) == ""
        run.begin(Fault.DNS_SILENT)
        run.end(Fault.DNS_SILENT)
        run.later(10)
        assert run.answer(POLICY.answer) == ""


class TestDane:
    """A domain whose MX hosts have usable TLSA records."""

    @pytest.mark.parametrize("fault", [None, *Fault])
    def test_no_policy_over_a_known_verdict(self, fault: Fault | None) -> None:
        """Nothing excuses MTA-STS over DANE once the verdict was answered."""
        run = known(verdict=ALL)
        if fault:
            run.begin(fault)
        assert run.answer(POLICY.answer) == "MTA-STS over DANE"
        assert run.answer(NOT_FOUND) == "what was known is lost"

    def test_a_policy_may_be_answered_if_the_dns_said_nothing(self) -> None:
        """The policy is known, the verdict is not: the policy is better than nothing."""
        run = Run(verdict=ALL)
        run.serve()
        assert run.answer(POLICY.answer, key=f"[{DOMAIN}]") == ""
        run.begin(Fault.DNS_SILENT)
        assert run.answer(POLICY.answer) == ""
        assert run.answer(NOT_FOUND) == "what was known is lost"

    @pytest.mark.parametrize("key", [f"[{DOMAIN}]", f"{DOMAIN}:587", f"[{DOMAIN}]:25"])
    def test_no_verdict_applies_to_the_key(self, key: str) -> None:
        """The policy alone decides for brackets and other ports."""
        run = Run(verdict=ALL)
        run.serve()
        assert run.answer("dane-only", key=key) != ""
        assert run.answer(POLICY.answer, key=key) == ""


class TestRestart:
    """The daemon is killed and starts again."""

    def test_what_is_on_file_is_known(self) -> None:
        """A policy that was answered while the store worked survives."""
        run = known()
        run.restart()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND) == "what was known is lost"

    def test_the_verdict_is_on_file_with_its_policy(self) -> None:
        """Then MTA-STS over DANE stays forbidden."""
        run = Run(verdict=ALL)
        run.serve()
        assert run.answer(POLICY.answer, key=f"[{DOMAIN}]") == ""
        assert run.answer("dane-only") == ""
        run.restart()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(POLICY.answer) == "MTA-STS over DANE"

    def test_without_a_policy_the_verdict_is_gone(self) -> None:
        """Absences are not stored, nor is a verdict without a policy."""
        run = known(None, ALL)
        run.restart()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND) == ""

    def test_a_full_disk_keeps_nothing(self) -> None:
        """What was fetched while the store failed may be lost by the restart."""
        run = Run()
        run.begin(Fault.STORE_FULL)
        run.serve()
        assert run.answer(POLICY.answer) == ""
        run.end(Fault.STORE_FULL)
        run.restart()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND) == ""

    def test_a_broken_disk_is_not_read(self) -> None:
        """Nor can it be read while the disk fails."""
        run = known()
        run.begin(Fault.STORE_BROKEN)
        run.restart()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND) == ""

    def test_a_restart_that_takes_long(self) -> None:
        """The daemon must be ready again soon."""
        run = known()
        run.checker.observe(DaemonKilled(run.later()))
        (violation,) = run.checker.observe(DaemonReady(run.later(30)))
        assert violation.reason == "the restart took 30.0 s"


class TestTime:
    """How long an answer takes."""

    def test_a_known_domain_is_answered_at_once(self) -> None:
        """It does not wait for the network."""
        run = known()
        assert run.answer(POLICY.answer, took=1.9) == ""
        assert run.answer(POLICY.answer, took=2.5) == "answered after 2.5 s, not 2 s"

    def test_a_late_client_is_not_the_fault_of_the_daemon(self) -> None:
        """The lag of the client is subtracted."""
        assert known().answer(POLICY.answer, took=4, lag=3) == ""

    def test_a_new_domain_is_answered_after_the_lookup_timeout(self) -> None:
        """It may wait so long, and not longer."""
        run = Run()
        run.serve()
        run.begin(Fault.DNS_SILENT)
        assert run.answer(NOT_FOUND, took=10) == ""
        assert run.answer(NOT_FOUND, took=13) == "answered after 13.0 s, not 11 s"

    def test_no_answer(self) -> None:
        """Silence is a violation in any case."""
        assert known().answer(UNANSWERED, took=20) == "no answer for 20.0 s"


class TestTryAgain:
    """The answer that makes Postfix defer mail."""

    @pytest.mark.parametrize("on", [False, True])
    def test_only_if_a_setting_says_so(self, *, on: bool) -> None:
        """A DNS that does not answer is no reason without `dns.on_failure: defer`."""
        run = Run()
        run.checker.observe(Reloading(run.later(), SettingsInForce(dns_defers=on)))
        run.checker.observe(Reloaded(run.later()))
        run.begin(Fault.DNS_SILENT)
        expected = "" if on else "try again, though no setting says so"
        assert run.answer(TEMP) == expected

    def test_not_without_a_fault(self) -> None:
        """The setting is for a DNS that does not answer."""
        run = Run()
        run.checker.observe(Reloading(run.later(), SettingsInForce(dns_defers=True)))
        run.serve()
        assert run.answer(TEMP) == "try again, though no setting says so"


def test_violations_with_one_cause_have_one_kind() -> None:
    """A report counts them by reason, kind of domain and answer, without the numbers."""
    run = known()
    asked_at = run.later()
    event = Answered(run.later(5), asked_at, "s1", DOMAIN, "postfix", POLICY.answer)
    (violation,) = run.checker.observe(event)
    assert violation.kind == "answered after … s, not … s: plain, secure"
