"""A shared store in memory: what the real ones must do, with a clock and faults that tests set.

A `MemoryDatabase` is the store, and each `open` connects one more relay to it.
"""

import asyncio
import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import (
    FUTURE,
    LEASE,
    LIMITS,
    Claimed,
    Engine,
    Finding,
    Kind,
    Name,
    Read,
)
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
    SchemaError,
)

START: Final = 1_800_000_000_000_000
"""The time of a new store, in microseconds."""
_HEADER: Final = re.compile(
    rb"mta-sts [1-9][0-9]? (?:-|[0-9a-f]{8}) (0|[1-9][0-9]{0,15}) [^\n ]+\n"
)


class Fault(enum.Enum):
    """What is wrong with the store."""

    NONE = enum.auto()
    HANG = enum.auto()
    """Nothing is answered until there is another fault, or none."""
    REFUSE = enum.auto()
    DENY = enum.auto()
    FAIL = enum.auto()
    NO_SCHEMA = enum.auto()
    GARBAGE = enum.auto()
    """Each record that is read is nonsense."""
    READ_ONLY = enum.auto()
    """Reads work, all else fails, as on the replica of a lost primary."""


_ERRORS: Final[Mapping[Fault, FleetError]] = {
    Fault.REFUSE: NotReachedError("connection refused"),
    Fault.DENY: DeniedError("wrong password"),
    Fault.FAIL: CannotServeError("out of memory"),
    Fault.NO_SCHEMA: SchemaError("no tables; run postfix-mta-sts fleet schema | psql"),
}


class _Entry:
    """A record, until its end."""

    def __init__(self, record: bytes, expires_at: int) -> None:
        self.record = record
        self.expires_at = expires_at


