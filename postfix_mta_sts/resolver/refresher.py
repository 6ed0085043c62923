"""Renew policies in use before they expire, and do the housekeeping of each minute.

The store knows which policies are due; `Resolver.renew` renews one. This module decides when, and
how many at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.lifecycle import DAY, MINUTE
from postfix_mta_sts.resolver.clock_watch import ClockWatch
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources

TICK: Final = MINUTE
"""Seconds between two ticks, short enough to notice a jump of the clock; each tick writes the
last-asked times in one batch."""
IDLE_KEPT: Final = 90 * DAY
"""Seconds for which a policy stays in the store that nobody asks for; longer if `idle_after` is."""
BATCH: Final = 6_000
"""Renewals started in a tick at most: 100 a second, 8 million a day."""
CONCURRENCY: Final = 1_000
"""Renewals under way at once, and a quarter of all attempts at most: so many Policy Hosts that hold
a fetch for a minute delay no other renewal."""

_log = logging.getLogger(__name__)


class ReplyCaches(Protocol):
    """The cached replies, which are given without the resolver."""

    def clear(self) -> None:
        """Remove all cached replies, because the clock was set."""

    async def count(self) -> None:
        """Report the use of cached replies to counters and resolver."""


class Refresher:
    """Two tasks under `run`: renewal and housekeeping.

    `idle_after`: seconds after which a policy that is not asked for is not renewed any more.
    `monotonic` and `sleep` measure real time; tests replace them.
    """

    def __init__(
        self,
        resolver: Resolver,
        sources: Sources,
        *,
        idle_after: float,
        replies: ReplyCaches,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._resolver = resolver
        self._store = sources.store
        self._clock = sources.clock
        self._random = sources.random
        self.idle_after = idle_after
        self._replies = replies
        self._last_renewal_at: float | None = None
        self._monotonic = monotonic
        self._sleep = sleep
        self._slots = asyncio.Semaphore(max(1, min(CONCURRENCY, resolver.attempts // 4)))
        self._watch = ClockWatch(sources.clock(), monotonic())

    @property
    def next_renewal_at(self) -> float | None:
        """When the store is next asked for due policies, at the earliest; None before the first."""
        return None if self._last_renewal_at is None else self._last_renewal_at + TICK

    async def run(self) -> None:
        """Renew and do the housekeeping until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every_tick(self.do_housekeeping), name="housekeeping")
            group.create_task(self._every_tick(self.renew_due), name="renewal")

    async def do_housekeeping(self) -> None:
        """Notice a jump of the clock, write last-asked times, remove old rows."""
        now = self._clock()
        if seconds := self._watch.read(now, self._monotonic()):
            event(_log, logging.WARNING, "clock was set", seconds=round(seconds))
            self._replies.clear()
            await self._resolver.correct_times()
        await self.write_usage()
        await self._resolver.renew_verdicts(now - self.idle_after)
        await self._remove_old()

    async def _remove_old(self) -> None:
        """Remove rows that a clock which was right for a day shows to be expired, or idle."""
        past = self._watch.surely_past(self._monotonic())
        if past is None:
            return
        if removed := await self._store.remove_expired(past):
            event(_log, logging.DEBUG, "expired policies removed", count=removed)
        if removed := await self._store.remove_idle(past - max(IDLE_KEPT, self.idle_after)):
            event(_log, logging.DEBUG, "idle policies removed", count=removed)

    async def write_usage(self) -> None:
        """Write to the store when domains were last asked for, and how often."""
        await self._replies.count()
        await self._resolver.write_usage()

    async def renew_due(self) -> None:
        """Renew what is due, spread over a tick, each at a random moment of its share."""
        self._last_renewal_at = now = self._clock()
        due = await self._store.due(now, now - self.idle_after, BATCH)
        async with asyncio.TaskGroup() as group:
            for domain in due:
                await self._sleep(2 * self._random() * TICK / len(due))
                await self._slots.acquire()
                renewal = group.create_task(self._resolver.renew(domain), name=f"renew {domain}")
                # Also of one that never ran, because another has failed.
                renewal.add_done_callback(lambda _: self._slots.release())

    async def _every_tick(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            started = self._monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 (the top of a task: the next tick tries again)
                event(_log, logging.ERROR, "refresher failed, next try in a minute", exc_info=error)
            await self._sleep(max(0.0, started + TICK - self._monotonic()))
