"""The keeper of exceptions: what is kept, what is in force, and what the log says."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from postfix_mta_sts.admin.exceptions.upkeep import KEPT
from postfix_mta_sts.mtasts.exceptions import Scope, Use
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, FleetNotes, RefusedError
from tests.support.exceptions import DAY, HOUR, Kept, configured, exception
from tests.support.surroundings import GOOD, START

Read: TypeAlias = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines since the last call."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


async def test_survives_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """What a command added is in force again after a start, before anything is answered."""
    known = exception()
    kept = Kept(known)
    await kept.keeper.start({})
    assert kept.used[-1].in_force(GOOD, START) == known
    assert kept.keeper.problem == ""
    assert said(caplog) == ["exceptions of commands read count=1"]


async def test_add(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is in the store and in force when `add` returns; the log has all facts."""
    kept, added = Kept(), exception(uid=1000, reason='ticket "1"\nx: y')
    await kept.keeper.start({})
    assert await kept.keeper.add(added) is None
    assert kept.records.kept == {added.scope: added}
    assert kept.used[-1].in_force(GOOD, START) == added
    assert said(caplog) == [
        (
            "good.test: exception added use=ignore until=2026-09-24T14:13:20Z "
            r'reason="ticket \"1\"\\nx: y" uid=1000'
        )
    ]


async def test_replace(caplog: pytest.LogCaptureFixture) -> None:
    """Another exception with the same scope takes the place of the first; one line says both."""
    kept = Kept()
    await kept.keeper.start({})
    first, second = exception(), exception(use=Use.PIN, mx=("mx.test",), lasts=None)
    await kept.keeper.add(first)
    said(caplog)
    assert await kept.keeper.add(second) == first
    assert kept.records.kept == {second.scope: second}
    assert said(caplog) == [
        (
            'good.test: exception replaced use=pin until=forever reason="ticket 4711" mx=mx.test '
            "uid=0 old_use=ignore old_until=2026-09-24T14:13:20Z"
        )
    ]


