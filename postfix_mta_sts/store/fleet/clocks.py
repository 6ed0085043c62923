"""The clocks of a relay, and one moment by two clocks: that of the shared store, and its own.

The clocks of relays differ, and an hour is not rare. So records have the times of the store, and
what the daemon gets has those of this relay; the difference is known from each read.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.engine import SECOND
from postfix_mta_sts.values import Value, replace


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a client knows of time, in seconds; tests pass other ones."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    """Since the epoch."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Moment(Value, frozen=True):
    """The time of the store in microseconds, and that of this relay in seconds; both of the epoch.

    They are the same moment up to the time that an answer of the store takes.
    """

    store: int
    relay: float

    @property
    def behind(self) -> float:
        """Seconds by which the clock of this relay is behind that of the store; 0: it is not."""
        return max(0.0, self.store / SECOND - self.relay)

    def before(self, seconds: float) -> int:
        """The time of the store so many seconds ago; neither negative nor in the future."""
        return max(0, self.store - round(max(0.0, seconds) * SECOND))

    def after(self, seconds: float) -> int:
        """The time of the store in so many seconds."""
        return self.store + round(seconds * SECOND)

    def order_of(self, at: float) -> int:
        """The time of the store at a time of this relay; not one in the future."""
        return self.before(self.relay - at)

    def to_store(self, at: float) -> float:
        """A time of this relay by the clock of the store, in seconds."""
        return self.order_of(at) / SECOND

    def to_relay(self, at: float) -> float:
        """A time of the store, in seconds, by the clock of this relay; not one in the future."""
        return self.relay - max(0.0, self.store / SECOND - at)

    def entry_to_relay(self, entry: HistoryEntry) -> HistoryEntry:
        """An entry of a history with the times of this relay."""
        seen_from, seen_to = self.to_relay(entry.seen_from), self.to_relay(entry.seen_to)
        return replace(entry, seen_from=seen_from, seen_to=seen_to)
