"""Which relay waits for the shared store when it starts, and for how long."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.admin.exceptions.document import Membership
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.fleet import first_meeting
from postfix_mta_sts.daemon.fleet.first_meeting import LIMIT, meet_fleet
from postfix_mta_sts.daemon.fleet.tasks import Role
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.store import Row, RowFilter, StoreError
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Document,
    ReadExceptions,
    Unavailable,
)
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.store.records import FleetNotes
from postfix_mta_sts.values import replace
from tests.support.daemons import RunningDaemon
from tests.support.exceptions import exception
from tests.support.internet import Internet
from tests.support.states import a_state
from tests.support.surroundings import GOOD, START

ROLE = Role(Membership("mx1", ("key",)), shares_exceptions=True)


class Own(MemoryStore):
    """The store of a relay; `fails`: it cannot be read."""

    fails = False

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`: a store that cannot be read has no rows to show."""
        return [] if self.fails else await super().page(query, after, limit)

    async def fleet_notes(self) -> FleetNotes:
        """See `AdminRecords`."""
        if self.fails:
            raise StoreError("no such disk")
        return await super().fleet_notes()


class Meeting:
    """A relay that starts; `lasts`: how long the store of the fleet takes for its first answer."""

    def __init__(self, lasts: float = 0.0) -> None:
        self.own = Own()
        self.lasts = lasts
        self.now = 100.0
        self.waited: list[float] = []

    async def with_policy(self) -> "Meeting":
        """Let the relay have a policy of its own."""
        await self.own.save(GOOD, a_state(fetched_at=START), START)
        return self

    async def seen(self, *keys: str) -> "Meeting":
        """Let the relay have seen the exceptions of a fleet with these keys."""
        await self.own.take_exceptions({}, FleetNotes(0, keys))
        return self

    async def meet(self, seconds: float) -> None:
        """See `FleetCalls`."""
        self.waited.append(seconds)
        self.now += min(self.lasts, seconds)

    async def start(self, role: Role | None = ROLE) -> float:
        """Start; return the seconds for the exceptions."""
        return await meet_fleet(role, self.own, self.meet, START, lambda: self.now)


async def test_a_relay_that_knows_nothing_waits() -> None:
    """Both waits together have one limit, also if the store hangs."""
    for lasts, left in ((0.0, LIMIT), (1.0, LIMIT - 1.0), (60.0, 0.0)):
        relay = Meeting(lasts)
        assert (await relay.start(), relay.waited) == (left, [LIMIT])


async def test_a_relay_that_knows_its_policies_and_its_fleet_does_not_wait() -> None:
    """It is not a second later for a store that hangs."""
    relay = await (await Meeting(60.0).with_policy()).seen("key", "other")
    assert (await relay.start(), relay.waited, relay.now) == (0.0, [], 100.0)


async def test_a_relay_that_has_not_seen_the_exceptions_waits() -> None:
    """One that is new in its fleet does, though it has policies; unless it takes no exceptions."""
    for relay in (Meeting(), await Meeting().seen("another fleet")):
        await relay.with_policy()
        assert (await relay.start(), relay.waited) == (LIMIT, [LIMIT])
        relay.waited.clear()
        without = replace(ROLE, shares_exceptions=False)
        assert (await relay.start(without), relay.waited) == (0.0, [])


async def test_a_relay_without_a_policy_waits() -> None:
    """One that has seen the exceptions does, too: the policies of the fleet are what it lacks."""
    relay = await Meeting().seen("key")
    assert (await relay.start(), relay.waited) == (LIMIT, [LIMIT])


async def test_a_disk_that_cannot_be_read() -> None:
    """What the relay had is out of reach, so that it waits."""
    relay = await (await Meeting().with_policy()).seen("key")
    relay.own.fails = True
    assert (await relay.start(), relay.waited) == (LIMIT, [LIMIT])


async def test_no_fleet() -> None:
    """A relay of its own waits for nothing."""
    relay = Meeting()
    assert (await relay.start(None), relay.waited) == (0.0, [])


class Store:
    """The shared store, late with its first answer: it has an exception, and nothing else."""

    def __init__(self, *exceptions: PolicyException) -> None:
        self.exceptions = exceptions
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """See `NetworkClient`."""
        self.is_asked.set()
        await self.gate.wait()
        if not isinstance(request, ReadExceptions):
            return Unavailable("not here")
        return Document(1, self.exceptions if request.above < 1 else None, "mx2")


async def test_the_exceptions_of_the_fleet_come_before_the_listeners(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay with an empty disk gives no answer that the exceptions of its fleet forbid."""
    monkeypatch.setattr(first_meeting, "LIMIT", 60.0)
    store = Store(exception(lasts=None, use=Use.PIN, mx=("other.test",)))
    monkeypatch.setattr(NetworkClient, "ask_fleet", lambda _, request: store.ask(request))
    relay = RunningDaemon(tmp_path)
    fleet = {"fleet": {"url": "valkey://127.0.0.1:1", "unsigned": True}}
    async with AsyncExitStack() as stack:
        daemon = running(net.settings(tmp_path, fleet), {}, https_port=net.hosts.port)
        starting = asyncio.create_task(stack.enter_async_context(daemon))
        await store.is_asked.wait()
        assert not relay.socketmap.exists()
        store.gate.set()
        await starting
        assert b"match=other.test" in await relay.ask("good.test")
