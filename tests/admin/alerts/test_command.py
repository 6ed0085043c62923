"""When `alerts.command` is run: one at a time, limited, and never in the way."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from postfix_mta_sts.admin.alerts.command import (
    FAILURE_INTERVAL,
    QUEUE_LIMIT,
    TIMEOUT,
    AlertCommand,
)
from postfix_mta_sts.admin.alerts.limits import PER_HOUR
from postfix_mta_sts.admin.alerts.process import AlertError
from postfix_mta_sts.mtasts.lifecycle import HOUR
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import AlertResult
from tests.support.tally import Gate

WORDS = ("tell", "me")


class Runner:
    """An `AlertCommand` with a manual clock, and runs that the test lets end."""

    def __init__(self, words: Sequence[str] = WORDS, stop_timeout: float = 60.0) -> None:
        self.now = 0.0
        self.counters = Counters()
        self.gate = Gate()
        self.ran: list[tuple[Sequence[str], dict[str, Any]]] = []
        self.failure: Exception | None = None
        self.most = self._at_once = 0
        """Runs at the same time."""
        self.cancelled = 0
        self.pauses: list[float] = []
        self.may_go_on = asyncio.Event()
        self.command = AlertCommand(
            words,
            self.counters,
            lambda: self.now,
            execute=self._execute,
            sleep=self._sleep,
            stop_timeout=stop_timeout,
        )

    async def _execute(self, words: Sequence[str], line: bytes, seconds: float) -> None:
        assert seconds == TIMEOUT
        self.ran.append((words, json.loads(line)))
        self._at_once += 1
        self.most = max(self.most, self._at_once)
        try:
            await self.gate.passed()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._at_once -= 1
        if self.failure:
            raise self.failure

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.may_go_on.wait()
        self.may_go_on.clear()
        self.now += seconds

    def put(self, number: int, first: int = 0) -> None:
        """Queue numbered events."""
        for n in range(first, first + number):
            self.command.put({"n": n})

    @property
    def numbers(self) -> list[int | None]:
        """The numbers of the events so far."""
        return [line.get("n") for _, line in self.ran]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the task."""
        async with background_task(self.command.run(), "alert commands"):
            yield


async def settle() -> None:
    """Let the tasks go on until they wait for the test."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_one_after_the_other() -> None:
    """Each event runs the command once, in their order, and never two at the same time."""
    runner = Runner()
    async with runner.working():
        runner.put(3)
        await settle()
        runner.put(3, 3)
        await settle()
    assert runner.ran[0] == (WORDS, {"n": 0})
    assert (runner.numbers, runner.most) == ([*range(6)], 1)
    assert runner.counters.alerts == {AlertResult.DONE: 6}


async def test_no_command() -> None:
    """Without a command nothing waits, also after a reload that removes it."""
    runner = Runner(())
    async with runner.working():
        runner.put(1)
        runner.command.reconfigure(WORDS)
        runner.gate.hold()
        runner.put(3, 1)
        await settle()
        runner.command.reconfigure(())
        runner.gate.release()
        await settle()
    assert runner.numbers == [1]
    assert runner.counters.alerts == {AlertResult.DONE: 1}


async def test_a_command_that_hangs() -> None:
    """100 events wait for it; further ones are counted, and no memory is taken by them."""
    runner = Runner()
    runner.gate.hold()
    async with runner.working():
        runner.put(1)
        await settle()
        runner.put(QUEUE_LIMIT + 7, 1)
        runner.now = HOUR
        runner.gate.release()
        await settle()
        assert runner.numbers == [*range(PER_HOUR + 1)]
        runner.may_go_on.set()
        await settle()
    assert runner.most == 1
    assert runner.ran[-1][1]["left_out"] == QUEUE_LIMIT + 7 - PER_HOUR


async def test_many_events(caplog: pytest.LogCaptureFixture) -> None:
    """After 20 runs in an hour the rest waits for the end of the hour as one event."""
    runner = Runner()
    async with runner.working():
        runner.put(50)
        await settle()
        assert runner.numbers == [*range(PER_HOUR)]
        runner.put(3, 50)
        runner.may_go_on.set()
        await settle()
        assert runner.pauses == [HOUR]
        text = (
            "33 more, and there were too many for an alert each: "
            "postfix-mta-sts policy history --weaker lists all"
        )
        assert runner.ran[PER_HOUR][1] == {"text": text, "left_out": 33}
        runner.put(1, 53)
        await settle()
    assert runner.numbers[PER_HOUR:] == [None, 53]
    assert runner.counters.alerts[AlertResult.LEFT_OUT] == 33
    assert [r.getMessage() for r in caplog.records] == ["alerts left out count=33"]


async def test_a_command_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is run for the next event all the same; the log has one line an hour, with a count."""
    runner = Runner()
    runner.failure = AlertError("exit code 1: no route")
    async with runner.working():
        runner.put(3)
        await settle()
        runner.now = FAILURE_INTERVAL
        runner.put(1, 3)
        await settle()
    line = 'alert command failed command=tell reason="exit code 1: no route" count='
    assert [r.getMessage() for r in caplog.records] == [f"{line}1", f"{line}3"]
    assert runner.counters.alerts == {AlertResult.FAILED: 4}
    assert FAILURE_INTERVAL == HOUR


async def test_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A bug ends one run, with a traceback, and no other."""
    runner = Runner()
    runner.failure = ZeroDivisionError()
    async with runner.working():
        runner.put(2)
        await settle()
    assert runner.numbers == [0, 1]
    assert [r.levelno for r in caplog.records] == [logging.ERROR] * 2


async def test_stop(caplog: pytest.LogCaptureFixture) -> None:
    """When the daemon stops, a run may end in its time; what waits is counted."""
    runner = Runner()
    runner.gate.hold()
    async with runner.working():
        runner.put(5)
        await settle()
    closing = asyncio.create_task(runner.command.close())
    await settle()
    runner.gate.release()
    await closing
    assert (runner.numbers, runner.cancelled) == ([0], 0)
    assert "alerts left out count=4" in caplog.text


async def test_a_command_that_hangs_does_not_delay_the_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After its time the run is cancelled, which kills the program: it has failed."""
    runner = Runner(stop_timeout=0.0)
    runner.gate.hold()
    async with runner.working():
        runner.put(1)
        await settle()
    await runner.command.close()
    assert runner.cancelled == 1
    assert 'command=tell reason="killed, because the daemon stops" count=1' in caplog.text
    assert runner.counters.alerts == {AlertResult.FAILED: 1}
