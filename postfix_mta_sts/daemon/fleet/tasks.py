"""What the daemon does for the fleet by itself, while there is one: each work in rounds of its own.

Nothing waits for it, and a store that does not answer only means that the next round tries again.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from postfix_mta_sts.admin.exceptions.document import Membership, SharedDocument
from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.daemon.fleet.presence import Presence
from postfix_mta_sts.daemon.fleet.renewals import TICK, Renewals
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.fleet.requests import CallFleet
from postfix_mta_sts.store.fleet.settings import fleet_of, relay_name
from postfix_mta_sts.values import Value

EXCEPTIONS_ROUND: Final = 2.0
"""Seconds: an exception is in force on all relays within 5."""
PRESENCE_ROUND: Final = 10.0
"""Seconds."""

_log = logging.getLogger(__name__)


class Role(Value, frozen=True):
    """What a relay is in its fleet."""

    membership: Membership
    shares_exceptions: bool

    @classmethod
    def of(cls, settings: FleetSettings, key_ids: Sequence[str]) -> "Role | None":
        """Take it from the settings; None: there is no fleet. `key_ids` are those of its keys."""
        if settings.url is None:
            return None
        membership = Membership(relay_name(settings), fleet_of(settings.prefix, key_ids))
        return cls(membership, settings.exceptions)


class ExceptionSharing(Protocol):
    """The exceptions of this relay."""

    def use_fleet(self, document: SharedDocument | None) -> None:
        """Share them in this document from now on."""

    async def share(self) -> None:
        """Give the fleet what it does not have, and take what others have changed."""


class FleetTasks:
    """The tasks of one daemon; `reconfigure` comes first, `run` is their task."""

    def __init__(
        self,
        ask: CallFleet,
        exceptions: ExceptionSharing,
        presence: Presence,
        renewals: Renewals,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        first: Callable[[float], float] = lambda seconds: random.uniform(0, seconds),  # noqa: S311
    ) -> None:
        self._ask = ask
        self._exceptions = exceptions
        self._sleep = sleep
        self._first = first
        self._renewals = renewals
        self._membership: Membership | None = None
        self._is_on = asyncio.Event()
        self._works: Sequence[tuple[str, float, Callable[[], Awaitable[None]]]] = (
            ("shared exceptions", EXCEPTIONS_ROUND, exceptions.share),
            ("presence", PRESENCE_ROUND, presence.announce),
            ("uses", TICK, renewals.give_uses),
            ("overdue policies", TICK, renewals.renew_due),
        )

    def reconfigure(self, role: Role | None, idle_after: float) -> None:
        """Take this part in a fleet from now on; None: in none. `idle_after`: see `Renewals`."""
        self._renewals.idle_after = idle_after
        membership = role.membership if role and role.shares_exceptions else None
        if membership != self._membership:
            self._membership = membership
            document = SharedDocument(membership, self._ask) if membership else None
            self._exceptions.use_fleet(document)
        if role:
            self._is_on.set()
        else:
            self._is_on.clear()

    def note_uses(self, asked: Mapping[Domain, LastAsked]) -> None:
        """Note for the fleet what this relay was asked for; see `Resolver.share_usage`."""
        if self._is_on.is_set():
            self._renewals.note(asked)

    async def run(self) -> None:
        """Do the works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, seconds, work in self._works:
                group.create_task(self._rounds(name, seconds, work), name=name)

    async def _rounds(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do a work again and again; relays that start together do it at different times."""
        await self._sleep(self._first(seconds))
        while True:
            await self._is_on.wait()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 (the top of a task: the next round tries again)
                event(
                    _log,
                    logging.ERROR,
                    "work for the fleet failed, next try soon",
                    task=name,
                    exc_info=error,
                )
            await self._sleep(seconds)
