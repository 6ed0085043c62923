"""Reads and writes the document of exceptions in the shared store of a fleet; `shared` decides."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from postfix_mta_sts.admin.exceptions.shared import (
    NO_CHANGES,
    ByScope,
    Plan,
    lowest_version,
    notes_of_fleet,
    plan,
    written_again,
)
from postfix_mta_sts.logs import event
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    CallFleet,
    Document,
    Done,
    ReadExceptions,
    WriteExceptions,
    problem_of,
)
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, Changes, FleetNotes
from postfix_mta_sts.values import Value, replace

TRIES: Final = 5
"""Times that a change is made of a newer document, if other relays write at the same moment."""
PATIENCE: Final = 5.0
"""Seconds for all of it, as a person waits; each answer of the store has a limit of its own."""

_log = logging.getLogger(__name__)


class Membership(Value, frozen=True):
    """That of a relay in a fleet that shares exceptions."""

    name: str
    """Of the relay."""
    keys: tuple[str, ...]
    """What tells the keys of the fleet from those of others."""


class Agreed(Value, frozen=True):
    """What a relay and its fleet have agreed on."""

    plan: Plan
    written_by: str
    """The relay that wrote the document before; empty: not known."""
    is_again: bool
    """Whether the store had lost what this relay has seen there: the log has said so."""


class SharedDocument:
    """The document of one fleet."""

    def __init__(self, membership: Membership, ask: CallFleet, patience: float = PATIENCE) -> None:
        self.membership = membership
        self.problem = "it is not read yet"
        """Why the fleet may not have what this relay has; empty if it has."""
        self._ask = ask
        self._patience = patience
        self._last: Plan | None = None
        """What was agreed on last."""
        self._digest = ""
        """Of the document on which that was; empty: not known."""
        self._old_version: int | None = None
        """The version that was refused last, until there is a newer one."""
        self._is_signed = False
        """Whether the document has had the key that signs here, or there was none to sign.

        It is looked at once after a start and a change of keys. While some relays sign with the new
        key and others with the old one, they would write it for ever.
        """

    async def look(self, local: ByScope, notes: FleetNotes) -> Agreed | None:
        """Say what follows from the document, and write nothing.

        If `plan.is_written`, the fleet has not agreed yet: `agree` does that. None: the store does
        not answer, see `problem`.
        """
        return await self._in_time(self._look(local, notes))

    async def agree(
        self, local: ByScope, notes: FleetNotes, command: Changes = NO_CHANGES
    ) -> Agreed | None:
        """Give the fleet what commands have changed here, and get what others have.

        `command`: a change that is to be made now. None: the store does not answer, see `problem`;
        the fleet may have the changes all the same.
        """
        return await self._in_time(self._agree(local, notes, command))

    async def _in_time(self, asking: Awaitable[Agreed | None]) -> Agreed | None:
        try:
            async with asyncio.timeout(self._patience):
                return await asking
        except TimeoutError:
            self.problem = f"it takes longer than {self._patience:g} s"
            return None

    async def _look(self, local: ByScope, notes: FleetNotes) -> Agreed | None:
        notes = notes_of_fleet(notes, self.membership.keys)
        document = await self._read(local, notes)
        if document is None:
            return None
        made = self._plan(local, notes, document, NO_CHANGES)
        if made.is_written:
            return Agreed(made, document.written_by, document.version < notes.version)
        return self._agreed(made, document, notes)

    async def _agree(self, local: ByScope, notes: FleetNotes, command: Changes) -> Agreed | None:
        notes = notes_of_fleet(notes, self.membership.keys)
        found = -1
        for _ in range(TRIES):
            document = await self._read(local, notes)
            if document is None:
                return None
            if document.version == found:  # nobody has written it meanwhile, as in a race
                break
            found = document.version
            made = self._plan(local, notes, document, command)
            if made.is_old:
                self._warn(made, document, notes)
            written = await self._write(made)
            if not isinstance(written, Done):
                self.problem = problem_of(written)
                return None
            if written.is_kept:
                return self._agreed(made, document, notes)
        what = "the document of exceptions cannot be replaced"
        self.problem = f"{what}: see postfix-mta-sts fleet check"
        return None

    async def _read(self, local: ByScope, notes: FleetNotes) -> Document | None:
        last = self._last
        is_same = last is not None and last.added is local and last.notes is notes
        digest = self._digest if is_same else ""
        above = lowest_version(local, notes)
        document = await self._ask(ReadExceptions(above, digest, self.membership.keys))
        if isinstance(document, Document):
            return document
        self.problem = problem_of(document)
        return None

    def _plan(
        self, local: ByScope, notes: FleetNotes, document: Document, command: Changes
    ) -> Plan:
        last = self._last
        is_same = last and last.added is local and last.notes is notes and not command
        if last and is_same and document.version == notes.version and document.exceptions is None:
            made = last  # most often: a plan for a thousand exceptions takes milliseconds
        else:
            made = plan(local, notes, document, command)
        return written_again(made) if document.by_other_key and not self._is_signed else made

    async def _write(self, made: Plan) -> AnyAnswer:
        if not made.is_written:
            return Done()
        exceptions = tuple(made.shared.values())
        fleet = self.membership.keys
        return await self._ask(WriteExceptions(made.notes.version, exceptions, fleet))

    def _agreed(self, made: Plan, document: Document, notes: FleetNotes) -> Agreed:
        self._warn(made, document, notes)
        self._last = replace(made, is_written=False)
        self._digest = "" if made.is_written else document.digest
        self._is_signed = True
        is_full = len(made.shared) < len(made.added)
        self.problem = f"it has {EXCEPTIONS_LIMIT} exceptions already" if is_full else ""
        return Agreed(made, document.written_by, document.version < notes.version)

    def _warn(self, made: Plan, document: Document, notes: FleetNotes) -> None:
        """Say once that the store has gone back, or has lost the document."""
        if document.version >= notes.version:
            self._old_version = None
            return
        if self._old_version == document.version:
            return
        self._old_version = document.version
        version, found = notes.version, document.version
        if made.is_old:
            event(
                _log,
                logging.WARNING,
                "older exceptions of the fleet refused, and written again",
                version=version,
                found=found,
            )
        else:
            event(
                _log,
                logging.WARNING,
                "exceptions of the fleet were missing, and are written again",
                version=version,
            )