class MemoryDatabase:
    """The store. `now` is its clock; `fault` and `delay` (real seconds) apply to each call."""

    def __init__(self, now: int = START) -> None:
        self.now = now
        self.delay = 0.0
        self.takes = 0.0
        """Seconds by which each call puts the clock forward."""
        self.error = ""
        """What the store says, if each call fails with `NotReachedError`."""
        self.unexpected: Exception | None = None
        """What each call raises, which is no `FleetError`."""
        self.closing_error: Exception | None = None
        self.broken: set[str] = set()
        """The calls that fail with `CannotServeError`."""
        self.calls: list[str] = []
        """The methods that were called, `open` too, whether or not they worked."""
        self.entries: dict[Name, _Entry] = {}
        self.leases: dict[Domain, tuple[str, int]] = {}
        self.asked: dict[Domain, int] = {}
        self.due: dict[Domain, int] = {}
        self.connections = 0
        self.transferred = 0
        """Bytes of the records that were read."""
        self._fault = Fault.NONE
        self._changed = asyncio.Event()

    @property
    def fault(self) -> Fault:
        """What is wrong now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def pass_time(self, seconds: float) -> None:
        """Put the clock forward."""
        self.now += round(seconds * 1e6)

    async def open(self, _settings: object = None) -> Engine:
        """Connect a relay. Raises `FleetError`, as the fault says."""
        await self.obey("open")
        self.connections += 1
        return MemoryEngine(self)

    async def obey(self, call: str) -> None:
        """Do to a call what the fault says."""
        self.calls.append(call)
        await asyncio.sleep(self.delay)
        self.pass_time(self.takes)
        await self.hang()
        if self.unexpected:
            raise self.unexpected
        if call in self.broken:
            raise CannotServeError(f"{call} does not work")
        if self.error:
            raise NotReachedError(self.error)
        if error := _ERRORS.get(self._fault):
            raise type(error)(str(error))
        if self._fault is Fault.READ_ONLY and call not in {"open", "read", "page", "due", "check"}:
            raise CannotServeError("the store is read-only")

    async def hang(self) -> None:
        """Wait, if the fault is to hang, until there is another."""
        while self._fault is Fault.HANG:
            await self._changed.wait()

    def record(self, name: Name) -> bytes | None:
        """A record that has not expired, as it is transferred."""
        entry = self.entries.get(name)
        if entry is None or entry.expires_at <= self.now:
            return None
        if self._fault is Fault.GARBAGE:
            return b"\xff\x00{}\r\n$-1\r\n" * 3
        return entry.record[: LIMITS[name.kind] + 1]

    def damage(self, name: Name, record: bytes, expires_in: float = 3600.0) -> None:
        """Put any bytes in the place of a record, as somebody with access to the store can."""
        self.entries[name] = _Entry(record, self.now + round(expires_in * 1e6))


class MemoryEngine:
    """The connection of one relay; see `Engine`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def read(self, names: Sequence[Name], limit: int | None = None) -> Read:
        """See `Engine`."""
        await self._database.obey("read")
        found = {name: self._database.record(name) for name in names}
        records = {name: each[:limit] for name, each in found.items() if each is not None}
        self._database.transferred += sum(map(len, records.values()))
        return Read(self._database.now, records)

    async def put(self, name: Name, record: bytes, order: int, expires_at: int) -> bool:
        """See `Engine`."""
        await self._database.obey("put")
        if (there := self._order(name)) is not None and there >= order:
            return False
        self._database.entries[name] = _Entry(record, expires_at)
        return True

    def _order(self, name: Name) -> int | None:
        """The order of a record that counts."""
        entry = self._database.entries.get(name)
        if entry is None or entry.expires_at <= self._database.now:
            return None
        header = _HEADER.match(entry.record)
        order = int(header[1]) if header else None
        if order is None or order >= 2**53:
            return None
        is_ahead = name.kind is Kind.POLICY and order > self._database.now + FUTURE
        return None if is_ahead else order

    async def remove(self, names: Sequence[Name]) -> int:
        """See `Engine`."""
        await self._database.obey("remove")
        there = {name for name in names if self._database.record(name) is not None}
        for name in names:
            self._database.entries.pop(name, None)
        return len(there)

    async def discard(self, name: Name, record: bytes) -> None:
        """See `Engine`."""
        await self._database.obey("discard")
        if self._database.record(name) == record:
            del self._database.entries[name]

    async def page(self, kind: Kind, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """See `Engine`."""
        await self._database.obey("page")
        names = sorted((n for n in self._database.entries if n.kind is kind), key=lambda n: n.key)
        found = ((n.key, self._database.record(n)) for n in names if n.key > after)
        return [(key, record) for key, record in found if record is not None][:limit]

    async def claim(self, domain: Domain, token: str) -> Claimed:
        """See `Engine`."""
        await self._database.obey("claim")
        now = self._database.now
        holder = self._holder(domain)
        if is_held := holder in {None, token}:
            self._database.leases[domain] = token, now + LEASE
        return Claimed(now, is_held, self._database.record(Name(Kind.POLICY, domain)))

    async def renew(self, domain: Domain, token: str) -> bool:
        """See `Engine`."""
        await self._database.obey("renew")
        if is_held := self._holder(domain) == token:
            self._database.leases[domain] = token, self._database.now + LEASE
        return is_held

    async def release(self, domain: Domain, token: str) -> None:
        """See `Engine`."""
        await self._database.obey("release")
        if self._holder(domain) == token:
            del self._database.leases[domain]

    def _holder(self, domain: Domain) -> str | None:
        token, until = self._database.leases.get(domain, ("", 0))
        now = self._database.now
        return token if now < until <= now + LEASE else None

    async def note_uses(self, asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> None:
        """See `Engine`."""
        await self._database.obey("note_uses")
        for domain, at in asked.items():
            self._database.asked[domain] = max(at, self._database.asked.get(domain, at))
        self._database.due.update(due)

    async def due(self, asked_since: int, limit: int) -> Sequence[Domain]:
        """See `Engine`."""
        await self._database.obey("due")
        overdue = [d for d, at in self._database.due.items() if at <= self._database.now]
        for domain in self._idle(overdue, asked_since):
            del self._database.due[domain]
        left = [domain for domain in overdue if domain in self._database.due]
        return sorted(left, key=lambda domain: self._database.due[domain])[:limit]

    def _idle(self, domains: Iterable[Domain], asked_since: int) -> list[Domain]:
        asked = self._database.asked
        return [d for d in domains if d not in asked or asked[d] < asked_since]

    async def check(self) -> Sequence[Finding]:
        """See `Engine`."""
        await self._database.obey("check")
        return [Finding("server", is_well=True, found="in memory")]

    async def close(self) -> None:
        """See `Engine`."""
        self._database.connections -= 1
        if self._database.closing_error:
            raise self._database.closing_error
        await self._database.hang()
