"""What one attempt knows of its domain: kept in the cache, and given to the look-ups that wait.

`attempt` asks the questions and calls this module with each answer. A newer answer replaces an
older one only where it says something: a row without a policy takes nothing away, and of two
verdicts the later one stays.
"""

from collections.abc import Callable
from dataclasses import dataclass

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.decision import PENDING, Knowledge, PolicyStep, last_step
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.verdict import Verdict, is_live
from postfix_mta_sts.resolver.cache import StateCache
from postfix_mta_sts.resolver.dane import with_later_verdict
from postfix_mta_sts.resolver.single_flight import Flight
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.values import replace


@dataclass(slots=True)
class Known:
    """The knowledge of one attempt. `now` is epoch seconds in all methods."""

    domain: Domain
    cache: StateCache
    flight: Flight
    usable: Callable[[State | None], State | None]
    """See `AttemptContext.usable`."""
    state: State | None = None
    step: PolicyStep = PolicyStep.TXT_PENDING
    is_asking_dane: bool = False
    so_far: DaneOutcome | None = None
    """What the DANE look-up under way has found."""
    verdict_was_live: bool = False
    """Whether the verdict has been live during this attempt."""
    found_in: Source = Source.NETWORK
    """Where the policy question has found its answer."""
    row_is_known: bool = False
    """Whether the store was read, or the cache has a live policy."""

    @property
    def verdict(self) -> Verdict | None:
        """The last verdict, expired or not."""
        return self.state.dane if self.state else None

    @property
    def knowledge(self) -> Knowledge:
        """What a look-up can be answered by."""
        is_unread = not self.row_is_known and self.step in PENDING
        step = PolicyStep.UNREAD if is_unread else self.step
        return Knowledge(self.state, step, self.is_asking_dane, self.so_far, self.verdict_was_live)

    def live(self, now: float) -> State | None:
        """The state, if it holds a policy that has not expired."""
        return lifecycle.live(self.state, now)

    def take_cached(self, now: float) -> None:
        """Begin with what the cache has."""
        entry = self.cache.get(self.domain)
        self.state = self.usable(entry.state) if entry else None
        if self.live(now):
            self.row_is_known = True

    def take_row(self, row: State | None, now: float) -> None:
        """Use what the store has: its verdict, and its policy unless a later one is known."""
        self.row_is_known = True
        if row is None:
            return
        if self.state is None or (lifecycle.live(row, now) and not self.live(now)):
            self.replace_state(row, now)
        else:
            self.state = with_later_verdict(self.state, row.dane, now)

    def replace_state(self, state: State, now: float) -> None:
        """Take another state for the policy; of the verdicts, what is known stays."""
        self.state = with_later_verdict(state, self.verdict, now)

    def take_verdict(self, verdict: Verdict, now: float) -> None:
        """Keep a verdict, also before anything is known of the policy."""
        self.is_asking_dane, self.so_far = False, None
        self.state = replace(self.state or lifecycle.unknown(now), dane=verdict)

    def forget_dane(self) -> None:
        """Note that a fault of this program ended the DANE look-up."""
        self.is_asking_dane, self.so_far = False, None

    def forget_policy(self) -> None:
        """Note that a fault of this program ended the policy question."""
        self.step = PolicyStep.OWN_FAULT

    def settle(self, after: State, now: float) -> State:
        """Keep the state in which the policy question ended, with the verdict; return it."""
        if after.policy is None and not self.row_is_known:
            after = lifecycle.unconfirmed(after, now)
        settled = after if after.dane is self.verdict else replace(after, dane=self.verdict)
        self.state, self.step = settled, last_step(settled)
        return settled

    def keep(self, source: Source, now: float) -> None:
        """Give what is known to the cache and, when the time is up, to the look-ups that wait.

        The look-ups also get a verdict of other name servers, the only one that there is.
        """
        if state := self.usable(self.state):
            if entry := self.cache.get(self.domain):
                self.cache.update(entry, state)
            elif self.flight.wanted or (state.policy and state.failure):
                self.cache.put(self.domain, state, now)
        self.verdict_was_live = self.verdict_was_live or is_live(self.verdict, now)
        self.flight.know(self.knowledge, source if self.state else Source.NONE)

    def answer(self, source: Source, now: float) -> None:
        """Keep what is known, and answer the look-ups for which it is enough."""
        self.keep(source, now)
        self.flight.answer()
