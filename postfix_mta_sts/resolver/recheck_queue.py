"""Domains that are due for a recheck, in the order in which they came; few begin at a time.

Border: what a recheck is, whoever made the queue knows. It is paced so that thousands which become
due together, as after a restart, hold up no look-up.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain

DUE_MOST: Final = 10_000
"""Domains that wait for a recheck; who finds no room comes again when it is next asked for."""
INTERVAL: Final = 0.004
"""Seconds between one recheck's beginning and the next: 15,000 a minute, and look-ups between."""
SPARED: Final = 4
"""Rechecks that may begin at once after a pause as long as they would have taken; when more wait,
so many go together, for they wake other threads but once."""
UNDER_WAY: Final = 256
"""Rechecks under way at once: so many silent name servers hold up no other."""


class RecheckQueue:
    """A queue of domains. `begin` begins a recheck, or says that there is no need or no room."""

    def __init__(self, begin: Callable[[Domain], bool]) -> None:
        self._begin = begin
        self._due: OrderedDict[Domain, None] = OrderedDict()
        self._under_way = 0
        self._next_at = -math.inf  # by the loop's clock
        self._pause: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, domain: Domain) -> bool:
        return domain in self._due

    def add(self, domain: Domain) -> None:
        """Let a domain have its turn."""
        if len(self._due) < DUE_MOST:
            self._due[domain] = None
        self.go_on()

    def discard(self, domain: Domain) -> None:
        """There is no need for it any more."""
        self._due.pop(domain, None)

    def ended(self) -> None:
        """One that was begun is over."""
        self._under_way -= 1

    def go_on(self) -> None:
        """Begin those whose turn it is, unless there is a pause."""
        if self._pause is None:
            self._begin_next()

    def close(self) -> None:
        """Begin none any more."""
        self._due.clear()
        if self._pause:
            self._pause.cancel()

    def _begin_next(self) -> None:
        self._pause = None
        loop = asyncio.get_running_loop()
        while self._due and self._under_way < UNDER_WAY:
            now = loop.time()
            if now < self._next_at:
                self._pause = loop.call_at(self._next_at + SPARED * INTERVAL, self._begin_next)
                return
            domain, _ = self._due.popitem(last=False)
            if self._begin(domain):
                self._under_way += 1
                self._next_at = max(self._next_at, now - SPARED * INTERVAL) + INTERVAL
