"""The exceptions in the store of this relay, and what it may have missed.

A write that failed may be done later all the same. So the scopes that it was about are doubtful
until `repair` has written them.
"""

from collections.abc import Collection, Sequence

from postfix_mta_sts.admin.exceptions.shared import ByScope
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.records import AdminRecords, Changes, FleetNotes


class ExceptionsOnDisk:
    """What is known of the store; each method raises `StoreError`."""

    def __init__(self, records: AdminRecords) -> None:
        self.problem = "they are not read yet"
        """Why the exceptions in the store are not known; empty if they are."""
        self._records = records
        self._notes = FleetNotes()
        """Those in the store."""
        self._doubtful: set[Scope] = set()
        """Scopes of which the store may have something else than the daemon."""

    async def read(self) -> tuple[Sequence[PolicyException], FleetNotes]:
        """Read the exceptions, and the notes about the fleet."""
        try:
            found, self._notes = await self._records.exceptions(), await self._records.fleet_notes()
        except StoreError as error:
            self.problem = str(error)
            raise
        self.problem = ""
        return found, self._notes

    async def write(self, changes: Changes) -> None:
        """Do changes, one after the other."""
        self._doubtful |= changes.keys()
        for scope, exception in changes.items():
            if exception:
                await self._records.put_exception(exception)
            else:
                await self._records.remove_exception(scope)
        self._doubtful -= changes.keys()

    async def save(self, added: ByScope, changed: Collection[Scope], notes: FleetNotes) -> None:
        """Write what is `added` with these scopes, and the notes: all or nothing."""
        self._doubtful |= {*changed}
        scopes = frozenset(self._doubtful)
        if not scopes and notes == self._notes:
            return
        await self._records.take_exceptions({scope: added.get(scope) for scope in scopes}, notes)
        self._doubtful -= scopes
        self._notes = notes

    def is_behind(self, notes: FleetNotes) -> bool:
        """Whether the store may have something else than the daemon, or cannot be read."""
        return bool(self.problem or self._doubtful) or notes != self._notes

    async def repair(self, added: ByScope, notes: FleetNotes) -> None:
        """Write what the store may have missed, or done although it said that it failed."""
        if notes != self._notes:
            await self.save(added, (), notes)
        await self.write({scope: added.get(scope) for scope in self._doubtful})
