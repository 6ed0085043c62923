"""The verdict question of one attempt: a DANE look-up, whenever the verdict is due.

It is asked beside the policy question, as long as that takes. `mtasts.verdict` and `resolver.dane`
say what an outcome means; `attempt` ends the question.
"""

import asyncio
from typing import Final

from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.verdict import is_due
from postfix_mta_sts.mtasts.weakening import dane_weakenings
from postfix_mta_sts.resolver.dane import DaneLookup, new_verdict
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.resolver.stored_row import StoredRow
from postfix_mta_sts.stats.labels import Source

SHORTEST_PAUSE: Final = 1.0
"""Seconds between two DANE look-ups of one attempt, at least."""


class VerdictQuestion:
    """Finds verdicts into what is `Known`; call `ask` once.

    `forced`: look DANE up even if the verdict is not due.
    """

    __slots__ = (
        "_domain",
        "_known",
        "_lookup",
        "_row",
        "_shared",
        "_sources",
        "is_between_look_ups",
        "policy_has_ended",
    )

    def __init__(
        self,
        shared: AttemptContext,
        domain: Domain,
        known: Known,
        row: StoredRow,
        lookup: DaneLookup,
        *,
        forced: bool,
    ) -> None:
        self._shared = shared
        self._sources = shared.sources
        self._domain = domain
        self._known = known
        self._row = row
        self._lookup = lookup
        self.is_between_look_ups = False
        """Whether it waits until the verdict is due again."""
        self.policy_has_ended = False
        """Set it when the policy question has ended."""
        known.is_asking_dane = forced or is_due(known.verdict, self._sources.clock())

    async def ask(self) -> None:
        """Look DANE up when the verdict is due, as long as the policy question takes.

        A verdict may be valid for a minute only. Should it expire while a Policy Host is slow, the
        next look-up would take an older policy for all that is known.
        """
        while True:
            if self._known.is_asking_dane:
                await self._find_verdict()
            if self.policy_has_ended:
                return
            verdict, now = self._known.verdict, self._sources.clock()
            self.is_between_look_ups = True
            await asyncio.sleep(max(SHORTEST_PAUSE, verdict.recheck_at - now) if verdict else 0)
            self.is_between_look_ups, self._known.is_asking_dane = False, True

    async def _find_verdict(self) -> None:
        outcome = await self._look_up()
        if not outcome.is_complete:
            self._note_progress(outcome)
            await self._row.wait()  # it may hold a verdict, which a failure does not end
        now, before = self._sources.clock(), self._shared.usable(self._known.state)
        last = before.dane if before else None
        verdict = new_verdict(self._domain, last, outcome, now, self._shared.counters)
        policy_id = (before.policy_id if before else None) or ""
        self._shared.report(dane_weakenings(self._domain, last, verdict, policy_id, now))
        self._known.take_verdict(verdict, now)
        self._known.answer(Source.NETWORK, now)
        await self._row.note()

    async def _look_up(self) -> DaneOutcome:
        """The outcome; asked once more if the name servers have changed meanwhile."""
        while True:
            asked_of = self._shared.asked_of
            try:
                outcome = await self._lookup(self._domain, self._note_progress)
            except OwnFaultError:
                self._note_progress(None)  # `dane.on_failure` is for what the DNS did
                raise
            if asked_of == self._shared.asked_of:
                return outcome
            self._known.so_far = None

    def _note_progress(self, so_far: DaneOutcome | None) -> None:
        self._known.so_far = so_far
        # For a key to which these hosts do not matter.
        self._known.answer(self._known.flight.source, self._sources.clock())
