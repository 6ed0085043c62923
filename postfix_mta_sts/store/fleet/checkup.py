"""Do once what a relay does with the shared store, and say of each step what ends its trouble.

For `fleet check`, in a process of its own. It writes one record and takes one lease, under names
that no relay reads, and removes both. To try the rights, the engine writes, too, and takes it back:
a transaction that is rolled back, or keys of its own. Everything else it only reads.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from statistics import median
from typing import Final

from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.engine import DOCUMENT, SECOND, Engine, Finding, Kind, Name
from postfix_mta_sts.store.fleet.envelope import open_record, seal
from postfix_mta_sts.store.fleet.errors import (
    CHECK_NAMES_THEM,
    DeniedError,
    FleetError,
    ForeignKeyError,
    NotReachedError,
    OtherFormError,
    RefusedRecordError,
)
from postfix_mta_sts.store.fleet.mending import mend_of
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.store.fleet.unexpected import failing_as_store
from postfix_mta_sts.values import Value

STEP: Final = 5.0
"""Seconds that each step may take."""
READS: Final = 20
"""Whose times are compared, if the store is not very slow."""
CLOCK_TOLERANCE: Final = 60.0
"""Seconds; as far may the time of a fetch be in the future (`engine.FUTURE`)."""
RECORDS_LIMIT: Final = 2_000
"""Records of a kind that are looked at; those that follow are most likely like these."""
_PAGE: Final = 200
_PROBE_LIFE: Final = 60 * SECOND
"""Microseconds after which the store removes a probe that could not be removed."""
_REASONS_SHOWN: Final = 3
_TEXT_LIMIT: Final = 300
_NAME_LIMIT: Final = 80

_OTHERS_WRITE: Final = (
    "give all relays the same fleet.key_file; what a relay said of itself that is gone stays for a "
    "week; if none has another key, somebody else writes here: change the password of the store"
)
_NO_KEY: Final = (
    "give this relay that key; if no relay has it any more, run: postfix-mta-sts fleet purge "
    "--exceptions; each relay gives those that it has to the store again"
)
_NEWER: Final = "upgrade postfix-mta-sts on this relay; until then it works without these"


class Checkup(Value, frozen=True):
    """What was found."""

    findings: tuple[Finding, ...]
    is_usable: bool
    """Whether a relay can share by this store: it writes, reads and removes a signed record."""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to mend."""
        return self.is_usable and all(each.is_well for each in self.findings)


