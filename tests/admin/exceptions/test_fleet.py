"""The exceptions of a fleet: what several keepers with one shared store do, and what they say."""

import asyncio
import logging

import pytest

from postfix_mta_sts.admin.exceptions.document import TRIES, Membership, SharedDocument
from postfix_mta_sts.admin.exceptions.operations import ExceptionOperations
from postfix_mta_sts.admin.exceptions.upkeep import KEPT
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.fleet.requests import AnyAnswer, AnyRequest, Done, WriteExceptions
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT
from postfix_mta_sts.values import replace
from tests.support.exceptions import DAY, HOUR, exception
from tests.support.fleets import AWAY, KEY, Fleet, Member, started
from tests.support.surroundings import GOOD, START


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines since the last call, without what all have."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return [line.replace(' reason="ticket 4711"', "") for line in lines]


async def test_add_on_one(caplog: pytest.LogCaptureFixture) -> None:
    """What is added on one relay is in force on the others at their next poll; each log says so."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    added = exception(relay="mx1", uid=7, lasts=HOUR)
    await first.keeper.add(added)
    assert (first.keeper.unshared, first.scopes, fleet.exceptions) == (
        "",
        ["good.test"],
        {added.scope: added},
    )
    assert said(caplog) == [
        "good.test: exception added use=ignore until=2026-09-21T15:13:20Z uid=7 relay=mx1"
    ]
    await second.keeper.share()
    assert second.used[-1].in_force(GOOD, START) == added
    assert second.records.kept == {added.scope: added}
    assert said(caplog) == [
        "good.test: exception added use=ignore until=2026-09-21T15:13:20Z uid=7 relay=mx1"
    ]


async def test_remove_on_another(caplog: pytest.LogCaptureFixture) -> None:
    """A removal is in force on all, and the log of each names the relay."""
    first, second = await started(Fleet(), "mx1", "mx2")
    await first.keeper.add(added := exception(relay="mx1", lasts=None))
    await second.keeper.share()
    said(caplog)
    assert await second.keeper.remove(added.scope, 1001) == added
    assert said(caplog) == [
        "good.test: exception removed use=ignore until=forever uid=1001 relay=mx2"
    ]
    await first.keeper.share()
    assert (first.scopes, first.records.kept) == ([], {})
    assert said(caplog) == ["good.test: exception removed use=ignore until=forever relay=mx2"]


async def test_nothing_new_costs_nothing() -> None:
    """A poll without news neither writes anything nor makes replies be made again."""
    first, _ = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception())
    uses = len(first.used)
    fleet.requests.clear()
    for _ in range(5):
        await first.keeper.share()
    assert len(first.used) == uses
    assert len(fleet.requests) == 5


async def test_two_at_the_same_moment() -> None:
    """Two relays that add at the same moment lose nothing: the second does it on the new one."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    fleet.between.append(lambda: second.keeper.add(exception("second.test")))
    await first.keeper.add(exception("first.test"))
    await second.keeper.share()
    assert first.scopes == second.scopes == ["first.test", "second.test"]
    assert first.keeper.unshared == second.keeper.unshared == ""


async def test_a_race_that_does_not_end() -> None:
    """A relay that others are always faster than adds here, and gives it to the fleet later."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    for n in range(2 * TRIES):
        name = f"d{n}.test"
        fleet.between += [_nothing] * (n % 2) or [
            lambda name=name: second.keeper.add(exception(name))  # type: ignore[misc]
        ]
    await first.keeper.add(exception())
    assert first.scopes[-1] == "good.test"
    assert "cannot be replaced" in (first.keeper.unshared or "")
    fleet.between.clear()
    await first.keeper.share()
    assert "good.test" in fleet.exceptions
    assert first.keeper.unshared == ""


async def _nothing() -> None:
    pass


async def test_store_away(caplog: pytest.LogCaptureFixture) -> None:
    """While the store is away changes are in force here at once, and on the others afterwards."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception("old.test"))
    await second.keeper.share()
    fleet.is_away = True
    await first.keeper.add(exception("new.test"))
    await first.keeper.remove(exception("old.test").scope)
    assert (first.scopes, first.keeper.unshared) == (["new.test"], AWAY)
    await second.keeper.add(exception("more.test"))
    said(caplog)
    first.restart()
    await first.keeper.start({})
    assert first.scopes == ["new.test"]
    fleet.is_away = False
    await first.keeper.share()
    assert said(caplog) == [
        "exceptions of commands read count=1",
        "exceptions given to the fleet count=1 version=2",
    ]
    await second.keeper.share()
    await first.keeper.share()
    assert first.scopes == second.scopes == ["more.test", "new.test"]


