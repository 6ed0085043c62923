"""The checker: which answers about a domain it allows, and which it reports."""

import pytest

from tests.torture.checked_run import ALL, DOMAIN, HOUR, NEWER, POLICY, UNSIGNED, Run, known
from tests.torture.events import (
    NOT_FOUND,
    TEMP,
    Asked,
    Fault,
    Policy,
    Verdict,
)


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

    def test_an_attempt_that_waits_for_a_host_goes_on(self) -> None:
        """A clock that is set forward does not end it, so that no other attempt is made."""
        run = Run()
        run.begin(Fault.HOSTS_SILENT)
        assert run.answer(NOT_FOUND) == ""
        run.end(Fault.HOSTS_SILENT)
        run.later(10)
        run.set_clock(2 * HOUR)
        run.later(20)
        assert run.answer(NOT_FOUND) == ""
        run.later(60)
        assert run.answer(NOT_FOUND) == "a new domain is answered wrong"

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
