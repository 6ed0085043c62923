"""How far an exception is from its end, and what `status` and the metrics count of that.

Pure. `keeper` logs each change of a stage once.
"""

import enum
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, WEEK
from postfix_mta_sts.stats import ExceptionCounts

SOON: Final = HOUR
"""Seconds: what a person added that shortly before a stage would begin has no such stage."""


class Stage(enum.IntEnum):
    """How near the end is; a later stage is a greater number."""

    FAR = 0
    WEEK = 1
    """Less than 7 days before the end."""
    DAY = 2
    """Less than a day before the end."""
    ENDED = 3


_STARTS: Final = {Stage.WEEK: WEEK, Stage.DAY: DAY, Stage.ENDED: 0.0}
"""Seconds before the end at which each stage begins."""


def stage_of(exception: PolicyException, now: float) -> Stage:
    """The stage at `now`; one that was added for 7 days, or a day, or less has no such stage.

    Its end is no surprise: a person has chosen it lately.
    """
    stages = (stage for stage, start in _begins(exception) if now >= start)
    return max(stages, default=Stage.FAR)


def next_stage(exception: PolicyException, now: float) -> float:
    """When the next stage begins, in epoch seconds; infinite: never."""
    return min((start for _, start in _begins(exception) if start > now), default=math.inf)


def overview(exceptions: Exceptions, now: float) -> ExceptionCounts:
    """Count the exceptions in force; one that the configuration covers is not."""
    found = in_force(exceptions, now)
    uses = Counter(each.use for each in found)
    near = [each for each in found if each.until is not None and each.until - now <= WEEK]
    stages = [stage_of(each, now) for each in near]
    return ExceptionCounts(
        {use: uses[use] for use in Use},
        sum(stage >= Stage.WEEK for stage in stages),
        sum(stage >= Stage.DAY for stage in stages),
        min((each.until for each in found if each.until is not None), default=None),
    )


def in_force(exceptions: Exceptions, now: float) -> Sequence[PolicyException]:
    """The exceptions that have not ended, and are not covered by another of the same scope."""
    by_scope = {e.scope: e for e in exceptions.added.values() if e.is_in_force(now)}
    by_scope |= {e.scope: e for e in exceptions.configured.values() if e.is_in_force(now)}
    return list(by_scope.values())


def _begins(exception: PolicyException) -> Iterator[tuple[Stage, float]]:
    """When each stage begins."""
    if exception.until is None:
        return
    added_at = -math.inf if exception.added_at is None else exception.added_at
    for stage, seconds in _STARTS.items():
        if stage is Stage.ENDED or exception.until - added_at > seconds + SOON:
            yield stage, exception.until - seconds
