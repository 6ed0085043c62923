"""A fault while relays are asked, and what it cost them: the row of `build/fleet/faults.md`.

Four relays are asked all the time: three share the store, and one has none, so that both are
measured on the same machine in the same seconds.
"""

import asyncio
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from tests.fleet.load import EVERY, Reply, Seen, load
from tests.fleet.relays import Relay
from tests.fleet.world import World

ALONE: Final = "alone"
"""The relay without a store."""
BEFORE: Final = 2.0
LEAD: Final = 0.5
AFTER: Final = 2.0
"""Seconds of load before the fault, in two parts, and after it."""
OPENED: Final = 1.0
"""Seconds after which a store that fails has failed twice: the breakers are open."""
NOTICED: Final = 0.1
"""Seconds above what look-ups take without a fault: the store has cost this one something."""
MINUTE: Final = 60.0

Fault = Callable[[], AbstractContextManager[None]]
Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class Stage:
    """The relays of a file of tests, and the domains that they remember."""

    relays: Sequence[Relay]
    alone: Relay
    known: Sequence[str]
    excepted: str
    """The domain of an exception that the fleet shares."""

    @property
    def all(self) -> list[Relay]:
        """All relays."""
        return [*self.relays, self.alone]


@dataclass(frozen=True, slots=True)
class Trial:
    """What was seen before a fault, and from shortly before it until after its end."""

    before: Seen
    seen: Seen
    began: float
    """Monotonic seconds, when the test began to cause the fault."""
    caused: float
    """When it had: what was given to a store before it was emptied is gone."""
    ended: float

    def given(self) -> list[str]:
        """The domains that a relay of the fleet has fetched since the fault was there."""
        return [r.domain for r in self.seen.new if r.relay != ALONE and r.at >= self.caused]

    def wrong(self, secure: Callable[[str], str]) -> set[str]:
        """The replies for new domains that are not the right ones."""
        new = [*self.before.new, *self.seen.new]
        return {reply.text for reply in new if reply.text != secure(reply.domain)}

    def row(self) -> Row:
        """The figures; times in milliseconds."""
        results = [each for name, each in self.seen.remembered.items() if name != ALONE]
        earlier = [each for name, each in self.before.remembered.items() if name != ALONE]
        return {
            "try-again": sum(each.errors + each.unanswered for each in results),
            "weaker": sum(each.wrong for each in results),
            "p99": max(each.p99 for each in results) / 1000,
            "p99 before": max(each.p99 for each in earlier) / 1000,
            "p99 alone": self.seen.remembered[ALONE].p99 / 1000,
            "stall": max(each.remembered[ALONE].max for each in (self.before, self.seen)) / 1000,
            **self._new(),
        }

    def _new(self) -> Row:
        """Of new look-ups."""
        own = [reply for reply in self.seen.new if reply.relay == ALONE]
        unharmed = [*self.before.new, *own]
        usual = max(reply.seconds for reply in unharmed)
        members = [r for r in self.seen.new if r.relay != ALONE and r.came >= self.began]
        opened = self._open(members)
        first = [reply for reply in members if reply.at < self.caused + OPENED]
        return {
            "new": _median(opened),
            "new alone": _median(self._open(own)),
            "usual": usual * 1000,
            "worst": max(reply.seconds for reply in members) * 1000,
            "slow": _most(first, usual),
            "slow, open": _most(opened, usual),
        }

    def _open(self, replies: Iterable[Reply]) -> list[Reply]:
        """Those that were asked while the breakers are open, if the fault opens them."""
        return [r for r in replies if self.caused + OPENED <= r.at < self.ended]


def _median(replies: Iterable[Reply]) -> float:
    """In milliseconds; 0 if there are none, because a server took long to start."""
    times = [reply.seconds for reply in replies]
    return statistics.median(times) * 1000 if times else 0.0


def _most(replies: Iterable[Reply], usual: float) -> int:
    """How many look-ups a fault has delayed, at the relay that had most of them."""
    slow = [reply.relay for reply in replies if reply.seconds > usual + NOTICED]
    return max(map(slow.count, slow), default=0)


async def trial(
    stage: Stage, world: World, fault: Fault, seconds: float, every: float = EVERY
) -> Trial:
    """Ask the relays before a fault, while it lasts for `seconds`, and after it."""
    length = LEAD + seconds + AFTER
    number = int(len(stage.all) * (BEFORE / EVERY + length / every) * 1.5)
    fresh = iter(world.published(number))
    async with load(stage.all, stage.known, fresh, BEFORE) as before:
        pass
    async with load(stage.all, stage.known, fresh, length, every=every) as seen:
        await asyncio.sleep(LEAD)
        began = monotonic()
        # In a thread: to start a server takes a second, in which look-ups are measured.
        context = fault()
        await asyncio.to_thread(context.__enter__)
        try:
            caused = monotonic()
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
        ended = monotonic()
    return Trial(before, seen, began, caused, ended)


_TRAFFIC: Final = re.compile(
    r' INFO (\S+: policy fetched |log lines left out text="policy fetched")'
)


_LOST: Final = " exceptions of the fleet were missing, "


def lines_of(relays: Sequence[Relay], marks: Sequence[int]) -> Row:
    """What the logs have since `marks` that traffic does not explain, at the relay that has most.

    `lines` are those of one minute. That rows are lost is another matter than that the store does
    not work, and has its own line.
    """
    logs = [relay.log.since(mark) for relay, mark in zip(relays, marks, strict=True)]
    told = [[line for line in log if not _TRAFFIC.search(line)] for log in logs]
    times = [[_time(line) for line in log if _LOST not in line] for log in told]
    return {
        "lines": max(map(_most_in_a_minute, times)),
        "lines, lost": max(sum(_LOST in line for line in log) for log in told),
    }


def _time(line: str) -> float:
    return datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()


def _most_in_a_minute(times: Sequence[float]) -> int:
    return max((sum(at - MINUTE < each <= at for each in times) for at in times), default=0)
