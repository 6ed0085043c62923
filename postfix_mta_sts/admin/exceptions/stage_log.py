"""Says once when an exception has ended or will end soon, also across daemons.

The store has until when everything was said (`said_at`), so that the next daemon neither repeats it
nor leaves out what ended while none ran.
"""

import math
from collections.abc import Sequence

from postfix_mta_sts.admin.exceptions.log_lines import log_stage
from postfix_mta_sts.admin.exceptions.stages import Stage, next_stage, stage_of
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.store.records import AdminRecords


class StageLog:
    """Which stage of each exception the log has."""

    def __init__(self, records: AdminRecords) -> None:
        self._records = records
        self._said: dict[PolicyException, Stage] = {}
        self._same = (math.inf, -math.inf)
        """From when until when no stage begins: then there is nothing to look at."""
        self._said_at: float | None = None
        """Stages that began until then are in the log, also of earlier daemons; None: not known."""
        self._is_noted = True
        """Whether the store has `_said_at`, or may lose it."""

    @property
    def next_at(self) -> float:
        """When the next stage begins, in epoch seconds."""
        return self._same[1]

    def is_due(self, now: float) -> bool:
        """Whether a stage may have started; else thousands would be looked at in each tick."""
        since, until = self._same
        return not since <= now < until

    async def read(self) -> None:
        """Read what earlier daemons have said."""
        self._said_at = await self._records.said_at()

    async def write(self) -> None:
        """Note for later daemons what is said, if that has changed."""
        if not self._is_noted and self._said_at is not None:
            self._is_noted = True
            await self._records.put_said_at(self._said_at)

    def changed(self) -> None:
        """Look at the exceptions again: they are others now."""
        self._same = (math.inf, -math.inf)

    def added(self, exception: PolicyException, now: float) -> None:
        """Take its stage as said: its end is no surprise, a person has chosen it."""
        self._said[exception] = stage_of(exception, now)

    def say_again(self, exception: PolicyException) -> None:
        """Say the stage of an exception at the next look: a person reads the log now."""
        self._said.pop(exception, None)

    def note(self, now: float) -> None:
        """Note that everything until now is said."""
        self._said_at, self._is_noted = now, False

    def say(self, exceptions: Sequence[PolicyException], now: float, *, are_all: bool) -> None:
        """Log each exception that has ended or will end soon, once; `are_all`: none is missing."""
        stages = {exception: stage_of(exception, now) for exception in exceptions}
        before = {each: self._said_stage(each, stage, now) for each, stage in stages.items()}
        self._said = stages
        self._same = (now, min((next_stage(each, now) for each in stages), default=math.inf))
        for exception, stage in stages.items():
            log_stage(exception, stage, before[exception], now)
            if stage not in (before[exception], Stage.FAR):
                self.note(now)
        if stages and are_all and self._said_until(now) is None:
            self.note(now)  # so that the next daemon says what ends while none runs

    def _said_stage(self, exception: PolicyException, stage: Stage, now: float) -> Stage | None:
        """The stage that the log has, perhaps from a daemon before this one; None: not known."""
        if exception in self._said:
            return self._said[exception]
        said_until = self._said_until(now)
        if said_until is None:
            return None
        if stage is Stage.ENDED and exception.added_at is None:
            return None  # said at each start: a person can remove it
        return stage_of(exception, said_until)

    def _said_until(self, now: float) -> float | None:
        """See `_said_at`; None also if it was noted by a clock that was ahead."""
        return None if self._said_at is None or self._said_at > now else self._said_at
