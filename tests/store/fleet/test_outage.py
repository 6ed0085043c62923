"""What the log says of outages: one line at the beginning, one at the end, one a minute at most."""

from collections.abc import Callable

from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store.fleet.outage import Outage

FAILING = "WARNING shared store failing operation="
RECOVERED = "INFO shared store recovered operation="


class Log:
    """Two kinds of outage; each look at the clock is `step` seconds after the one before."""

    def __init__(self, step: float = 100.0) -> None:
        self.now = 0.0
        self.step = step
        lines = RateLimit()
        self.answers = Outage(self._monotonic, lines)
        self.writes = Outage(self._monotonic, lines)

    def _monotonic(self) -> float:
        self.now += self.step
        return self.now


def test_only_changes_are_said(log_lines: Callable[[], list[str]]) -> None:
    """The first failure has a line, with its reason, and the first success after it."""
    log = Log()
    for problem in ("", "", "refused", "no answer", "refused", "", ""):
        log.answers.say("reading", problem)
    assert log_lines() == [f"{FAILING}reading reason=refused", f"{RECOVERED}reading"]


def test_what_is_left_out_is_said_later_if_it_is_true(log_lines: Callable[[], list[str]]) -> None:
    """All kinds have one line a minute together."""
    log = Log(step=25.0)
    log.answers.say("reading", "refused")
    log.writes.say("writing", "read-only")  # after 25 s: left out
    log.answers.say("reading", "")  # after 50 s: left out
    log.writes.say("writing", "disk full")
    assert log_lines() == [
        f"{FAILING}reading reason=refused",
        f'{FAILING}writing reason="disk full"',
    ]


def test_one_outage_has_one_line(log_lines: Callable[[], list[str]]) -> None:
    """A store that was late, and then does not answer at all, is not said to fail once more."""
    log = Log()
    log.answers.say("looking", "no answer")
    for problem in ("no answer", "refused"):
        log.answers.say("reading", problem, covered_by="looking")
    log.answers.say("looking", "")
    assert log_lines() == [f'{FAILING}looking reason="no answer"', f"{RECOVERED}looking"]


def test_a_store_that_is_only_late_afterwards(log_lines: Callable[[], list[str]]) -> None:
    """Then the last line says so."""
    log = Log()
    log.answers.say("reading", "refused", covered_by="looking")
    log.answers.say("looking", "no answer")
    log.answers.say("looking", "")
    assert log_lines() == [
        f"{FAILING}reading reason=refused",
        f'{FAILING}looking reason="no answer"',
        f"{RECOVERED}looking",
    ]