class _Steps:
    """The steps, once there is a connection."""

    def __init__(
        self,
        engine: Engine,
        settings: SharedStoreSettings,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._own = Name(Kind.RELAY, settings.name)

    async def connection(self) -> Sequence[Finding]:
        """Read a record for the first time; if that is denied, ask the engine which right lacks."""
        try:
            await self._engine.read([self._own])
        except DeniedError as error:
            denied = _trouble(self._settings.location, "connection", error)
            return [denied, *await self._missing_rights()]
        return [Finding("connection", is_well=True, found=self._settings.location.shown)]

    async def _missing_rights(self) -> Sequence[Finding]:
        with suppress(FleetError):
            return [each for each in await self._engine.check() if not each.is_well]
        return []

    async def engine(self) -> Sequence[Finding]:
        """Ask the engine, which knows its database."""
        return await self._engine.check()

    async def latency(self) -> Sequence[Finding]:
        """Time some reads."""
        times = list[float]()
        while len(times) < READS and sum(times) < STEP / 2:
            start = self._monotonic()
            await self._engine.read([self._own])
            times.append(self._monotonic() - start)
        middle = median(times)
        is_well = middle <= self._settings.budget / 2
        mend = "put the store nearer to the relays, or raise fleet.budget"
        found = f"{_ms(min(times))} at best, {_ms(middle)} at the median of {len(times)} reads"
        return [Finding("latency", is_well, found, "" if is_well else mend)]

    async def clock(self) -> Sequence[Finding]:
        """Compare the clock of the store with that of this machine."""
        before = self._clock()
        read = await self._engine.read([self._own])
        ahead = read.now / SECOND - (before + self._clock()) / 2
        is_well = abs(ahead) <= CLOCK_TOLERANCE
        mend = "have both set by NTP: exceptions end, and certificates expire, by the own clock"
        side = "ahead of" if ahead > 0 else "behind"
        found = f"that of the store is {abs(ahead):.1f} s {side} this machine"
        return [Finding("clock", is_well, found, "" if is_well else mend)]

    async def probe(self) -> Sequence[Finding]:
        """Write, read and remove a signed record."""
        name = Name(Kind.POLICY, f"probe-{token_hex(8)}.invalid")
        body, order = token_hex(16).encode(), (await self._engine.read([name])).now
        record = seal(self._settings.prefix, name, order, body, self._settings.keyring)
        await self._engine.put(name, record, order, order + _PROBE_LIFE)
        try:
            found = (await self._engine.read([name])).records.get(name)
        finally:
            removed = await self._engine.remove([name])
        is_well = removed == 1 and found is not None and self._reads(name, found) == body
        mend = "does something between this machine and the store change or drop what is written"
        said = "written, read and removed" if is_well else "not there, or changed, when it was read"
        return [Finding("signed record", is_well, said, "" if is_well else mend)]

    def _reads(self, name: Name, record: bytes) -> bytes | None:
        try:
            return open_record(self._settings.prefix, name, record, self._settings.keyring).body
        except RefusedRecordError:
            return None

    async def lease(self) -> Sequence[Finding]:
        """Take, renew and give back the lease of a domain that is none."""
        domain, token = Domain(f"probe-{token_hex(8)}.invalid"), token_hex(16)
        claimed = await self._engine.claim(domain, token)
        is_renewed = await self._engine.renew(domain, token)
        await self._engine.release(domain, token)
        again = await self._engine.claim(domain, f"{token}2")
        await self._engine.release(domain, f"{token}2")
        is_well = claimed.is_held and is_renewed and again.is_held
        mend = "without leases, several relays fetch the same policy; see the log of the store"
        said = "taken, renewed and given back" if is_well else "not given, or not given back"
        return [Finding("lease", is_well, said, "" if is_well else mend)]

    async def records(self) -> Sequence[Finding]:
        """Look at the records of other relays."""
        seen = _Seen(self._settings)
        for kind in (Kind.RELAY, Kind.CHECK):
            await self._page(kind, seen)
        for name, record in (await self._engine.read([DOCUMENT])).records.items():
            seen.add(name, record)
        return seen.findings()

    async def _page(self, kind: Kind, seen: "_Seen") -> None:
        after = ""
        for _ in range(RECORDS_LIMIT // _PAGE):
            page = await self._engine.page(kind, after, _PAGE)
            if not page:
                return
            for key, record in page:
                seen.add(Name(kind, key), record)
            after = page[-1][0]


class _Seen:
    """Counts records, and why some are refused."""

    def __init__(self, settings: SharedStoreSettings) -> None:
        self._settings = settings
        self._kinds = Counter[Kind]()
        self._keys = Counter[str]()
        self._refused = Counter[str]()
        self._examples = dict[str, Name]()
        self._newer = 0
        self._locked = list[Finding]()
        """Why this relay can neither read nor replace the exceptions."""

    def add(self, name: Name, record: bytes) -> None:
        """Count a record."""
        self._kinds[name.kind] += 1
        try:
            opened = open_record(self._settings.prefix, name, record, self._settings.keyring)
        except RefusedRecordError as error:
            reason = printable(str(error), _TEXT_LIMIT)
            self._newer += isinstance(error, OtherFormError)
            if name == DOCUMENT and isinstance(error, ForeignKeyError):
                found = f"this relay shares none: the document is refused: {reason}"
                self._locked = [Finding("exceptions", is_well=False, found=found, mend=_NO_KEY)]
            self._refused[reason] += 1
            self._examples.setdefault(reason, name)
        else:
            self._keys[opened.key_id] += 1

    def findings(self) -> Sequence[Finding]:
        """Say what was seen."""
        kinds = self._kinds
        total = f"{kinds[Kind.RELAY]} of relays, {kinds[Kind.CHECK]} of checks, "
        total += "exceptions" if kinds[Kind.EXCEPTIONS] else "no exceptions"
        by_key = "".join(f", {number} by key {key}" for key, number in self._keys.most_common())
        whole = by_key if len(self._keys) > 1 else ""
        if not self._refused:
            return [Finding("records", is_well=True, found=f"{total}; none is refused{whole}")]
        reasons = self._refused.most_common(_REASONS_SHOWN)
        listed = "; ".join(
            f"{reason} ({self._which(reason, number)})" for reason, number in reasons
        )
        found = f"{total}; {self._refused.total()} of them refused: {listed}"
        mend = _NEWER if self._newer == self._refused.total() else _OTHERS_WRITE
        return [Finding("records", is_well=False, found=found, mend=mend), *self._locked]

    def _which(self, reason: str, number: int) -> str:
        name = self._examples[reason]
        which = f"{name.kind.value} {printable(name.key, _NAME_LIMIT)}"
        return which if number == 1 else f"{number}, such as {which}"


async def examine(
    opened: Callable[[], Awaitable[Engine]],
    settings: SharedStoreSettings,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Checkup:
    """Open the store, try everything that a relay needs of it, and close it.

    `clock`: seconds since the epoch. No step takes longer than `STEP`, and none raises an error.
    """
    keys = _signing(settings)
    step = partial(_step, settings.location)
    try:
        with failing_as_store():
            async with asyncio.timeout(STEP):
                engine = await opened()
    except (FleetError, TimeoutError) as error:
        return Checkup((keys, _trouble(settings.location, "connection", error)), is_usable=False)
    try:
        steps = _Steps(engine, settings, clock, monotonic)
        found = await step("connection", steps.connection)
        if not found[0].is_well:
            return Checkup((keys, *found), is_usable=False)
        found += await step("rights", steps.engine)
        found += await step("latency", steps.latency)
        found += await step("clock", steps.clock)
        used = [*await step("signed record", steps.probe), *await step("lease", steps.lease)]
        found += [*used, *await step("records", steps.records)]
    finally:
        with suppress(FleetError, TimeoutError), failing_as_store():
            async with asyncio.timeout(STEP):
                await engine.close()
    return Checkup((keys, *found), is_usable=all(each.is_well for each in used))


async def _step(
    location: StoreLocation, what: str, step: Callable[[], Awaitable[Iterable[Finding]]]
) -> list[Finding]:
    try:
        with failing_as_store():
            async with asyncio.timeout(STEP):
                return [*await step()]
    except (FleetError, TimeoutError) as error:
        return [_trouble(location, what, error)]


def _trouble(location: StoreLocation, what: str, error: FleetError | TimeoutError) -> Finding:
    if isinstance(error, TimeoutError):
        error = NotReachedError(f"no answer within {STEP:g} s")
    said = printable(str(error).removesuffix(CHECK_NAMES_THEM), _TEXT_LIMIT)
    return Finding(what, is_well=False, found=said, mend=mend_of(error, location))


def _signing(settings: SharedStoreSettings) -> Finding:
    """Say which keys there are; a configuration with none is only accepted on loopback."""
    if settings.keyring is None:
        return Finding("keys", is_well=True, found="none: fleet.unsigned is true, on loopback")
    first, *others = settings.keyring.keys
    verifies = f"; {others[0]} verifies, too" if others else ""
    return Finding("keys", is_well=True, found=f"{first} signs{verifies}")


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
