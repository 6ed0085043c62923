"""Run `alerts.command` for events: one at a time, limited in number, and never in the way.

`put` only queues an event. The task `run` runs the command for it, as `process` does. What
exceeds a limit is counted; the log and one event tell of it when there is room again.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from postfix_mta_sts.admin.alerts import process
from postfix_mta_sts.admin.alerts.limits import HourlyLimit
from postfix_mta_sts.admin.alerts.process import AlertError
from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import AlertResult

TIMEOUT: Final = 60.0
"""Seconds for one run."""
QUEUE_LIMIT: Final = 100
"""Events that wait for the command."""
STOP_TIMEOUT: Final = 1.5
"""Seconds that a run has left when the daemon stops."""
FAILURE_INTERVAL: Final = 3_600.0
"""Seconds between two lines about a command that fails."""

_log = logging.getLogger(__name__)


class AlertCommand:
    """The command, `words`, and the events for it; no words: there is no command.

    Start `run` as a task, and call `close` in the end. The other arguments are for tests.
    """

    def __init__(
        self,
        words: Sequence[str],
        counters: Counters,
        monotonic: Callable[[], float],
        *,
        execute: Callable[[Sequence[str], bytes, float], Awaitable[None]] = process.run,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        self._words = words
        self._counters = counters
        self._monotonic = monotonic
        self._execute = execute
        self._sleep = sleep
        self._stop_timeout = stop_timeout
        self._events: deque[bytes] = deque()
        self._left_out = 0
        self._limit = HourlyLimit()
        self._failures = RateLimit(FAILURE_INTERVAL)
        self._is_pausing = False
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def reconfigure(self, words: Sequence[str]) -> None:
        """Use another command from the next run on; without one, what waits is dropped."""
        self._words = words
        if not words:
            self._events.clear()
            self._left_out = 0

    def put(self, values: Mapping[str, object]) -> None:
        """Queue an event, or count it if there are too many."""
        if not self._words:
            return
        if self._is_pausing or len(self._events) >= QUEUE_LIMIT:
            self._left_out += 1
        else:
            self._events.append(to_line(values))
        self._wake.set()

    async def run(self) -> None:
        """Run the command for each event, until this is cancelled; a run then goes on."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while line := await self._next_line():
                self._limit.take(self._monotonic())
                self._running = asyncio.create_task(self._try(line), name="alert command")
                await asyncio.wait([self._running])

    async def close(self) -> None:
        """Give a run that is under way its time, and then kill it; cancel `run` before."""
        self._leave_out_all()
        self._take_left_out()
        if self._running and not self._running.done():
            await asyncio.wait([self._running], timeout=self._stop_timeout)
            self._running.cancel()
            await asyncio.wait([self._running], timeout=process.KILL_TIMEOUT)

    async def _next_line(self) -> bytes | None:
        """Return what to run the command with; None: nothing waits."""
        if not self._events and not self._left_out:
            return None
        if wait := self._limit.wait(self._monotonic()):
            await self._pause(wait)
        if self._events:
            return self._events.popleft()
        number = self._take_left_out()
        return to_line(left_out(number)) if number else None

    def _take_left_out(self) -> int:
        """Return the number of events that were left out, and log it; they are forgotten then."""
        number, self._left_out = self._left_out, 0
        if number:
            event(_log, logging.WARNING, "alerts left out", count=number)
            self._counters.alerts[AlertResult.LEFT_OUT] += number
        return number

    def _leave_out_all(self) -> None:
        self._left_out += len(self._events)
        self._events.clear()

    async def _pause(self, seconds: float) -> None:
        """Wait until a run is admitted again; what waits, and what comes meanwhile, is counted."""
        self._leave_out_all()
        self._is_pausing = True
        try:
            await self._sleep(seconds)
        finally:
            self._is_pausing = False

    async def _try(self, line: bytes) -> None:
        """Run the command; log a failure, unless one was logged a moment ago."""
        words = self._words
        try:
            if words:  # a reload may have taken the command away
                await self._execute(words, line, TIMEOUT)
                self._counters.alerts[AlertResult.DONE] += 1
        except AlertError as error:
            self._note_failure(words, str(error))
        except asyncio.CancelledError:
            self._note_failure(words, "killed, because the daemon stops")
            raise
        except Exception as error:  # noqa: BLE001 (the top of a task: the next event tries again)
            event(_log, logging.ERROR, "alert command failed by an internal error", exc_info=error)

    def _note_failure(self, words: Sequence[str], reason: str) -> None:
        self._counters.alerts[AlertResult.FAILED] += 1
        if count := self._failures.take(self._monotonic()):
            event(
                _log,
                logging.WARNING,
                "alert command failed",
                command=words[0],
                reason=reason,
                count=count,
            )


def left_out(number: int) -> dict[str, object]:
    """Return the event that stands for those that exceeded a limit."""
    what = f"{number} more" if number > 1 else "one more"
    advice = "postfix-mta-sts policy history --weaker lists all"
    text = f"{what}, and there were too many for an alert each: {advice}"
    return {"text": text, "left_out": number}


def to_line(values: Mapping[str, object]) -> bytes:
    """Write an event as one line of JSON in ASCII."""
    return json.dumps(values).encode("ascii") + b"\n"
