"""What can be done to the document of exceptions with access to the shared store.

Keepers ask by the client that the network process has; the store is in memory.
"""

from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from postfix_mta_sts.mtasts.policy import MxPattern
from postfix_mta_sts.store.fleet.bodies import document_body
from postfix_mta_sts.store.fleet.engine import DOCUMENT
from postfix_mta_sts.store.fleet.envelope import seal
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    ReadExceptions,
    RelayReport,
    Request,
)
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT
from postfix_mta_sts.values import replace
from tests.support.exceptions import exception
from tests.support.fleet_clients import KEYS, OTHER_KEYS, SETTINGS, Fleet, Relay, fleet
from tests.support.fleet_engine import Fault
from tests.support.fleets import Ask, Member

OURS = exception("ours.test", relay="mx1")
THEIRS = exception("theirs.test", use=Use.MAY, relay="mx2")
FORGED = exception("forged.test", use=Use.MAY)


class Relays:
    """Two relays, whose store is in the hands of somebody else."""

    def __init__(self, store: Fleet) -> None:
        self.store = store
        self.one, self.other = Member(self, "mx1"), Member(self, "mx2")

    def ask_as(self, name: str) -> Ask:
        """Join as a relay, for `Member`."""
        return self.store.join(name).ask

    async def start(self) -> None:
        """Let both have an exception of each."""
        await self.one.keeper.start({})
        await self.other.keeper.start({})
        await self.one.keeper.add(OURS)
        await self.other.keeper.add(THEIRS)
        await self.share()

    async def share(self) -> None:
        """Let both look at the store."""
        for each in (self.one, self.other, self.one, self.other):
            await each.keeper.share()

    def in_force(self) -> Sequence[Sequence[str]]:
        """What each relay has."""
        return [self.one.scopes, self.other.scopes]

    @property
    def document(self) -> bytes:
        """The record in the store."""
        found = self.store.database.record(DOCUMENT)
        assert found
        return found

    def put(self, record: bytes) -> None:
        """Put a record there."""
        self.store.database.damage(DOCUMENT, record)


BOTH = [["ours.test", "theirs.test"]] * 2


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    """Relays that agree."""
    async with fleet() as store:
        made = Relays(store)
        await made.start()
        assert made.in_force() == BOTH
        yield made


def signed(
    version: int, *exceptions: PolicyException, keys: Keyring | None = KEYS, prefix: str = "mta_sts"
) -> bytes:
    """A document."""
    return seal(prefix, DOCUMENT, version, document_body(exceptions, "mx9"), keys)


HEADER = b"mta-sts 1 0a0b0c0d %d " + b"0" * 64 + b"\n"
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "bytes": lambda: b"\x00\xff" * 1_000,
    "header alone": lambda: HEADER % 9,
    "highest number": lambda: HEADER % (2**53 - 1),
    "number beyond": lambda: HEADER % 2**53,
    "number of an attacker": lambda: HEADER % 3 + b"{}",
    "too long": lambda: HEADER % 9 + b"x" * 2**21,
    "unsigned": lambda: signed(9, FORGED, keys=None),
    "other prefix": lambda: signed(9, FORGED, prefix="theirs"),
    "changed": lambda: signed(9, FORGED).replace(b"forged", b"target"),
    "highest number, unsigned": lambda: signed(2**53 - 1, FORGED, keys=None),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_record(relays: Relays, name: str) -> None:
    """Nothing of it is used; the relays write their document again, and go on sharing."""
    before = relays.document
    relays.put(HOSTILE[name]())
    await relays.share()
    assert relays.in_force() == BOTH
    assert relays.document == before or b"ours.test" in relays.document
    await relays.one.keeper.remove(OURS.scope)
    await relays.share()
    assert relays.in_force() == [["theirs.test"]] * 2
    assert relays.one.keeper.unshared == relays.other.keeper.unshared == ""


@pytest.mark.parametrize("version", [1, 3, 900])
async def test_record_of_another_key(relays: Relays, version: int) -> None:
    """It stays, as it may be that of a relay with a newer key; nothing of it is used."""
    relays.put(signed(version, FORGED, keys=OTHER_KEYS))
    await relays.share()
    assert relays.in_force() == BOTH


async def test_old_document_put_back(relays: Relays) -> None:
    """An old, validly signed document brings back nothing that was removed."""
    old = relays.document
    await relays.one.keeper.remove(THEIRS.scope)
    await relays.share()
    for _ in range(3):
        relays.put(old)
        await relays.share()
        assert relays.in_force() == [["ours.test"]] * 2
    assert b"theirs.test" not in relays.document


async def test_old_document_under_a_restart(relays: Relays) -> None:
    """Also while a relay is restarted, and the other one does not see it."""
    old = relays.document
    await relays.one.keeper.remove(THEIRS.scope)
    relays.put(old)
    relays.one.restart()
    await relays.one.keeper.start({})
    assert relays.one.scopes == ["ours.test"]


async def test_old_document_between_read_and_write(relays: Relays) -> None:
    """A command that writes while the document is put back loses to nothing that was removed."""
    old = relays.document
    await relays.one.keeper.remove(THEIRS.scope)
    relays.put(old)
    await relays.one.keeper.add(exception("new.test"))
    await relays.share()
    assert relays.in_force() == [["new.test", "ours.test"]] * 2


async def test_emptied(relays: Relays) -> None:
    """A store that was emptied has the document again at the next look."""
    before = relays.document
    relays.store.database.entries.clear()
    await relays.share()
    assert relays.in_force() == BOTH
    assert relays.document == before or b"ours.test" in relays.document


