"""Signed records of the shared store: opened and parsed when read, signed when written.

A record that is not what a relay of this fleet writes is as though it were not there: the log names
it once an hour, and the requests for one domain tell why.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from postfix_mta_sts import logs
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store.fleet.access import StoreAccess
from postfix_mta_sts.store.fleet.clocks import Clocks, Moment
from postfix_mta_sts.store.fleet.engine import FUTURE, Name
from postfix_mta_sts.store.fleet.envelope import (
    HEADER_BYTES,
    Opened,
    header_of,
    open_record,
    order_of,
    seal,
)
from postfix_mta_sts.store.fleet.errors import ForeignKeyError, OtherFormError, RefusedRecordError
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings

SAID_INTERVAL: Final = 3600.0
"""Seconds between two lines about one record."""
SAID_LIMIT: Final = 1_000
"""Records of which it is known when the log named them; then the oldest is forgotten."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What a record says."""

    value: T | None
    """None: there is no record, it has expired, or it is refused."""
    refused: str = ""
    """Why it is refused; one printable line."""


class Refusals:
    """Logs the records that are refused."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._limits: dict[Name, RateLimit] = {}

    def say(self, name: Name, reason: str) -> None:
        """Log that a record is not used, unless that was said within the hour."""
        if name not in self._limits and len(self._limits) >= SAID_LIMIT:
            del self._limits[next(iter(self._limits))]
        limit = self._limits.setdefault(name, RateLimit(SAID_INTERVAL))
        if count := limit.take(self._monotonic()):
            logs.event(
                _log,
                logging.WARNING,
                "shared record refused",
                printable(name.key),
                kind=name.kind.value,
                reason=reason,
                count=count,
            )


class Records:
    """The records, for those that know what is in them."""

    def __init__(self, settings: SharedStoreSettings, access: StoreAccess, clocks: Clocks) -> None:
        self._settings = settings
        self._access = access
        self._clocks = clocks
        self._refusals = Refusals(clocks.monotonic)

    async def moment(self) -> Moment:
        """Ask for the time of the store. Raises `FleetError`."""
        return (await self.read([]))[0]

    async def header(self, name: Name) -> bytes:
        """Read the header of a record, which nothing has verified. Raises `FleetError`."""
        read = await self._access.read(None, lambda engine: engine.read([name], HEADER_BYTES))
        return header_of(read.records.get(name, b""))

    async def read(self, names: Sequence[Name]) -> tuple[Moment, Mapping[Name, bytes]]:
        """Read records, as they are. Raises `FleetError`."""
        read = await self._access.read(None, lambda engine: engine.read(names))
        return Moment(read.now, self._clocks.wall()), read.records

    def parsed(
        self, name: Name, record: bytes | None, parse: Callable[[Opened], T | None]
    ) -> Parsed[T]:
        """Open a record and read its body by `parse`, which may raise `RefusedRecordError`."""
        if record is None:
            return Parsed(None)
        try:
            opened = open_record(self._settings.prefix, name, record, self._settings.keyring)
            return Parsed(parse(opened))
        except RefusedRecordError as error:
            self._refusals.say(name, str(error))
            return Parsed(None, str(error))

    async def put(self, name: Name, order: int, body: bytes, expires_at: int, latest: int) -> bool:
        """Sign and keep a record; return whether it is kept.

        One that is there is removed first if no relay can have written it, whatever its order:
        `latest` is the highest that a relay may have given. A record that no relay would accept is
        not kept. Raises `FleetError`.
        """
        try:
            record = seal(self._settings.prefix, name, order, body, self._settings.keyring)
        except RefusedRecordError as error:
            self._refusals.say(name, str(error))
            return False
        if await self._access.write(None, lambda e: e.put(name, record, order, expires_at)):
            return True
        read = await self._access.read(None, lambda engine: engine.read([name]))
        there = read.records.get(name)
        if there is not None:  # it may have expired just now
            if self._may_stay(name, there, latest):
                return False
            # Only this one: another relay may have done the same, and put a newer one.
            await self._access.write(None, lambda engine: engine.discard(name, there))
        return await self._access.write(None, lambda e: e.put(name, record, order, expires_at))

    def _may_stay(self, name: Name, record: bytes, latest: int) -> bool:
        """Whether a relay may have written a record, be it with a key or in a form that is new."""
        try:
            open_record(self._settings.prefix, name, record, self._settings.keyring)
        except (ForeignKeyError, OtherFormError):
            pass
        except RefusedRecordError as error:
            self._refusals.say(name, str(error))
            return False
        return (order_of(record) or 0) <= latest


def latest_of(moment: Moment) -> int:
    """The latest order of a record whose order is a time."""
    return moment.store + FUTURE
