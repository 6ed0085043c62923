"""Renews what is in use before it runs out, and keeps the house in order once a minute.

Border: which policies are due, the store knows; what is done about one, the resolver. Here is
only when, and how many at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, MINUTE
from postfix_mta_sts.resolver.attempt import Sources
from postfix_mta_sts.resolver.resolver import Resolver

TICK: Final = MINUTE
"""Seconds between two ticks, short enough to notice a jump of the clock; each tick writes the
last-asked times in one batch."""
EXPIRED_KEPT: Final = DAY
"""Seconds for which expired rows stay on file: a clock that was wrong for a moment costs none."""
BATCH: Final = 6_000
"""Policies begun in one tick at most: 100 a second, 8 million a day."""
CONCURRENCY: Final = 50
"""Renewals under way at once."""
JUMP: Final = 5.0
"""Seconds by which the clock must have moved beside time itself to be called a jump."""

_log = logging.getLogger(__name__)


class ReplyCaches(Protocol):
    """The replies that are given again without the resolver."""

    def forget(self) -> None:
        """Give none again: the clock was set."""

    async def count(self) -> None:
        """Tell the resolver how often domains were asked for."""


class Refresher:
    """Two tasks under `run`: one renews, one keeps house.

    `idle_after`: seconds after which a policy that nobody asked for is not renewed any more.
    `monotonic` and `sleep` measure real time.
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
        self._looked_at: float | None = None
        self._monotonic = monotonic
        self._sleep = sleep
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._ahead = sources.clock() - monotonic()

    @property
    def next_look_at(self) -> float | None:
        """When it is next looked for what is due, at the earliest; None before the first time."""
        return None if self._looked_at is None else self._looked_at + TICK

    async def run(self) -> None:
        """Renew and keep house until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every_tick(self.keep_house), name="housekeeping")
            group.create_task(self._every_tick(self.renew_due), name="renewal")

    async def keep_house(self) -> None:
        """Notice a jump of the clock, write last-asked times, remove what has expired."""
        now = self._clock()
        ahead = now - self._monotonic()
        if abs(ahead - self._ahead) > JUMP:
            event(_log, logging.WARNING, "clock was set", seconds=round(ahead - self._ahead))
            self._replies.forget()
        self._ahead = ahead
        await self.write_asked()
        self._resolver.renew_verdicts(now - self.idle_after)
        if removed := await self._store.remove_expired(now - EXPIRED_KEPT):
            event(_log, logging.DEBUG, "expired policies removed", count=removed)

    async def write_asked(self) -> None:
        """Put on file when domains were last asked for, and how often."""
        await self._replies.count()
        if asked := self._resolver.usage.take():
            await self._store.touch(asked)

    async def renew_due(self) -> None:
        """Renew what is due, spread over a tick, each at a random moment of its share."""
        self._looked_at = now = self._clock()
        due = await self._store.due(now, now - self.idle_after, BATCH)
        async with asyncio.TaskGroup() as group:
            for domain in due:
                await self._sleep(2 * self._random() * TICK / len(due))
                await self._slots.acquire()
                group.create_task(self._renew(domain), name=f"renew {domain}")

    async def _renew(self, domain: Domain) -> None:
        try:
            await self._resolver.renew(domain)
        finally:
            self._slots.release()

    async def _every_tick(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = self._monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 (the top of a task: the next tick is tried)
                event(_log, logging.ERROR, "refresher broken off", exc_info=error)
            await self._sleep(max(0.0, began + TICK - self._monotonic()))
