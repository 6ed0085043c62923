"""What becomes of a weakening: log, counter, store and command, once each."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.alerts.alerts import Alerts, to_event
from postfix_mta_sts.admin.alerts.command import AlertCommand, to_line
from postfix_mta_sts.admin.alerts.process import LINE_LIMIT
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, WEEK
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.weakening import Weakening, WeakeningKind
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.mtasts.test_weakening import Domain as Published
from tests.support.records import a_weakening
from tests.support.surroundings import START


class Told:
    """Alerts with manual clocks, and the events that the command got."""

    def __init__(self, records: MemoryStore | None = None) -> None:
        self.now = START
        self.records = records or MemoryStore()
        self.counters = Counters()
        self.events: list[dict[str, Any]] = []
        command = AlertCommand(["tell"], Counters(), lambda: self.now, execute=self._execute)
        self.alerts = Alerts(
            self.records, self.counters, command, lambda: self.now, lambda: self.now - START
        )

    async def _execute(self, _words: Sequence[str], line: bytes, _timeout: float) -> None:
        self.events.append(json.loads(line))

    async def take(self, *weakenings: Weakening) -> None:
        """Pass weakenings on while the tasks run, then stop."""
        (write, name), (run, other_name) = self.alerts.works()
        async with background_task(write, name), background_task(run, other_name):
            for each in weakenings:
                self.alerts.take(each)
            for _ in range(50):
                await asyncio.sleep(0)
        await self.alerts.close()


async def test_told_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """One warning with the domain first, one count, one record, one run of the command."""
    told, event = Told(), a_weakening(at=START)
    await told.take(event, replace(event, at=START + 5))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    line = "good.test: protection weakened kind=mode before=enforce after=testing id=id1"
    assert record.getMessage() == line
    assert told.counters.weakenings == {WeakeningKind.MODE: 1}
    assert await told.records.weakenings(0, 9) == [event]
    assert told.events == [
        {
            "text": "good.test: its policy is no longer enforced, the mode is testing now",
            "domain": "good.test",
            "kind": "mode",
            "before": "enforce",
            "after": "testing",
            "id": "id1",
            "at": round(START),
        }
    ]


async def test_a_restart_repeats_nothing() -> None:
    """What was told before is in the store, and is not told again until its time is over."""
    event = a_weakening(at=START)
    gone = replace(event, kind=WeakeningKind.RECORD)
    records = MemoryStore()
    await Told(records).take(event, gone)
    for later, repeated in ((DAY - 1, []), (WEEK - 1, [event]), (WEEK, [event, gone])):
        told = Told()
        for each in (event, gone):
            await told.records.put_weakenings(each)
        told.now = START + later
        await told.alerts.recall()
        await told.take(event, gone)
        assert [each["kind"] for each in told.events] == [each.kind for each in repeated]


async def test_one_write() -> None:
    """What one policy weakens is written at once: a crash between two writes would lose one."""

    class Counting(MemoryStore):
        writes = 0

        async def put_weakenings(self, *weakenings: Weakening) -> None:
            self.writes += 1
            await super().put_weakenings(*weakenings)

    told, event = Told(records := Counting()), a_weakening(at=START)
    events = [replace(event, kind=kind) for kind in WeakeningKind]
    await told.take(*events)
    assert (records.writes, [*await records.weakenings(0, 9)][::-1]) == (1, events)


async def test_the_clock_was_set_back() -> None:
    """An event of the future is one of now: it does not hide events for years."""
    told = Told()
    await told.records.put_weakenings(a_weakening(at=START + 100 * DAY))
    await told.alerts.recall()
    await told.take(a_weakening(at=START))
    assert told.events == []
    told.now += DAY
    await told.take(a_weakening(at=START + DAY))
    assert len(told.events) == 1


async def test_a_store_that_hangs() -> None:
    """It delays neither the start nor other events; what it misses is bounded."""

    class Hanging(MemoryStore):
        async def weakenings(self, since: float, limit: int) -> Sequence[Weakening]:
            await asyncio.Event().wait()
            return await super().weakenings(since, limit)

    told = Told(Hanging())
    async with asyncio.timeout(60):
        await told.alerts.recall()
    await told.take(a_weakening())
    assert len(told.events) == 1


LABEL = "x" * 63
LONGEST = Domain(".".join([LABEL] * 3 + ["y" * 61]))


@pytest.mark.parametrize("kind", WeakeningKind)
def test_the_longest_event_fits(kind: WeakeningKind) -> None:
    """A line is whole, however long names, patterns and ids are."""

    def many(letter: str) -> Policy:
        mx = "".join(f"mx: {letter}{n}.{LONGEST[5:]}\n" for n in range(200))
        return parse_policy(f"version: STSv1\nmode: enforce\n{mx}max_age: 604800\n".encode())

    domain = Published()
    domain.attempt("a" * 32, many("a"))
    domain.attempt("b" * 32, many("b"))
    (event,) = domain.found
    assert len(to_line(to_event(replace(event, domain=LONGEST, kind=kind)))) <= LINE_LIMIT


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=500))
def test_a_line_is_one_json_object(text: str) -> None:
    """Whatever printable text an event has, the command gets one line of JSON."""
    line = to_line(to_event(a_weakening(before=text)))
    assert line.count(b"\n") == 1
    assert json.loads(line)["before"] == text
