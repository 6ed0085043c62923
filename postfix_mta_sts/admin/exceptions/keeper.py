"""Keeps the exceptions of a running daemon: those of the configuration, and those of commands.

An exception that a command adds is in the store before it is in force, so that it survives the
daemon; in a fleet it is in the shared store first, if that answers. This file does what commands
and the fleet change; `in_force` has what is in force, `upkeep` does what happens by itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from postfix_mta_sts.admin.exceptions.document import Agreed, SharedDocument
from postfix_mta_sts.admin.exceptions.in_force import InForce
from postfix_mta_sts.admin.exceptions.log_lines import log_added, log_differences, log_removed
from postfix_mta_sts.admin.exceptions.on_disk import ExceptionsOnDisk
from postfix_mta_sts.admin.exceptions.shared import (
    NO_CHANGES,
    ByScope,
    applied,
    changed,
    noted,
    notes_of_fleet,
)
from postfix_mta_sts.admin.exceptions.stage_log import StageLog
from postfix_mta_sts.admin.exceptions.stages import Stage, stage_of
from postfix_mta_sts.admin.exceptions.upkeep import Upkeep
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Scope
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.records import (
    EXCEPTIONS_LIMIT,
    AdminRecords,
    Changes,
    FleetNotes,
    RefusedError,
    too_many,
)

START_PATIENCE: Final = 3.0
"""Seconds that the start waits for the store: Postfix defers mail until the daemon listens."""

_log = logging.getLogger(__name__)


class ExceptionKeeper:
    """The exceptions of one daemon; see `InForce` and `Upkeep` for what it is given."""

    def __init__(
        self,
        records: AdminRecords,
        use: Callable[[Exceptions], None],
        clear: Callable[[], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk = ExceptionsOnDisk(records)
        self._in_force = InForce(use, StageLog(records), clock)
        self._lock = asyncio.Lock()
        """Held while a store is asked: one change after the other."""
        self._upkeep = Upkeep(self._in_force, self._disk, self._lock, clear, clock, monotonic)
        self._clock = clock
        self._document: SharedDocument | None = None

    @property
    def exceptions(self) -> Exceptions:
        """What is in force, and what has ended lately."""
        return self._in_force.exceptions

    @property
    def notes(self) -> FleetNotes:
        """See `InForce.notes`."""
        return self._in_force.notes

    @property
    def problem(self) -> str:
        """Why the exceptions of commands are not known; empty if they are."""
        return self._disk.problem

    @property
    def is_behind(self) -> bool:
        """Whether the store of this relay may have something else."""
        return self._disk.is_behind(self.notes)

    @property
    def relay(self) -> str:
        """The name of this relay in its fleet; empty: there is none."""
        return self._document.membership.name if self._document else ""

    @property
    def unshared(self) -> str | None:
        """Why the fleet may not have all; empty: it has. None: there is no fleet."""
        return self._document.problem if self._document else None

    async def start(
        self,
        configured: ByScope,
        patience: float = START_PATIENCE,
        fleet_patience: float = START_PATIENCE,
    ) -> None:
        """Take the exceptions of the configuration, and those in the stores if they can be read.

        `patience`: seconds to wait for the store of this relay; `fleet_patience`: for that of the
        fleet, with 0 not at all.
        """
        self._in_force.configure(configured)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.tick()
        if self.problem:
            event(_log, logging.WARNING, "exceptions of commands not read yet", reason=self.problem)
        if fleet_patience > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(fleet_patience):
                    await self.share()

    def reconfigure(self, configured: ByScope) -> None:
        """Take the exceptions of a configuration that was read again."""
        self._in_force.reconfigure(configured, are_all=not self.problem)

    def use_fleet(self, document: SharedDocument | None) -> None:
        """Share the exceptions of commands in this document from now on; None: in none."""
        self._document = document
        self._upkeep.is_shared = document is not None

    async def run(self) -> None:
        """See `Upkeep.run`."""
        await self._upkeep.run()

    async def tick(self) -> None:
        """See `Upkeep.tick`."""
        await self._upkeep.tick()

    async def add(self, exception: PolicyException) -> PolicyException | None:
        """Add an exception, or replace the added one with its scope; return the one replaced.

        Raises `StoreError` if it can be written nowhere, and `RefusedError` if there are too many;
        nothing has changed then. `unshared` says whether the fleet has it.
        """
        self._in_force.changed.set()  # so that `run` repairs what fails
        async with self._lock:
            self._check_readable()
            room = self._room_for(exception.scope)
            replaced = self.exceptions.added.get(exception.scope)
            await self._change({**room, exception.scope: exception})
        if replaced and not replaced.is_in_force(self._clock()):
            replaced = None
        log_added(exception, replaced)
        self._in_force.expect(exception)
        return replaced

    async def remove(self, scope: Scope, uid: int | None = None) -> PolicyException | None:
        """Remove the added exception with this scope, and return it; `uid` asked for that.

        None: there is none. Raises `StoreError` if that can be written nowhere. `unshared` says
        whether the fleet has it.
        """
        self._in_force.changed.set()  # so that `run` repairs what fails
        async with self._lock:
            self._check_readable()
            removed = self.exceptions.added.get(scope)
            if removed is None:
                return None
            await self._change({scope: None})
        log_removed(removed, uid, self.relay)
        return removed

    async def share(self) -> None:
        """Give the fleet what it does not have, and take what others have changed."""
        document, added, notes = self._document, self.exceptions.added, self.notes
        # Without the lock: no command waits while the network process hangs.
        agreed = await document.look(added, notes) if document else None
        if document is None or agreed is None:
            return
        async with self._lock:
            if document is not self._document:  # a reload
                return
            is_same = added is self.exceptions.added and notes is self.notes
            if agreed.plan.is_written or not is_same:
                added = self.exceptions.added
                agreed = await document.agree(added, self.notes)
            if agreed:
                await self._take(agreed, added)
        if agreed and agreed.plan.is_written and not agreed.is_again:
            event(
                _log,
                logging.INFO,
                "exceptions given to the fleet",
                count=len(agreed.plan.shared),
                version=agreed.plan.notes.version,
            )

    def _check_readable(self) -> None:
        if self.problem:
            raise StoreError(f"the exceptions in the store are not known: {self.problem}")

    def _room_for(self, scope: Scope) -> Changes:
        """Return the removal of the one that ended first, if there is no room for another scope."""
        added = self.exceptions.added
        if scope in added or len(added) < EXCEPTIONS_LIMIT:
            return NO_CHANGES
        ended = [each for each in added.values() if stage_of(each, self._clock()) is Stage.ENDED]
        if not ended:
            raise too_many()
        oldest = min(ended, key=lambda each: each.until or 0.0)
        return {oldest.scope: None}

    async def _change(self, command: Changes) -> None:
        """Have a change in force, in the whole fleet if that answers; else here.

        Raises `StoreError`. A write that failed may still be done later; `tick` undoes it.
        """
        before = self.exceptions.added
        wanted = applied(command, before)
        if self._document and (agreed := await self._document.agree(before, self.notes, command)):
            await self._take(agreed, wanted)
            return
        keys = self._document.membership.keys if self._document else self.notes.keys
        notes = noted(command, before, notes_of_fleet(self.notes, keys))
        try:
            if notes != self.notes:  # together, so that no removal is forgotten
                await self._disk.save(wanted, command.keys(), notes)
            else:
                await self._disk.write(command)
        except RefusedError:
            raise
        except StoreError as error:
            why = f"; and the shared store: {self.unshared}" if self.unshared else ""
            raise StoreError(f"{error}{why}") from error
        self._in_force.notes = notes
        self._in_force.put_added(wanted)

    async def _take(self, agreed: Agreed, wanted: ByScope) -> None:
        """Put in force what the fleet has; `wanted`: what was asked for here."""
        plan, before = agreed.plan, self.exceptions.added
        if others := changed(wanted, plan.added):
            log_differences(wanted, plan.added, agreed.written_by)
            for scope in others & plan.added.keys():
                self._in_force.expect(plan.added[scope])
        self._in_force.notes = plan.notes
        if scopes := changed(before, plan.added):
            self._in_force.put_added(plan.added)
        else:
            self._in_force.take_over(plan.added)
        if not self.problem:
            with suppress(StoreError):  # in force all the same; `tick` writes it
                await self._disk.save(plan.added, scopes, plan.notes)
