"""What is said of an exception in one line."""

import pytest

from postfix_mta_sts.admin.exceptions.sentences import checked, described, ends_shortly
from postfix_mta_sts.admin.exceptions.views import check_to_json
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.values import replace
from tests.support.exceptions import DAY, HOUR, exception
from tests.support.surroundings import GOOD, START


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            exception(),
            "ignore, until 2026-09-24 14:13:20Z, in 3d, by uid 0: ticket 4711",
        ),
        (
            exception(use=Use.PIN, mx=("a.test", "*.b.test"), lasts=None, added_at=None),
            "pin a.test *.b.test, forever, by the configuration: ticket 4711",
        ),
        (
            replace(exception(use=Use.MAY, ignores_dane=True, lasts=-HOUR), uid=None),
            "may, dane: ignore, ended 2026-09-21 13:13:20Z, by uid -: ticket 4711",
        ),
        (exception(lasts=None, relay="mx1"), "ignore, forever, by uid 0 on mx1: ticket 4711"),
    ],
)
def test_described(made: PolicyException, line: str) -> None:
    """The line has all but the scope."""
    assert described(made, START) == line


@pytest.mark.parametrize(
    ("lasts", "text"), [(None, "never"), (DAY, "in 1d"), (-DAY, "ended 1d ago")]
)
def test_ends_shortly(lasts: float | None, text: str) -> None:
    """A column has the end relative to now."""
    assert ends_shortly(exception(lasts=lasts), START) == text


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (CheckResult.DELIVERED, "would verify again since Saturday; checked 1h ago"),
        (CheckResult.HELD, "still needed: It is so.; checked 1h ago"),
        (CheckResult.UNKNOWN, "not known: It is so.; checked 1h ago"),
    ],
)
def test_checked(result: CheckResult, line: str) -> None:
    """The last check says whether the exception is still needed, or that it could not tell."""
    check = Check(GOOD, result, "It is so.", "", "", "1", START - HOUR, START - 2 * DAY)
    assert checked(check_to_json(check), START) == line