async def test_one_that_ended_is_not_replaced() -> None:
    """An exception after the end of another one is a new one."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=HOUR))
    kept.time.pass_by(2 * HOUR)
    assert await kept.keeper.add(exception(added_at=kept.time.now)) is None


async def test_remove(caplog: pytest.LogCaptureFixture) -> None:
    """A removed exception is not in the store and not in force; the log has the user."""
    kept, added = Kept(), exception()
    await kept.keeper.start({})
    await kept.keeper.add(added)
    said(caplog)
    assert await kept.keeper.remove(added.scope, 1001) == added
    assert kept.records.kept == {}
    assert kept.used[-1].in_force(GOOD, START) is None
    assert said(caplog) == [
        (
            "good.test: exception removed use=ignore until=2026-09-24T14:13:20Z "
            'reason="ticket 4711" uid=1001'
        )
    ]
    assert await kept.keeper.remove(added.scope) is None


async def test_store_that_cannot_write() -> None:
    """If the store cannot write, a command fails and nothing changes."""
    kept, other = Kept(exception()), exception("other.test")
    await kept.keeper.start({})
    before = kept.keeper.exceptions
    kept.records.problem = "disk full"
    for change in (kept.keeper.add(other), kept.keeper.remove(Scope("good.test"))):
        with pytest.raises(StoreError, match="disk full"):
            await change
    assert kept.keeper.exceptions == before == kept.used[-1]


async def test_write_that_is_done_after_it_failed() -> None:
    """A write that was done although its time was over is undone when the store works again."""
    known, other = exception(), exception("other.test")
    kept = Kept(known)
    await kept.keeper.start({})
    kept.records.problem, kept.records.is_slow = "writing took longer than 3 s", True
    for change in (kept.keeper.add(other), kept.keeper.remove(known.scope)):
        with pytest.raises(StoreError):
            await change
    assert kept.records.kept == {other.scope: other}
    await kept.tick_after(5)
    kept.records.problem = ""
    await kept.tick_after(5)
    assert kept.records.kept == {known.scope: known}


async def test_store_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """Until the store can be read the configuration decides; one warning, and one line after it."""
    written = exception("other.test", lasts=30 * DAY, added_at=None)
    kept = Kept(exception())
    kept.records.problem = "no such table"
    await kept.keeper.start(configured(written))
    await kept.tick_after(5)
    assert list(kept.used[-1].configured) == ["other.test"]
    with pytest.raises(StoreError, match="no such table"):
        await kept.keeper.add(exception("third.test"))
    kept.records.problem = ""
    await kept.tick_after(5)
    assert kept.used[-1].in_force(GOOD, START)
    assert said(caplog) == [
        'exceptions of commands not read yet reason="no such table"',
        "exceptions of commands read count=1",
    ]


async def test_store_that_hangs() -> None:
    """A start does not wait longer than its patience for a store that hangs."""
    kept = Kept()
    gate = asyncio.Event()

    async def hang() -> list[object]:
        await gate.wait()
        return []

    kept.records.exceptions = hang  # type: ignore[method-assign, assignment]
    await kept.keeper.start({}, patience=0.01)
    assert kept.keeper.problem == "they are not read yet"
    gate.set()
    await kept.keeper.tick()
    assert kept.keeper.problem == ""


async def test_start_that_is_cut_off_within_the_store() -> None:
    """Whichever read of the store hangs at a start, all is read, and kept, when it answers."""
    seen = FleetNotes(7, ("key",), {exception().scope: "mark"})
    for part in ("exceptions", "fleet_notes", "said_at"):
        kept = Kept(exception())
        await kept.records.take_exceptions({}, seen)
        gate, read = asyncio.Event(), getattr(kept.records, part)

        async def late(gate: asyncio.Event = gate, read: Read = read) -> object:
            await gate.wait()
            return await read()

        setattr(kept.records, part, late)
        await kept.keeper.start({}, patience=0.01)
        assert kept.keeper.problem == "they are not read yet", part
        gate.set()
        await kept.tick_after(5)
        assert list(kept.used[-1].added) == ["good.test"], part
        assert (kept.keeper.problem, kept.keeper.is_behind) == ("", False)
        assert await kept.records.fleet_notes() == kept.keeper.notes == seen


async def test_end(caplog: pytest.LogCaptureFixture) -> None:
    """The end is one line, and no second one; the exception stays in the list."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=HOUR, uid=5))
    said(caplog)
    await kept.tick_after(HOUR - 1)
    assert said(caplog) == []
    await kept.tick_after(1)
    assert said(caplog) == [
        (
            'good.test: exception ended use=ignore until=2026-09-21T15:13:20Z reason="ticket 4711" '
            "uid=5"
        )
    ]
    await kept.tick_after(5)
    assert said(caplog) == []
    assert len(kept.keeper.exceptions.added) == 1


