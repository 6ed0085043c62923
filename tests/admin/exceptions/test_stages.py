"""How near the end of an exception is, and what is counted."""

import math

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.exceptions.stages import Stage, next_stage, overview, stage_of
from postfix_mta_sts.mtasts.exceptions import Exceptions, Use
from tests.support.exceptions import DAY, HOUR, configured, exception
from tests.support.surroundings import START

SECONDS = st.floats(1, 60 * DAY)


@given(lasts=SECONDS, first=SECONDS, second=SECONDS, is_written=st.booleans())
def test_stages_only_rise(lasts: float, first: float, second: float, *, is_written: bool) -> None:
    """With time a stage only rises, the last one is the end, and the next one is never missed."""
    made = exception(lasts=lasts, added_at=None if is_written else START)
    early, late = START + min(first, second), START + max(first, second)
    assert stage_of(made, early) <= stage_of(made, late)
    assert (stage_of(made, late) is Stage.ENDED) != made.is_in_force(late)
    if stage_of(made, early) != stage_of(made, late):
        assert early < next_stage(made, early) <= late


def test_without_an_end() -> None:
    """An exception that is forever has no stage to come."""
    made = exception(lasts=None)
    assert stage_of(made, START + 9_999 * DAY) is Stage.FAR
    assert next_stage(made, START) == math.inf


def test_overview() -> None:
    """What is counted are exceptions in force, of each scope the one that counts."""
    written = (
        exception(use=Use.ENFORCE, lasts=2 * DAY, added_at=None),
        exception("lapsed.test", lasts=-HOUR, added_at=None),
    )
    added = (
        exception(use=Use.MAY, lasts=None),
        exception("lapsed.test", lasts=HOUR),
        exception("ended.test", lasts=-HOUR),
        exception("*.good.test", lasts=8 * DAY),
    )
    found = overview(Exceptions(configured(*written), configured(*added)), START)
    assert {use: number for use, number in found.by_use.items() if number} == {
        Use.ENFORCE: 1,
        Use.IGNORE: 2,
    }
    assert (found.ending_in_a_week, found.ending_in_a_day) == (1, 0)
    assert found.next_end == START + HOUR
    assert overview(Exceptions(), START).next_end is None
