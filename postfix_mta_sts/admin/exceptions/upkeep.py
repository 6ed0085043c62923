"""What happens to exceptions by itself: they end, and what a store has missed is repaired.

The task `run` logs that an exception has ended and that it will end soon. It repairs what a store
that failed has left: exceptions that are not read yet, and writes of which nobody knows whether
they were done.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from postfix_mta_sts.admin.exceptions.in_force import InForce
from postfix_mta_sts.admin.exceptions.on_disk import ExceptionsOnDisk
from postfix_mta_sts.admin.exceptions.shared import ByScope, changed, joined
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.exceptions import Scope
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver.clock_watch import ClockWatch
from postfix_mta_sts.store import StoreError

TICK: Final = 5.0
"""Seconds between two looks at the clock, which may be set, and between two tries of the store."""
KEPT: Final = 30 * DAY
"""Seconds for which `list` shows an exception that has ended."""

_log = logging.getLogger(__name__)


class Upkeep:
    """The upkeep of the exceptions of one daemon.

    `lock` is held while the disk is asked. `clear` is called when the clock was set: a cached reply
    ends with an exception, but not with its return. `clock` gives epoch seconds, `monotonic`
    measures real time.
    """

    def __init__(
        self,
        in_force: InForce,
        disk: ExceptionsOnDisk,
        lock: asyncio.Lock,
        clear: Callable[[], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.is_shared = False
        """Whether there is a fleet that has the exceptions."""
        self._in_force = in_force
        self._disk = disk
        self._lock = lock
        self._clear = clear
        self._clock = clock
        self._monotonic = monotonic
        self._watch = ClockWatch(clock(), monotonic())

    async def run(self) -> None:
        """Do what is to be done, when it is to be done, until cancelled."""
        while True:
            await self._wait()
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 (the top of a task: the next tick tries again)
                event(
                    _log, logging.ERROR, "exceptions not looked at, next try soon", exc_info=error
                )
                await asyncio.sleep(TICK)

    async def tick(self) -> None:
        """Do what is to be done at this moment; see `run`."""
        if self._watch.read(self._clock(), self._monotonic()):
            self._clear()
        with suppress(StoreError):  # the store has logged it; the next tick tries again
            async with self._lock:
                await self._read()
                await self._disk.repair(self._in_force.added, self._in_force.notes)
                await self._remove_old()
        if self._in_force.stages.is_due(self._clock()):
            self._in_force.say_stages(are_all=not self._disk.problem)
        await self._in_force.stages.write()

    async def _wait(self) -> None:
        """Wait for the next end or warning; no longer than a tick, as the clock may be set."""
        changes, now = self._in_force.changed, self._clock()
        is_behind = self._disk.is_behind(self._in_force.notes)
        if not is_behind and all(each.until is None for each in self._in_force.exceptions.all()):
            await changes.wait()
            self._watch = ClockWatch(self._clock(), self._monotonic())  # not read meanwhile
        else:
            seconds = max(0.0, self._in_force.stages.next_at - now)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, TICK)):
                    await changes.wait()
        changes.clear()

    async def _read(self) -> None:
        """Read the exceptions in the store, if that was not possible before."""
        if not self._disk.problem:
            return
        await self._in_force.stages.read()
        # Last, because a start that is cut off while it waits must read all of it once more.
        found, notes = await self._disk.read()
        of_disk = {each.scope: each for each in found}
        added, notes = joined(of_disk, notes, self._in_force.added, self._in_force.notes)
        self._in_force.notes = notes
        self._in_force.put_added(added)
        if found:
            event(_log, logging.INFO, "exceptions of commands read", count=len(found))
        await self._disk.save(added, changed(of_disk, added), notes)

    async def _remove_old(self) -> None:
        """Remove what has ended long ago, by a clock that was right for a day."""
        past = self._watch.surely_past(self._monotonic())
        if past is None or self._disk.problem:
            return
        removed: list[Scope] = []
        try:
            for scope in self._old(past):
                await self._disk.write({scope: None})
                removed.append(scope)
        finally:
            if removed:  # once for all: each `use` clears the reply caches
                self._in_force.put_added(_without(self._in_force.added, removed))
                event(_log, logging.DEBUG, "ended exceptions removed", count=len(removed))

    def _old(self, past: float) -> Sequence[Scope]:
        """Those that ended long before then; not what a fleet has.

        The clock of one relay may be wrong for longer than a day.
        """
        kept = self._in_force.notes.marks if self.is_shared else {}
        return [
            scope
            for scope, each in self._in_force.added.items()
            if each.until is not None and each.until + KEPT < past and scope not in kept
        ]


def _without(by_scope: ByScope, scopes: Iterable[Scope]) -> ByScope:
    left_out = frozenset(scopes)
    return {scope: each for scope, each in by_scope.items() if scope not in left_out}