@pytest.mark.parametrize(
    ("lasts", "days"),
    [
        (8 * DAY, [7, 1]),
        (7 * DAY + 1, [1]),
        (1.5 * DAY, [1]),
        (DAY + 1, []),
        (HOUR, []),
        (None, []),
    ],
)
async def test_warnings(
    caplog: pytest.LogCaptureFixture, lasts: float | None, days: list[int]
) -> None:
    """The log warns 7 days and 1 day before the end, once each, if it was added before that."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=lasts))
    said(caplog)
    left: list[re.Match[str] | None] = []
    for _ in range(9 * 24):
        await kept.tick_after(HOUR)
        records = [record for record in caplog.records if record.levelno == logging.WARNING]
        left += [re.search("ends_in=([0-9]+)", r.getMessage()) for r in records]
        caplog.clear()
    assert [round(int(each[1]) / DAY) for each in left if each] == days


async def test_start_inside_a_window(caplog: pytest.LogCaptureFixture) -> None:
    """At a start, one warning for what ends soon, and none for what has ended long ago."""
    kept = Kept(exception("old.test", lasts=DAY), exception(lasts=20 * DAY))
    kept.time.pass_by(19.5 * DAY)
    written = exception("week.test", lasts=25 * DAY, added_at=None)
    await kept.keeper.start(configured(written))
    await kept.tick_after(5)
    assert [line.partition(" use=")[0] for line in said(caplog)] == [
        "exceptions of commands read count=2",
        "week.test: exception ends soon ends_in=475200",
        "good.test: exception ends soon ends_in=43200",
    ]


async def test_said_once_across_restarts(caplog: pytest.LogCaptureFixture) -> None:
    """What the log has is not said again by the next daemon, and what it has not is."""
    kept = Kept(exception(lasts=20 * DAY))
    written = configured(exception("week.test", lasts=20 * DAY, added_at=None))
    for days, events in [
        (14, ["exception ends soon", "exception ends soon"]),
        (0, []),
        (3, []),
        (2.5, ["exception ends soon", "exception ends soon"]),
        (0, []),
        (1, ["exception of the configuration has ended, remove it", "exception ended"]),
        (0, ["exception of the configuration has ended, remove it"]),
    ]:
        kept.time.pass_by(days * DAY)
        kept.restart()
        await kept.keeper.start(written)
        found = [line.partition(" use=")[0].partition(": ")[2] for line in said(caplog)]
        assert [line.partition(" ends_in")[0] for line in found[1:]] == events


async def test_clock_set_back_before_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """A note from the future counts for nothing: a warning is said again, and not left out."""
    kept = Kept(exception(lasts=20 * DAY))
    kept.time.pass_by(19.5 * DAY)
    await kept.keeper.start({})
    kept.time.pass_by(-2 * DAY)
    said(caplog)
    kept.restart()
    await kept.keeper.start({})
    assert len(said(caplog)) == 2


async def test_end_while_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """An end within the last day before a start is said: the daemon may have been down then."""
    kept = Kept(exception(lasts=HOUR))
    kept.time.pass_by(2 * HOUR)
    await kept.keeper.start({})
    assert [line.partition(" use=")[0] for line in said(caplog)][1:] == [
        "good.test: exception ended"
    ]


async def test_end_while_stopped_for_days(caplog: pytest.LogCaptureFixture) -> None:
    """Also the first exception of all gets its line if it ends while no daemon runs."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=HOUR))
    await kept.tick_after(5)
    said(caplog)
    for _ in range(2):
        kept.time.pass_by(3 * DAY)
        kept.restart()
        await kept.keeper.start({})
    assert [line.partition(" use=")[0] for line in said(caplog)] == [
        "exceptions of commands read count=1",
        "good.test: exception ended",
        "exceptions of commands read count=1",
    ]