async def test_removal_whose_answer_was_lost() -> None:
    """A write that is done although its answer is lost is not done twice, nor undone."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    fleet.loses_answers = True
    await first.keeper.add(added := exception())
    assert first.keeper.unshared == "no answer in time"
    await first.keeper.remove(added.scope)
    fleet.loses_answers = False
    for each in (first, second, first):
        await each.keeper.share()
    assert first.scopes == second.scopes == list(fleet.exceptions) == []


async def test_new_relay() -> None:
    """A relay with an empty disk has at its start what the fleet has."""
    (first,) = await started(fleet := Fleet(), "mx1")
    await first.keeper.add(exception())
    (second,) = await started(fleet, "mx2")
    assert second.scopes == ["good.test"]


async def test_relay_that_joins() -> None:
    """What a relay had before it was in a fleet is given to the fleet."""
    fleet = Fleet()
    first = Member(fleet, "mx1", exception("a.test"))
    second = Member(fleet, "mx2", exception("b.test"))
    await first.keeper.start({})
    await second.keeper.start({})
    await first.keeper.share()
    assert first.scopes == second.scopes == ["a.test", "b.test"]


async def test_document_put_back(caplog: pytest.LogCaptureFixture) -> None:
    """A document with a lower version changes nothing; a warning once, and it is replaced."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception("old.test"))
    old = fleet.document
    await first.keeper.remove(exception("old.test").scope)
    await first.keeper.add(exception("new.test"))
    await second.keeper.share()
    said(caplog)
    fleet.document, fleet.blocked = old, True
    for each in (first, second, first, second):
        await each.keeper.share()
    line = "older exceptions of the fleet refused, and written again version=3 found=1"
    assert said(caplog) == [line, line]  # one of each relay
    assert first.scopes == second.scopes == ["new.test"]
    fleet.blocked = False
    await first.keeper.share()
    assert (fleet.document.version, list(fleet.exceptions)) == (3, ["new.test"])
    second.restart()
    await second.keeper.start({})
    assert second.scopes == ["new.test"]


async def test_document_put_back_under_a_restarted_relay() -> None:
    """The highest version is on disk: a relay that starts refuses an older one, too."""
    (first,) = await started(fleet := Fleet(), "mx1")
    await first.keeper.add(added := exception("old.test"))
    old = fleet.document
    await first.keeper.remove(added.scope)
    fleet.document = old
    first.restart()
    await first.keeper.start({})
    assert first.scopes == []
    assert (fleet.document.version, fleet.exceptions) == (2, {})


async def test_emptied_store(caplog: pytest.LogCaptureFixture) -> None:
    """FLUSHALL changes nothing: the first relay that notices it writes the document again."""
    members = await started(fleet := Fleet(), "mx1", "mx2", "mx3")
    await members[0].keeper.add(exception())
    for each in members:
        await each.keeper.share()
    said(caplog)
    fleet.put(0)
    for each in members:
        await each.keeper.share()
        assert each.scopes == ["good.test"]
    assert (fleet.document.version, list(fleet.exceptions)) == (1, ["good.test"])
    assert said(caplog) == [
        "exceptions of the fleet were missing, and are written again version=1",
    ]


