"""The past of domains over the control socket: accepted policies and weakenings, by time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.client import ControlClient, ControlError
from postfix_mta_sts.admin.history import PolicyHistory
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.requests import History
from tests.support.control import ControlledDaemon
from tests.support.fleet_asked import FakeFleet
from tests.support.records import a_weakening
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, START, Surroundings

HOUR = 3_600.0


@pytest.fixture
async def daemon() -> ControlledDaemon:
    """A daemon that has seen a domain leave mode enforce, an hour ago, and another one before."""
    daemon = ControlledDaemon(around := Surroundings())
    around.publish(GOOD)
    await find_state(daemon.resolver, GOOD)
    around.now += HOUR
    around.publish(GOOD, "b", mode="testing")
    await daemon.resolver.refresh(GOOD)
    await daemon.records.put_weakenings(a_weakening("other.test", START - 9 * HOUR))
    await daemon.records.put_weakenings(a_weakening(at=around.now))
    around.now += HOUR
    return daemon


async def asked(daemon: ControlledDaemon, folder: Path, **query: str) -> list[dict[str, Any]]:
    """The entries of the answer."""
    async with daemon.controlled(folder) as path:
        client = ControlClient(path)
        return await asyncio.to_thread(lambda: list(client.lines("history", **query)))


async def test_of_all_domains(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """The weakenings of all domains, the oldest first."""
    other, good = await asked(daemon, tmp_path)
    assert (other["domain"], other["event"]) == ("other.test", "weaker")
    assert good == {
        "event": "weaker",
        "text": "good.test: its policy is no longer enforced, the mode is testing now",
        "domain": "good.test",
        "kind": "mode",
        "before": "enforce",
        "after": "testing",
        "id": "id1",
        "at": round(START + HOUR),
    }


async def test_of_a_domain(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """Its policies that were accepted, and its weakenings behind the policy that they are about."""
    first, second, weaker = await asked(daemon, tmp_path, domain="good.test")
    assert first == {
        "event": "accepted",
        "domain": "good.test",
        "at": round(START),
        "id": "a",
        "mode": "enforce",
        "mx": ["mx1.good.test"],
        "seen_from": round(START),
        "seen_to": round(START),
    }
    assert (second["event"], second["mode"], second["id"]) == ("accepted", "testing", "b")
    assert (weaker["event"], weaker["domain"]) == ("weaker", "good.test")


async def test_in_one_second(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """Policies that were accepted within a second are in their order, too."""
    for name in "cdef":
        daemon.around.publish(GOOD, name)
        daemon.around.now += 0.001
        await daemon.resolver.refresh(GOOD)
    found = await asked(daemon, tmp_path, domain="good.test")
    assert [each["id"] for each in found if each["event"] == "accepted"] == [*"abcdef"]


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ({"within": "7200"}, ["weaker"]),
        ({"within": "39600"}, ["weaker", "weaker"]),
        ({"within": "0"}, []),
        ({"domain": "GOOD.test.", "within": "3600"}, ["accepted", "weaker"]),
        ({"domain": "good.test", "within": "10"}, []),
        ({"domain": "never.test"}, []),
    ],
)
async def test_filters(
    daemon: ControlledDaemon, tmp_path: Path, query: dict[str, str], events: list[str]
) -> None:
    """A time leaves out what ended before it."""
    assert [e["event"] for e in await asked(daemon, tmp_path, **query)] == events


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"domain": "-"}, "domain"),
        ({"within": "1d"}, "within is not valid"),
        ({"within": "9" * 11}, "within is not valid"),
        ({"within": "-1"}, "within is not valid"),
    ],
)
async def test_wrong(
    daemon: ControlledDaemon, tmp_path: Path, query: dict[str, str], reason: str
) -> None:
    """A wrong parameter is refused with a reason."""
    with pytest.raises(ControlError, match=reason):
        await asked(daemon, tmp_path, **query)


async def test_a_store_that_fails(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """The list says that it may not be complete."""
    daemon.not_working.add(Part.STORE_READING)
    with pytest.raises(ControlError, match="the list is not complete"):
        await asked(daemon, tmp_path)


async def test_other_tasks_run(daemon: ControlledDaemon) -> None:
    """A long list is made in slices."""
    for n in range(5_000):
        await daemon.records.put_weakenings(a_weakening(f"d{n}.test", START))
    around, turns = daemon.around, 0
    history = PolicyHistory(around.store, daemon.records, lambda: around.now, lambda: True)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with background_task(count(), "other task"):
        found = [entry async for entry in history.entries(None, None)]
    assert len(found) == 5_002
    assert turns > 5


class TestFleet:
    """The past of a domain as all relays have seen it."""

    async def test_both(self, daemon: ControlledDaemon, tmp_path: Path) -> None:
        """Policies of other relays are between the own ones; the same policy is listed once."""
        before = HistoryEntry(
            PolicyId("old"), Mode.ENFORCE, ("mx",), START - 9 * HOUR, START - 8 * HOUR
        )
        same = HistoryEntry(
            PolicyId("a"), Mode.ENFORCE, ("mx1.good.test",), START - HOUR, START - HOUR
        )
        daemon.fleet = FakeFleet(ReadHistory=History((same, before))).fleet
        entries = await asked(daemon, tmp_path, domain="good.test")
        accepted = [each for each in entries if each["event"] == "accepted"]
        assert [each["id"] for each in accepted] == ["old", "a", "b"]
        assert accepted[1]["seen_from"] == round(START - HOUR)
        assert accepted[1]["seen_to"] == round(START)

    async def test_no_answer(self, daemon: ControlledDaemon, tmp_path: Path) -> None:
        """If the shared store does not answer, the last entry says so, behind what is known."""
        daemon.fleet = FakeFleet().fleet
        *known, last = await asked(daemon, tmp_path, domain="good.test")
        assert len(known) == 3
        assert last == {
            "event": "incomplete",
            "domain": "good.test",
            "reason": "the shared store: connection refused",
        }

    async def test_of_all_domains(self, daemon: ControlledDaemon, tmp_path: Path) -> None:
        """What became weaker is what this relay has noticed: the store is not asked."""
        fleet = FakeFleet()
        daemon.fleet = fleet.fleet
        assert len(await asked(daemon, tmp_path)) == 2
        assert not fleet.asked
