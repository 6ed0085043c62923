"""The rounds of what the daemon does for its fleet: with a fleet, without one, after a fault."""

import asyncio
import logging
from collections import Counter

import pytest

from postfix_mta_sts.admin.exceptions.document import Membership, SharedDocument
from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.daemon.fleet.presence import Presence
from postfix_mta_sts.daemon.fleet.renewals import Renewals
from postfix_mta_sts.daemon.fleet.tasks import FleetTasks, Role
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked, Overview
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    Done,
    FindDue,
    NoteUses,
)
from postfix_mta_sts.values import replace
from tests.support.surroundings import GOOD, START

ROLE = Role(Membership("mx1", ("0123abcd",)), shares_exceptions=True)
ROUNDS = 4
DAY = 86_400.0


async def _count() -> Overview:
    return Overview({}, None)


class Daemon:
    """Its parts; each sleep is one step of the event loop."""

    def __init__(self) -> None:
        self.asked: list[AnyRequest] = []
        self.document: SharedDocument | None = None
        self.shares = 0
        self.sleeps: Counter[float] = Counter()
        self.error: Exception | None = None
        self.rounds = asyncio.Event()
        renewals = Renewals(
            self._ask,
            self,
            lambda _: True,
            lambda: START,
            random=lambda: 0.5,
        )
        presence = Presence(self._ask, _count, lambda: 0, lambda: 0, "1", lambda: 0.0)
        self.tasks = FleetTasks(
            self._ask, self, presence, renewals, sleep=self._sleep, first=lambda _: 0.5
        )

    def use_fleet(self, document: SharedDocument | None) -> None:
        """See `ExceptionSharing`."""
        self.document = document

    def relays(self) -> list[str]:
        """The name of this relay, if exceptions are shared."""
        return [self.document.membership.name] if self.document else []

    async def share(self) -> None:
        """See `ExceptionSharing`."""
        self.shares += 1
        if self.error:
            raise self.error

    async def renew(self, domain: Domain) -> None:
        """See `Renewing`."""

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        return Done()

    async def _sleep(self, seconds: float) -> None:
        self.sleeps[seconds] += 1
        if self.sleeps[2.0] >= ROUNDS and self.sleeps[60.0] >= 2 * ROUNDS:
            self.rounds.set()
        await asyncio.sleep(0)

    async def run(self) -> None:
        """Run some rounds."""
        task = asyncio.create_task(self.tasks.run())
        async with asyncio.timeout(60):
            await self.rounds.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_rounds() -> None:
    """Exceptions every 2 s, presence every 10, uses and overdue policies every minute."""
    daemon = Daemon()
    daemon.tasks.reconfigure(ROLE, DAY)
    await daemon.run()
    assert daemon.sleeps.keys() == {0.5, 2.0, 10.0, 60.0}
    assert daemon.sleeps[0.5] == 4  # not all at once
    assert daemon.shares >= ROUNDS
    assert {type(each) for each in daemon.asked} == {Announce, FindDue}


async def test_uses() -> None:
    """With a fleet uses are noted; without one they are not."""
    daemon = Daemon()
    daemon.tasks.note_uses({Domain("before.test"): LastAsked(START, 1)})
    daemon.tasks.reconfigure(ROLE, DAY)
    daemon.tasks.note_uses({GOOD: LastAsked(START, 1)})
    await daemon.run()
    assert [each for each in daemon.asked if isinstance(each, NoteUses)] == [NoteUses({GOOD: 0.0})]


async def test_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A fault ends neither the work nor another one, and is in the log."""
    caplog.set_level(logging.ERROR)
    daemon = Daemon()
    daemon.error = ZeroDivisionError()
    daemon.tasks.reconfigure(ROLE, DAY)
    await daemon.run()
    assert daemon.shares >= ROUNDS
    assert "work for the fleet failed, next try soon" in caplog.messages[0]


async def test_reload() -> None:
    """A fleet can be joined, left and joined again; without one nothing is asked."""
    daemon = Daemon()
    task = asyncio.create_task(daemon.tasks.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert daemon.asked == []
    for _ in range(2):
        daemon.tasks.reconfigure(ROLE, DAY)
        assert daemon.relays() == ["mx1"]
        while not daemon.asked:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
        daemon.tasks.reconfigure(None, DAY)
        assert daemon.relays() == []
        for _ in range(10):
            await asyncio.sleep(0)
        daemon.asked.clear()
        for _ in range(10):
            await asyncio.sleep(0)
        assert daemon.asked == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_without_exceptions() -> None:
    """`fleet.exceptions: false`: all but exceptions is shared."""
    daemon = Daemon()
    daemon.tasks.reconfigure(Role(ROLE.membership, shares_exceptions=False), DAY)
    assert daemon.document is None
    await daemon.run()
    assert daemon.asked


async def test_reload_without_a_change() -> None:
    """A reload that is about other settings keeps what is known of the document."""
    daemon = Daemon()
    daemon.tasks.reconfigure(ROLE, DAY)
    before = daemon.document
    daemon.tasks.reconfigure(ROLE, 2 * DAY)
    assert daemon.document is before
    other = Role(Membership("mx2", ROLE.membership.keys), shares_exceptions=True)
    daemon.tasks.reconfigure(other, DAY)
    assert daemon.relays() == ["mx2"]


def test_role() -> None:
    """It is that of the settings; keys of another prefix are those of another fleet."""
    assert Role.of(FleetSettings(), ["0123abcd"]) is None
    settings = FleetSettings(
        url=parse_store_url("redis://127.0.0.1"), name="mx1", unsigned=True, exceptions=False
    )
    assert Role.of(settings, []) == Role(
        Membership("mx1", ("mta_sts:unsigned",)), shares_exceptions=False
    )
    role = Role.of(replace(settings, prefix="test"), ["0123abcd", "4567ef01"])
    assert role
    assert role.membership.keys == ("test:0123abcd", "test:4567ef01")