async def test_record_of_another_key(caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be read or replaced changes nothing; few requests are made."""
    (first,) = await started(fleet := Fleet(), "mx1")
    await first.keeper.add(exception("old.test"))
    fleet.put(0)
    fleet.blocked = True
    await first.keeper.add(exception())
    assert first.scopes == ["good.test", "old.test"]
    assert "see postfix-mta-sts fleet check" in (first.keeper.unshared or "")
    assert not [line for line in said(caplog) if "written again" in line]
    fleet.requests.clear()
    await first.keeper.share()
    assert sum(isinstance(each, WriteExceptions) for each in fleet.requests) == 1


async def test_change_of_keys() -> None:
    """The document gets the key that signs, once, so that it is there when the other one goes."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception())
    await second.keeper.share()
    fleet.document = replace(fleet.document, by_other_key=True)
    first.join(fleet, "89abcdef", KEY)
    await first.keeper.share()
    assert (fleet.document.version, fleet.document.by_other_key) == (2, False)
    assert list(fleet.exceptions) == ["good.test"]
    await second.keeper.share()
    assert second.scopes == ["good.test"]

    fleet.document = replace(fleet.document, by_other_key=True)  # a relay writes with the old one
    for each in (first, second):
        await each.keeper.share()
    assert fleet.document.version == 2


async def test_two_documents_with_one_version() -> None:
    """A store that was switched to a replica has another document under the number of the last one.

    All relays notice that, and nothing that was added is lost.
    """
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception("old.test"))
    before = fleet.document
    await second.keeper.share()
    await second.keeper.add(exception("lost.test"))
    fleet.document = before
    await first.keeper.add(exception("kept.test"))
    assert fleet.document.version == 2
    for each in (second, first, second):
        await each.keeper.share()
    assert first.scopes == second.scopes == sorted(fleet.exceptions)
    assert first.scopes == ["kept.test", "lost.test", "old.test"]
    assert fleet.document.version == 3


async def test_two_documents_with_one_version_after_a_restart() -> None:
    """The same, if the disk could be read only after the fleet has answered."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception("lost.test"))
    fleet.put(0)
    await second.keeper.add(exception("kept.test"))
    first.restart()
    first.records.problem = "no such disk"
    await first.keeper.start({})
    assert first.scopes == ["kept.test"]
    first.records.problem = ""
    await first.tick_after(5)
    for each in (first, second):
        await each.keeper.share()
        assert each.scopes == ["kept.test", "lost.test"]


async def test_another_fleet() -> None:
    """In a fleet with other keys the numbers start again, and its exceptions come to ours."""
    (first,) = await started(Fleet(), "mx1")
    for n in range(5):
        await first.keeper.add(exception(f"d{n}.test"))
    first.join(other := Fleet(), "ffff0000")
    other.put(2, exception("theirs.test"))
    await first.keeper.share()
    assert first.scopes == [*(f"d{n}.test" for n in range(5)), "theirs.test"]
    assert (other.document.version, sorted(other.exceptions)) == (3, sorted(first.scopes))


async def test_fleet_that_is_left() -> None:
    """Without a fleet commands work as before; what they did is merged if it is joined again."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception("a.test"))
    await second.keeper.share()
    first.keeper.use_fleet(None)
    assert first.keeper.relay == ""
    await first.keeper.remove(exception("a.test").scope)
    await first.keeper.add(exception("b.test"))
    await first.keeper.share()
    assert list(fleet.exceptions) == ["a.test"]
    first.restart()
    await first.keeper.start({})
    await second.keeper.share()
    assert first.scopes == second.scopes == ["b.test"]


async def test_disk_that_fails() -> None:
    """What the fleet has is in force although the disk is full, and is on disk when it is not."""
    first, second = await started(Fleet(), "mx1", "mx2")
    second.records.problem = "disk full"
    await first.keeper.add(exception("a.test"))
    await second.keeper.share()
    await second.keeper.add(exception("b.test"))
    assert (second.scopes, second.records.kept) == (["a.test", "b.test"], {})
    behind = second.keeper.is_behind
    second.records.problem = ""
    await second.tick_after(5)
    assert sorted(second.records.kept) == ["a.test", "b.test"]
    assert (behind, second.keeper.is_behind) == (True, False)
    await first.keeper.share()
    assert first.scopes == ["a.test", "b.test"]


async def test_disk_and_store_that_fail() -> None:
    """A command fails, and nothing changes, only if neither can be written."""
    (first,) = await started(fleet := Fleet(), "mx1")
    await first.keeper.add(added := exception())
    first.records.problem, fleet.is_away = "disk full", True
    for change in (first.keeper.add(exception("x.test")), first.keeper.remove(added.scope)):
        with pytest.raises(StoreError, match=f"disk full; and the shared store: {AWAY}"):
            await change
    assert first.scopes == ["good.test"]
    first.records.problem, fleet.is_away = "", False
    await first.tick_after(5)
    await first.keeper.share()
    assert first.scopes == list(fleet.exceptions) == list(first.records.kept) == ["good.test"]


