"""Domains that are due for a recheck, in order of arrival, started at a limited rate.

The rate keeps thousands of rechecks that become due together, as after a restart, from delaying
look-ups. The caller decides what a recheck does.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain

QUEUE_LIMIT: Final = 10_000
"""Domains in the queue; when it is full, a domain is added only when it is next asked for."""
INTERVAL: Final = 0.004
"""Seconds between the starts of two rechecks: 15,000 a minute, with look-ups in between."""
BURST: Final = 4
"""Rechecks that may start at once after a pause of as many intervals. While more wait, this many
start together, because a group wakes other threads only once."""
TRIED_AT_ONCE: Final = 250
"""Domains whose turn comes before other tasks run; most of them may be due no more."""
CONCURRENCY: Final = 5_000
"""Rechecks under way at once: this many Policy Hosts that hold a fetch for a minute delay no other
recheck. Usual ones end within a second, so that `INTERVAL` keeps them below 250."""


class RecheckQueue:
    """A queue of domains.

    `start` starts a recheck; it returns False if it did not. `room`: rechecks under way at once.
    """

    def __init__(self, start: Callable[[Domain], bool], room: int = CONCURRENCY) -> None:
        self._start = start
        self._room = room
        self._queue: OrderedDict[Domain, None] = OrderedDict()
        self._under_way = 0
        self._next_at = -math.inf  # by the clock of the event loop
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, domain: Domain) -> bool:
        return domain in self._queue

    def add(self, domain: Domain) -> None:
        """Queue a domain, if there is room."""
        if len(self._queue) < QUEUE_LIMIT:
            self._queue[domain] = None
        self.resume()

    def discard(self, domain: Domain) -> None:
        """Remove a domain."""
        self._queue.pop(domain, None)

    def ended(self) -> None:
        """Note that a started recheck has ended."""
        self._under_way -= 1

    def resume(self) -> None:
        """Start rechecks, unless the rate limit asks for a pause."""
        if self._queue and self._timer is None:
            self._start_next()

    def close(self) -> None:
        """Empty the queue and start nothing more."""
        self._queue.clear()
        if self._timer:
            self._timer.cancel()

    def _start_next(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for _ in range(TRIED_AT_ONCE):
            if not self._queue or self._under_way >= self._room:
                return
            now = loop.time()
            if now < self._next_at:
                self._timer = loop.call_at(self._next_at + BURST * INTERVAL, self._start_next)
                return
            domain, _ = self._queue.popitem(last=False)
            if self._start(domain):
                self._under_way += 1
                self._next_at = max(self._next_at, now - BURST * INTERVAL) + INTERVAL
        self._timer = loop.call_later(0, self._start_next)
