"""A checker, and events that follow each other, for the tests of the invariants."""

from typing import Final

from tests.torture.events import (
    Answered,
    ClockSet,
    DaemonKilled,
    DaemonReady,
    Fault,
    FaultBegan,
    FaultEnded,
    Policy,
    PolicyServed,
    Published,
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