async def test_removal_that_failed_and_was_done() -> None:
    """A removal that the disk did although it said no is undone, in the fleet, too."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(added := exception())
    first.records.problem, first.records.is_slow, fleet.is_away = "slow", True, True
    with pytest.raises(StoreError):
        await first.keeper.remove(added.scope)
    assert first.records.kept == {}
    first.records.problem, first.records.is_slow, fleet.is_away = "", False, False
    await first.tick_after(5)
    for each in (first, second):
        await each.keeper.share()
        assert each.scopes == list(first.records.kept) == ["good.test"]


async def test_disk_that_cannot_be_read() -> None:
    """What the fleet has is in force before the disk can be read; then both are merged."""
    fleet = Fleet()
    fleet.put(4, exception("theirs.test"))
    first = Member(fleet, "mx1", exception("ours.test"))
    first.records.problem = "no such disk"
    await first.keeper.start({})
    assert first.scopes == ["theirs.test"]
    with pytest.raises(StoreError, match="no such disk"):
        await first.keeper.add(exception())
    first.records.problem = ""
    await first.tick_after(5)
    assert first.scopes == ["ours.test", "theirs.test"]
    await first.keeper.share()
    assert sorted(fleet.exceptions) == sorted(first.records.kept) == first.scopes


async def test_damaged_row() -> None:
    """An exception that a damaged disk has lost comes back from the fleet, and goes from nobody."""
    first, second = await started(Fleet(), "mx1", "mx2")
    for name in ("a.test", "b.test"):
        await first.keeper.add(exception(name))
    await second.keeper.share()
    del second.records.kept[exception("a.test").scope]
    second.restart()
    await second.keeper.start({})
    await first.keeper.share()
    assert first.scopes == second.scopes == sorted(second.records.kept) == ["a.test", "b.test"]


async def test_store_that_hangs() -> None:
    """A start does not wait for a shared store that hangs."""
    fleet = Fleet()
    gate = asyncio.Event()
    fleet.put(1, exception())
    first = Member(fleet, "mx1", exception("ours.test"))
    document = first.keeper._document
    assert document

    async def hang(_: object) -> None:
        await gate.wait()

    document._ask = hang  # type: ignore[assignment]
    await first.keeper.start({}, fleet_patience=0.01)
    assert first.scopes == ["ours.test"]


async def test_network_process_that_hangs() -> None:
    """A command waits for some seconds at most, and is done here then."""
    (first,) = await started(Fleet(), "mx1")
    gate = asyncio.Event()

    async def hang(_: AnyRequest) -> AnyAnswer:
        await gate.wait()
        return Done()

    first.keeper.use_fleet(SharedDocument(Membership("mx1", ()), hang, patience=0.01))
    await first.keeper.add(exception())
    assert (first.scopes, first.keeper.unshared) == (["good.test"], "it takes longer than 0.01 s")


async def test_commands_while_the_network_process_hangs() -> None:
    """A command does not wait for a poll that gets no answer; the poll undoes none of them."""
    (first,) = await started(fleet := Fleet(), "mx1")
    fleet.is_away = True
    await first.keeper.add(added := exception("gone.test"))
    fleet.is_away = False
    asked, gate, answer = asyncio.Event(), asyncio.Event(), fleet.ask_as("mx1")

    async def hang_once(request: AnyRequest) -> AnyAnswer:
        found = await answer(request)
        if not asked.is_set():
            asked.set()
            await gate.wait()
        return found

    first.keeper.use_fleet(SharedDocument(Membership("mx1", (KEY,)), hang_once))
    poll = asyncio.create_task(first.keeper.share())
    await asked.wait()
    async with asyncio.timeout(60):
        await first.keeper.remove(added.scope)
        await first.keeper.add(exception("new.test"))
    assert not poll.done()
    gate.set()
    await poll
    assert first.scopes == list(fleet.exceptions) == ["new.test"]


async def test_reload_while_a_poll_is_under_way() -> None:
    """What a poll of the fleet before has found out is not taken in the next one."""
    (first,) = await started(fleet := Fleet(), "mx1")
    fleet.put(4, exception("theirs.test"))
    answer = fleet.ask_as("mx1")

    async def leave(request: AnyRequest) -> AnyAnswer:
        first.join(Fleet(), "ffff0000")
        return await answer(request)

    first.keeper.use_fleet(SharedDocument(Membership("mx1", (KEY,)), leave))
    await first.keeper.share()
    assert first.scopes == []


async def test_removal_at_the_same_moment() -> None:
    """Of two removals of one exception, the second finds none, which is no error."""
    (first,) = await started(fleet := Fleet(), "mx1")
    await first.keeper.add(added := exception())
    fleet.between.append(lambda: asyncio.sleep(0))
    operations = ExceptionOperations(first.keeper, first.records, lambda: START, None)
    removed, answer = await asyncio.gather(
        first.keeper.remove(added.scope), operations.remove(added.scope, 1)
    )
    assert (removed, answer["removed"]) == (added, None)


async def test_wrong_clock_of_one_relay() -> None:
    """A relay whose clock is years ahead removes nothing from the fleet."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    await first.keeper.add(exception(lasts=HOUR))
    await second.keeper.share()
    second.time.now += 1_000 * DAY
    for _ in range(50):
        await second.tick_after(HOUR)
        await second.keeper.share()
    await second.keeper.add(exception("other.test"))
    assert sorted(fleet.exceptions) == ["good.test", "other.test"]


