"""`fleet check` with a store in memory: each fault has its line, and what mends it."""

import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet import checkup
from postfix_mta_sts.store.fleet.checkup import Checkup, examine
from postfix_mta_sts.store.fleet.engine import DOCUMENT, Engine, Finding, Kind, Name, Read
from postfix_mta_sts.store.fleet.envelope import seal
from postfix_mta_sts.store.fleet.errors import CHECK_NAMES_THEM, DeniedError
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.support.fleet_engine import START, Fault, MemoryDatabase, MemoryEngine

OURS = Keyring({"11111111": b"a" * 32})
BOTH = Keyring({"11111111": b"a" * 32, "22222222": b"b" * 32})
LOCATION = StoreLocation(
    engine=EngineName.REDIS,
    addresses=(TcpAddress("127.0.0.1", 6379),),
    database="0",
    password="very secret",  # noqa: S106 (of no store)
    shown="valkey://:...@127.0.0.1:6379/0",
)
NOW = START / 1e6


def settings(keyring: Keyring | None = OURS) -> SharedStoreSettings:
    """The settings of a relay."""
    return SharedStoreSettings(
        location=LOCATION,
        name="mx1",
        prefix="mta_sts",
        budget=0.25,
        keyring=keyring,
        authorities=None,
    )


async def examined(
    database: MemoryDatabase,
    keyring: Keyring | None = OURS,
    now: float = NOW,
    step: float = 0.001,
    opened: Callable[[], Awaitable[Engine]] | None = None,
) -> Checkup:
    """What is found, if each look at the clock is `step` seconds after the one before."""
    ticks = (step * number for number in itertools.count())
    return await examine(
        opened or database.open, settings(keyring), lambda: now, lambda: next(ticks)
    )


def line(found: Checkup, what: str) -> tuple[bool, str, str]:
    """The one finding about something: whether it is well, what was found, and what mends it."""
    (finding,) = (each for each in found.findings if each.what == what)
    return finding.is_well, finding.found, finding.mend


async def test_well() -> None:
    """All is well, nothing is left behind, and no line has a password."""
    database = MemoryDatabase()
    found = await examined(database)
    assert found.is_well
    assert [each.what for each in found.findings] == [
        "keys",
        "connection",
        "server",
        "latency",
        "clock",
        "signed record",
        "lease",
        "records",
    ]
    assert line(found, "keys") == (True, "11111111 signs", "")
    assert line(found, "latency")[1] == "1.0 ms at best, 1.0 ms at the median of 20 reads"
    assert not [each for each in found.findings if each.mend or "secret" in each.found]
    assert (database.entries, database.leases, database.asked) == ({}, {}, {})
    assert database.connections == 0


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (Fault.REFUSE, "firewall between, is the port for TLS alone (rediss://)"),
        (Fault.DENY, "docs/fleet.md"),
        (Fault.FAIL, "log of the store"),
        (Fault.NO_SCHEMA, "fleet schema --role mta_sts | psql 0"),
    ],
)
async def test_faults(fault: Fault, part: str) -> None:
    """A store that cannot be used has one line with the reason and what to do; the rest is left."""
    database = MemoryDatabase()
    database.fault = fault
    found = await examined(database)
    assert not found.is_usable
    assert [each.what for each in found.findings] == ["keys", "connection"]
    is_well, reason, mend = line(found, "connection")
    assert not is_well
    assert reason
    assert part in mend


async def test_unexpected_errors() -> None:
    """A fault that nobody has thought of is a line like any other, and no traceback."""
    database = MemoryDatabase()
    database.unexpected = BufferError("very secret")
    found = await examined(database)
    assert [each.what for each in found.findings] == ["keys", "connection"]
    is_well, reason, mend = line(found, "connection")
    assert (is_well, mend) == (False, "report it, with the version of the store")
    assert reason.startswith("unexpected BufferError in fleet_engine.py, line ")

    class Fragile(MemoryEngine):
        async def check(self) -> Sequence[Finding]:
            raise AssertionError

        async def close(self) -> None:
            raise BufferError

    async def opened() -> Engine:
        return Fragile(MemoryDatabase())

    found = await examined(MemoryDatabase(), opened=opened)
    assert found.is_usable
    assert line(found, "rights")[1].startswith("unexpected AssertionError in test_checkup.py")


async def test_no_right_to_read() -> None:
    """If a right is missing without which nothing can be read, the engine names it."""
    missing = Finding("rights", is_well=False, found="none to run time", mend="ACL SETUSER u +time")
    well = Finding("writes", is_well=True, found="taken")

    class Denied(MemoryEngine):
        async def read(self, names: Sequence[Name], limit: int | None = None) -> Read:
            assert (names, limit) == ([Name(Kind.RELAY, "mx1")], None)
            error = f"a:1: too few rights{CHECK_NAMES_THEM}"
            raise DeniedError(error, "see the ACL line")

        async def check(self) -> Sequence[Finding]:
            return [missing, well]

    async def opened() -> Engine:
        return Denied(MemoryDatabase())

    found = await examined(MemoryDatabase(), opened=opened)
    assert line(found, "connection") == (False, "a:1: too few rights", "see the ACL line")
    assert found.findings[2:] == (missing,)


