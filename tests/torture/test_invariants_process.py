"""The checker: restarts, time, and the answer that defers mail."""

import pytest

from tests.torture.checked_run import ALL, DOMAIN, POLICY, Run, known
from tests.torture.events import (
    NOT_FOUND,
    TEMP,
    UNANSWERED,
    Answered,
    DaemonKilled,
    DaemonReady,
    Fault,
    Reloaded,
    Reloading,
    SettingsInForce,
)


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