async def test_ended_ones_make_room() -> None:
    """At the limit the one that ended first makes room, in the fleet, too."""
    fleet = Fleet()
    fleet.put(1, exception("ended.test", lasts=HOUR), *_many(EXCEPTIONS_LIMIT - 1))
    (first,) = await started(fleet, "mx1")
    first.time.pass_by(HOUR + KEPT)
    await first.keeper.add(exception(added_at=first.time.now))
    assert len(fleet.exceptions) == len(first.scopes) == EXCEPTIONS_LIMIT
    assert "ended.test" not in fleet.exceptions


async def test_fleet_without_room() -> None:
    """One more than the fleet has room for is in force here, and the answer says why."""
    (first,) = await started(fleet := Fleet(), "mx1")
    fleet.put(1, *_many(EXCEPTIONS_LIMIT))
    await first.keeper.add(exception())
    assert "good.test" in first.scopes
    assert len(fleet.exceptions) == EXCEPTIONS_LIMIT
    assert first.keeper.unshared == "it has 1000 exceptions already"
    fleet.put(2, *_many(EXCEPTIONS_LIMIT - 1))
    await first.keeper.share()
    assert "good.test" in fleet.exceptions
    assert first.keeper.unshared == ""


async def test_ended_ones_of_a_fleet_that_is_left() -> None:
    """Without a fleet they are removed after their time, as ever."""
    (first,) = await started(Fleet(), "mx1")
    await first.keeper.add(exception(lasts=HOUR))
    first.keeper.use_fleet(None)
    for _ in range(50):
        await first.tick_after(DAY)
    assert first.records.kept == {}


async def test_a_thousand() -> None:
    """A thousand exceptions come in one write, and their log lines are not lost."""
    fleet = Fleet()
    fleet.put(1, *_many(EXCEPTIONS_LIMIT))
    (first,) = await started(fleet, "mx1")
    assert len(first.scopes) == len(first.records.kept) == EXCEPTIONS_LIMIT


def _many(number: int) -> list[PolicyException]:
    return [exception(f"d{n}.test", lasts=None) for n in range(number)]


async def test_conflict_of_two_scopes() -> None:
    """Of two exceptions for one scope, added while the store was away, the later one counts."""
    first, second = await started(fleet := Fleet(), "mx1", "mx2")
    fleet.is_away = True
    await first.keeper.add(exception(use=Use.MAY, added_at=START + 9))
    await second.keeper.add(exception(use=Use.ENCRYPT, added_at=START + 3))
    fleet.is_away = False
    for each in (first, second, first):
        await each.keeper.share()
        assert each.used[-1].added[exception().scope].use is Use.MAY