@pytest.mark.parametrize(
    "forged",
    [
        exception(added_at=None),
        replace(FORGED, relay="mx1\nforged line"),
        replace(FORGED, reason="\x1b[2J"),
        replace(FORGED, until=1e300),
        replace(FORGED, scope=Scope("hostname")),
        replace(FORGED, scope=Scope("{all}")),
        replace(FORGED, use=Use.PIN),
        replace(FORGED, use=Use.PIN, mx=(MxPattern("hostname"),)),
        replace(FORGED, use=Use.PIN, mx=(MxPattern("a:b"),)),
    ],
)
async def test_with_the_key(relays: Relays, forged: PolicyException) -> None:
    """Even a document with a good signature is refused if no command can have made it."""
    relays.put(signed(9, OURS, forged))
    await relays.share()
    assert relays.in_force() == BOTH


@pytest.mark.parametrize("fault", [f for f in Fault if f not in {Fault.NONE, Fault.HANG}])
async def test_fault(relays: Relays, fault: Fault) -> None:
    """Commands work here at once, whatever is wrong; the others follow when it is over."""
    relays.store.database.fault = fault
    await relays.one.keeper.remove(THEIRS.scope)
    await relays.one.keeper.add(exception("new.test"))
    assert relays.one.scopes == ["new.test", "ours.test"]
    assert relays.one.keeper.unshared or fault is Fault.GARBAGE  # there, writes work
    await relays.share()
    relays.store.database.fault = Fault.NONE
    await relays.store.time.advance(120)
    await relays.share()
    assert relays.in_force() == [["new.test", "ours.test"]] * 2
    assert relays.one.keeper.unshared == relays.other.keeper.unshared == ""


async def test_key_that_was_stolen(relays: Relays) -> None:
    """All get another key: after the old document was removed they share again, and lose none."""
    new = replace(SETTINGS, keyring=OTHER_KEYS).fleet
    with_new = NewKey(relays.store)
    for each in (relays.one, relays.other):
        each.join(with_new, *new)
    await relays.share()
    assert "see postfix-mta-sts fleet check" in (relays.one.keeper.unshared or "")
    await (await relays.store.database.open()).remove([DOCUMENT])  # fleet purge --exceptions
    await relays.one.keeper.add(exception("new.test"))
    await relays.share()
    assert relays.in_force() == [["new.test", "ours.test", "theirs.test"]] * 2
    assert relays.one.keeper.unshared == relays.other.keeper.unshared == ""
    await relays.other.keeper.remove(OURS.scope)
    await relays.share()
    assert relays.in_force() == [["new.test", "theirs.test"]] * 2


class NewKey:
    """Relays that have the new key alone, for `Member`."""

    def __init__(self, store: Fleet) -> None:
        self._store = store

    def ask_as(self, name: str) -> Ask:
        """Join as a relay."""
        return self._store.join(name, keys=OTHER_KEYS).ask


class Reloaded:
    """The network process of a relay that is put from one fleet into another."""

    def __init__(self, *fleets: Relay) -> None:
        self.fleets = list(fleets)
        self.leaves_after: type[Request] | None = None
        """A request after which the relay is in the next fleet."""

    def ask_as(self, _: str) -> Ask:
        """Join as the relay, for `Member`."""
        return self._ask

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        answer = await self.fleets[0].ask(request)
        if self.leaves_after and isinstance(request, self.leaves_after):
            self.fleets.pop(0)
            self.leaves_after = None
        return answer


@pytest.mark.parametrize("version", [3, 80])
@pytest.mark.parametrize("leaves_after", [Announce, ReadExceptions])
async def test_reload_into_another_fleet(version: int, leaves_after: type[Request]) -> None:
    """Until the keeper knows the new fleet it neither changes its exceptions nor takes any."""
    async with fleet() as before, fleet() as after:
        theirs = signed(version, THEIRS, keys=OTHER_KEYS)
        after.database.damage(DOCUMENT, theirs)
        process = Reloaded(before.join(), after.join(keys=OTHER_KEYS))
        member = Member(process, "mx1")
        await member.keeper.start({})
        await member.keeper.add(OURS)
        before.database.damage(DOCUMENT, signed(50, OURS))
        await member.keeper.share()
        process.leaves_after = leaves_after
        await process.ask_as("mx1")(Announce(RelayReport("1", 0, 0, 0)))
        before.database.damage(DOCUMENT, signed(49))  # would be written again
        for _ in range(2):
            await member.keeper.share()
            assert len(process.fleets) == 1
            assert member.scopes == ["ours.test"]
            assert after.database.record(DOCUMENT) == theirs
        assert member.keeper.unshared == "a reload has put this relay into another fleet"
        member.join(process, *replace(SETTINGS, keyring=OTHER_KEYS).fleet)
        await member.keeper.share()
        assert member.scopes == ["ours.test", "theirs.test"]


async def test_more_than_fits() -> None:
    """More bytes than a document may have are in force here, and the reason is said."""
    async with fleet() as store:
        relays = Relays(store)
        await relays.one.keeper.start({})
        mx = tuple(f"{'x' * 60}.{'y' * 60}.{'z' * 60}.mx{n}.test" for n in range(20))
        pins = [exception(f"d{n}.test", use=Use.PIN, mx=mx) for n in range(EXCEPTIONS_LIMIT)]
        relays.store.database.fault = Fault.REFUSE
        for each in pins:
            await relays.one.keeper.add(each)
        relays.store.database.fault = Fault.NONE
        await relays.store.time.advance(120)
        await relays.one.keeper.share()
        assert len(relays.one.scopes) == EXCEPTIONS_LIMIT
        assert "cannot be replaced" in (relays.one.keeper.unshared or "")
