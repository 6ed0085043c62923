"""One way to the network and back for a domain: what is asked, what follows, on file, in the log.

Border: `lifecycle` decides each step, and this carries it out. Who waits for it, and what is kept
in memory, the resolver knows.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.changes import changes
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DiscoveryError, FetchError, MtaStsError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Discovered, Fetch, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.resolver.chronicle import record
from postfix_mta_sts.resolver.dane import DaneCheck
from postfix_mta_sts.resolver.throttle import Throttle
from postfix_mta_sts.stats import SUCCESS, Counters, Stage
from postfix_mta_sts.store import Store
from postfix_mta_sts.values import replace

T = TypeVar("T")
E = TypeVar("E", bound=MtaStsError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked, and what is taken from outside to be the same in every test."""

    discover: Callable[[Domain], Awaitable[Discovered]]
    """Raises `DiscoveryError`."""
    fetch: Callable[[Domain], Awaitable[Policy]]
    """Raises `FetchError`, or `OwnFaultError`."""
    store: Store
    clock: Callable[[], float]
    """Wall-clock seconds since the epoch."""
    random: Callable[[], float]
    """Numbers in [0, 1)."""


class Attempt:
    """The way for one domain, of which `before` was known; `run` it once.

    `forced`: the policy is fetched however well it is known. `asked_at` gives when the domain was
    last asked for, for its row. DANE's `dane_check` goes on beside it.
    """

    def __init__(  # noqa: PLR0913 - each is a matter of its own
        self,
        domain: Domain,
        before: State | None,
        dane_check: DaneCheck,
        *,
        sources: Sources,
        throttle: Throttle,
        counters: Counters,
        asked_at: Callable[[], float],
        forced: bool,
    ) -> None:
        self.saved = False
        """Whether the state in which it ended is on file, or will be."""
        self._domain = domain
        self._before = before
        self._dane_check = dane_check
        self._sources = sources
        self._throttle = throttle
        self._counters = counters
        self._asked_at = asked_at
        self._forced = forced

    async def run(self) -> State:
        """The state in which it ends: on file, if it came from a GET, and in the log."""
        outcome = await _either(self._sources.discover(self._domain), DiscoveryError)
        if isinstance(outcome, OwnFaultError):
            raise outcome  # it says nothing of the domain
        self._count(Stage.DNS, outcome)
        await self._throttle.turn()
        if isinstance(outcome, DiscoveryError):
            code, reason = outcome.code, str(outcome)
            event(_log, logging.DEBUG, "no id", self._domain, error=code, reason=reason)
        decide = partial(lifecycle.after_discovery, outcome=outcome, forced=self._forced)
        step = decide(self._before, now=self._sources.clock())
        if isinstance(step, Fetch) and (newer := await self._newer()):
            self._before = newer
            step = decide(newer, now=self._sources.clock())
        after = await (self._judged(step) if isinstance(step, State) else self._fetched(step))
        for change in changes(self._before, after, self._sources.clock()):
            record(_log, self._domain, change)
        return after

    async def _newer(self) -> State | None:
        """The state on file, if another process has fetched since there was this policy."""
        before = self._before
        if before is None or before.policy is None:
            return None
        on_file = await self._sources.store.load(self._domain)
        return on_file if on_file and on_file.fetched_at > before.fetched_at else None

    async def _fetched(self, step: Fetch) -> State:
        outcome = await _either(self._sources.fetch(self._domain), FetchError)
        self._count(Stage.HTTPS, outcome)
        await self._throttle.turn()
        now, random = self._sources.clock(), self._sources.random()
        after = await self._judged(lifecycle.after_fetch(self._before, step, outcome, now, random))
        if after.policy:
            await self._sources.store.save(self._domain, after, self._asked_at())
            self.saved = True
        return after

    async def _judged(self, state: State) -> State:
        return replace(state, dane=await self._dane_check.verdict())

    def _count(self, stage: Stage, outcome: object) -> None:
        code = outcome.code if isinstance(outcome, MtaStsError) else SUCCESS
        self._counters.attempts[stage, code] += 1


async def _either(source: Awaitable[T], error: type[E]) -> T | E:
    """What an awaitable gives, or the error with which it failed."""
    try:
        return await source
    except error as failure:
        return failure
