"""The shared store as the daemon's process sees it: requests in, answers out, and what can happen.

`Fleet` has the document of exceptions; each relay asks it by a function of its own (`ask_as`).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from postfix_mta_sts.admin.exceptions.document import Membership, SharedDocument
from postfix_mta_sts.admin.exceptions.shared import mark_of
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Document,
    Done,
    ReadExceptions,
    Unavailable,
    WriteExceptions,
)
from postfix_mta_sts.values import replace
from tests.support.exceptions import Kept
from tests.support.fleet_clients import SETTINGS

KEY = SETTINGS.fleet[0]
AWAY = "the shared store does not answer"

Ask = Callable[[AnyRequest], Awaitable[AnyAnswer]]


class Fleet:
    """A shared store."""

    def __init__(self) -> None:
        self.document = Document(0, ())
        self.is_away = False
        self.loses_answers = False
        """Whether a write is done, and its answer lost."""
        self.blocked = False
        """Whether a write is refused, because of what is there."""
        self.between: list[Callable[[], Awaitable[object]]] = []
        """What happens between the next read and the write after it, once each."""
        self.requests: list[AnyRequest] = []

    @property
    def exceptions(self) -> dict[Scope, PolicyException]:
        """What the document has."""
        return {each.scope: each for each in self.document.exceptions or ()}

    def put(self, version: int, *exceptions: PolicyException, by: str = "other") -> None:
        """Put a document there, whatever there is."""
        self.document = Document(version, exceptions, by)

    def ask_as(self, name: str) -> Ask:
        """Return what a relay asks by."""

        async def ask(request: AnyRequest) -> AnyAnswer:
            self.requests.append(request)
            if self.is_away:
                return Unavailable(AWAY)
            if isinstance(request, ReadExceptions):
                return self._read(request)
            if isinstance(request, WriteExceptions):
                if self.between:
                    await self.between.pop(0)()
                return self._write(request, name)
            return Done()

        return ask

    def _read(self, request: ReadExceptions) -> AnyAnswer:
        if not self.document.version:
            return Document(0, None)
        marks = sorted(map(mark_of, self.exceptions.values()))
        found = replace(self.document, digest=",".join([f"v{self.document.version}", *marks]))
        is_other = found.version == request.above and found.digest != request.digest
        if found.version > request.above or is_other:
            return found
        return replace(found, exceptions=None, written_by="")

    def _write(self, request: WriteExceptions, name: str) -> AnyAnswer:
        is_kept = request.version > self.document.version and not self.blocked
        if is_kept:
            self.put(request.version, *request.exceptions, by=name)
        return Unavailable("no answer in time") if self.loses_answers else Done(is_kept)


class Asked(Protocol):
    """What relays share."""

    def ask_as(self, name: str) -> Ask:
        """Return what a relay asks by."""


class Member(Kept):
    """A relay of a fleet, with its keeper."""

    def __init__(self, fleet: Asked, name: str = "mx1", *stored: PolicyException) -> None:
        self.fleet, self.name = fleet, name
        super().__init__(*stored)

    def restart(self) -> None:
        """Go on with the keeper of a new daemon."""
        super().restart()
        self.join(self.fleet)

    def join(self, fleet: Asked, *keys: str) -> None:
        """Share exceptions in this fleet."""
        membership = Membership(self.name, keys or (KEY,))
        self.keeper.use_fleet(SharedDocument(membership, fleet.ask_as(self.name)))

    @property
    def scopes(self) -> Sequence[str]:
        """Of the exceptions of commands in force."""
        return sorted(self.used[-1].added) if self.used else ()


async def started(fleet: Fleet, *names: str) -> list[Member]:
    """Start relays that have no exception yet."""
    members = [Member(fleet, name) for name in names]
    for each in members:
        await each.keeper.start({})
    return members