async def test_lapsed_in_the_configuration(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the configuration that has ended is a warning at start and at reload."""
    written = configured(exception(added_at=None, lasts=-DAY))
    kept = Kept()
    await kept.keeper.start(written)
    await kept.tick_after(5)
    kept.keeper.reconfigure(written)
    lapsed = (
        "good.test: exception of the configuration has ended, remove it use=ignore "
        'until=2026-09-20T14:13:20Z reason="ticket 4711"'
    )
    assert said(caplog) == [lapsed, lapsed]


async def test_reload(caplog: pytest.LogCaptureFixture) -> None:
    """A reload puts other exceptions in force at once, and says each difference."""
    kept = Kept(exception("added.test"))
    gone, same = (exception(name, added_at=None) for name in ("gone.test", "same.test"))
    before, after = (exception(added_at=None, use=use) for use in (Use.MAY, Use.ENCRYPT))
    new = exception("new.test", added_at=None)
    await kept.keeper.start(configured(gone, same, before))
    said(caplog)
    kept.keeper.reconfigure(configured(same, after, new))
    assert list(kept.used[-1].configured) == ["same.test", "good.test", "new.test"]
    assert list(kept.used[-1].added) == ["added.test"]
    assert [line.partition(" until=")[0] for line in said(caplog)] == [
        "good.test: exception replaced use=encrypt",
        "new.test: exception added use=ignore",
        "gone.test: exception removed use=ignore",
    ]


async def test_clock_that_jumps(caplog: pytest.LogCaptureFixture) -> None:
    """After a jump the end is said; a jump back puts it in force again, and that is said, too."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=HOUR))
    said(caplog)
    for jump in (DAY, -DAY, DAY):
        kept.time.now += jump
        await kept.keeper.tick()
    assert [line.partition(" use=")[0] for line in said(caplog)] == [
        "good.test: exception ended",
        "good.test: exception in force again, the clock was set back",
        "good.test: exception ended",
    ]


async def test_replies_are_made_again_after_a_jump() -> None:
    """A reply that was cached after the end does not outlast a clock that is set back before it."""
    kept = Kept()
    await kept.keeper.start({})
    await kept.keeper.add(exception(lasts=HOUR))
    await kept.tick_after(2 * HOUR)
    assert kept.cleared == 0
    kept.time.now -= 2 * HOUR
    await kept.keeper.tick()
    assert kept.cleared == 1
    await kept.tick_after(5)
    assert kept.cleared == 1


async def test_old_ones_are_removed() -> None:
    """Thirty days after its end, and a day of uptime, an exception is removed from the store."""
    many = [exception(f"d{n}.test", lasts=HOUR) for n in range(9)]
    kept = Kept(*many, exception("forever.test", lasts=None))
    await kept.keeper.start({})
    await kept.tick_after(HOUR + KEPT - DAY)
    for _ in range(24):
        await kept.tick_after(HOUR)
        assert len(kept.records.kept) == 10
    uses = len(kept.used)
    for _ in range(25):
        await kept.tick_after(HOUR)
    assert len(kept.used) == uses + 1  # each clears the reply caches
    assert list(kept.records.kept) == list(kept.keeper.exceptions.added) == ["forever.test"]


async def test_wrong_clock_removes_nothing() -> None:
    """A clock that is years ahead for some hours is no reason to remove anything."""
    kept = Kept(exception(lasts=HOUR))
    await kept.keeper.start({})
    kept.time.now += 1_000 * DAY
    for _ in range(20):
        await kept.tick_after(HOUR)
    assert len(kept.records.kept) == 1


async def test_limit() -> None:
    """At the limit the one that ended first makes room; if none has ended, the command fails."""
    many = [exception(f"d{n}.test") for n in range(EXCEPTIONS_LIMIT - 2)]
    ended = [exception(f"ended{n}.test", lasts=HOUR + n) for n in range(2)]
    kept = Kept(*many, *ended)
    await kept.keeper.start({})
    await kept.keeper.add(replaced := exception("d1.test", use=Use.MAY))
    with pytest.raises(RefusedError, match="remove some"):
        await kept.keeper.add(exception())
    kept.time.pass_by(2 * HOUR)
    await kept.keeper.add(added := exception())
    assert {added, replaced} < {*kept.records.kept.values()}
    assert "ended0.test" not in kept.records.kept
    assert "ended1.test" in kept.records.kept
    assert len(kept.records.kept) == EXCEPTIONS_LIMIT


async def test_task_ends_with_the_daemon() -> None:
    """The task waits while there is nothing to do, does what a change needs, and can be ended."""
    kept = Kept()
    await kept.keeper.start({})
    task = asyncio.create_task(kept.keeper.run())
    await kept.keeper.add(exception(lasts=HOUR))
    kept.records.problem = "disk full"
    with pytest.raises(StoreError):
        await kept.keeper.add(exception("other.test"))
    kept.records.problem = ""
    async with asyncio.timeout(60):
        while kept.keeper.is_behind:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_fault_of_the_store_ends_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """An error that no store should raise is logged, and the task goes on."""
    kept = Kept()
    tried = asyncio.Event()

    async def break_down() -> list[object]:
        tried.set()
        raise ZeroDivisionError

    kept.records.exceptions = break_down  # type: ignore[method-assign, assignment]
    kept.keeper._in_force.changed.set()
    task = asyncio.create_task(kept.keeper.run())
    async with asyncio.timeout(60):
        await tried.wait()
        while not caplog.records:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
    assert not task.done()
    assert caplog.records[0].levelno == logging.ERROR
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