async def test_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs ends the check after the time of one step."""
    monkeypatch.setattr(checkup, "STEP", 0.01)
    database = MemoryDatabase()
    database.fault = Fault.HANG
    found = await examined(database)
    assert line(found, "connection")[1] == "no answer within 0.01 s"


async def test_read_only() -> None:
    """A store that can only be read cannot be used; it is read all the same."""
    database = MemoryDatabase()
    database.fault = Fault.READ_ONLY
    found = await examined(database)
    assert not found.is_usable
    assert line(found, "signed record")[:2] == (False, "the store is read-only")
    assert not line(found, "lease")[0]
    assert line(found, "records")[0]


async def test_garbage() -> None:
    """A store that returns something else than what was written cannot be used."""
    database = MemoryDatabase()
    database.fault = Fault.GARBAGE
    found = await examined(database)
    assert not found.is_usable
    assert "changed" in line(found, "signed record")[1]


async def test_slow() -> None:
    """A store that takes half of the budget for one read can be used, and is to be mended."""
    found = await examined(MemoryDatabase(), step=0.2)
    assert (found.is_usable, found.is_well) == (True, False)
    assert line(found, "latency")[1] == "200.0 ms at best, 200.0 ms at the median of 13 reads"
    assert "fleet.budget" in line(found, "latency")[2]


@pytest.mark.parametrize(
    ("ahead", "is_well", "said"),
    [
        (59, True, "59.0 s ahead of this machine"),
        (-59, True, "59.0 s behind this machine"),
        (3600, False, "3600.0 s ahead of this machine"),
    ],
)
async def test_clock(ahead: float, *, is_well: bool, said: str) -> None:
    """The clock of the store is compared with that of this machine."""
    found = await examined(MemoryDatabase(), now=NOW - ahead)
    assert line(found, "clock")[:2] == (is_well, f"that of the store is {said}")
    assert found.is_usable


async def put(database: MemoryDatabase, name: Name, keyring: Keyring | None) -> None:
    """Another relay writes a record."""
    record = seal("mta_sts", name, database.now, b"body", keyring)
    await (await database.open()).put(name, record, database.now, database.now + 10**9)


async def test_records() -> None:
    """The records of others are counted; those of both keys, one by one, during a rotation."""
    database = MemoryDatabase()
    await put(database, Name(Kind.RELAY, "mx1"), OURS)
    await put(database, Name(Kind.RELAY, "mx2"), Keyring({"22222222": b"b" * 32}))
    await put(database, Name(Kind.CHECK, "example.com"), OURS)
    await put(database, DOCUMENT, OURS)
    found = await examined(database, BOTH)
    assert found.is_well
    assert line(found, "keys")[1] == "11111111 signs; 22222222 verifies, too"
    expected = "2 of relays, 1 of checks, exceptions; none is refused"
    assert line(found, "records")[1].startswith(expected)
    assert line(found, "records")[1].endswith("3 by key 11111111, 1 by key 22222222")


async def test_foreign_records() -> None:
    """Records of another key, unsigned ones and hostile ones are named; the store can be used."""
    database = MemoryDatabase()
    await put(database, Name(Kind.RELAY, "mx2"), Keyring({"33333333": b"c" * 32}))
    await put(database, Name(Kind.RELAY, "mx3"), None)
    database.damage(Name(Kind.CHECK, "\x1b[2Jexample.com"), b"\x1b[2J\n" * 100)
    found = await examined(database)
    assert (found.is_usable, found.is_well) == (True, False)
    _, said, mend = line(found, "records")
    assert "3 of them refused" in said
    assert "33333333" in said
    assert "not signed (relay mx3)" in said
    assert said.isprintable()
    assert said.isascii()
    assert "fleet.key_file" in mend


async def test_exceptions_with_a_key_that_is_gone() -> None:
    """No relay replaces what may have a newer key: the check names the way out."""
    database = MemoryDatabase()
    await put(database, DOCUMENT, Keyring({"33333333": b"c" * 32}))
    found = await examined(database)
    is_well, said, mend = line(found, "exceptions")
    assert not is_well
    assert "signed with key 33333333" in said
    assert "run: postfix-mta-sts fleet purge --exceptions;" in mend
    database.damage(DOCUMENT, b"garbage")  # a relay replaces it
    found = await examined(database)
    assert [each.what for each in found.findings if not each.is_well] == ["records"]


async def test_records_of_a_newer_version() -> None:
    """If those of newer relays are all that is refused, this one is to be upgraded."""
    database = MemoryDatabase()
    newer = Name(Kind.RELAY, "mx2")
    await put(database, newer, OURS)
    database.damage(newer, database.entries[newer].record.replace(b" 1 ", b" 2 ", 1))
    _, said, mend = line(await examined(database), "records")
    assert "its form is number 2" in said
    assert mend.startswith("upgrade postfix-mta-sts")
    await put(database, Name(Kind.RELAY, "mx3"), None)
    assert "fleet.key_file" in line(await examined(database), "records")[2]


async def test_unsigned() -> None:
    """A fleet on loopback may be without keys; a signed record is foreign there."""
    database = MemoryDatabase()
    assert line(await examined(database, None), "keys")[1].startswith("none")
    await put(database, Name(Kind.RELAY, "mx2"), OURS)
    assert not line(await examined(database, None), "records")[0]


async def test_many_records() -> None:
    """A store with more records than are looked at ends the check all the same."""
    database = MemoryDatabase()
    for number in range(checkup.RECORDS_LIMIT + 1):
        database.damage(Name(Kind.CHECK, f"{number}.example"), b"")
    found = await examined(database)
    assert f"{checkup.RECORDS_LIMIT} of them refused" in line(found, "records")[1]


async def test_the_lease_is_taken() -> None:
    """A store that gives no lease cannot be used."""

    class Unwilling(MemoryEngine):
        """It renews no lease."""

        async def renew(self, domain: Domain, token: str) -> bool:
            await super().renew(domain, token)
            return False

    async def opened() -> Engine:
        return Unwilling(database)

    database = MemoryDatabase()
    found = await examined(database, opened=opened)
    assert not found.is_usable
    assert line(found, "lease")[1] == "not given, or not given back"
