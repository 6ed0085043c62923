"""Tell administrators when the protection of a domain becomes weaker.

`take` gets each weakening on the way of a reply, and only notes it: in the log, in the counters,
for the store and for `alerts.command`. The tasks of `works` do the rest.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from postfix_mta_sts.admin.alerts.command import AlertCommand
from postfix_mta_sts.admin.alerts.limits import Repeats
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.lifecycle import WEEK
from postfix_mta_sts.mtasts.weakening import Weakening, in_words
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store.records import WEAKENINGS_LIMIT, AdminRecords

RECALL_LIMIT: Final = 2_000
"""Earlier events that are read at the start, which takes 0.2 s."""
RECALL_TIMEOUT: Final = 1.0
"""Seconds for the read of earlier events, at the start."""
WRITE_LIMIT: Final = 100
"""Events that one transaction writes. Those of one policy are mostly in that of the policy: an end
of the process between the two would lose them, for the next start finds nothing that changed."""
_log = logging.getLogger(__name__)


class Alerts:
    """What becomes of each weakening; `clock` has epoch seconds, `monotonic` is for limits."""

    def __init__(
        self,
        records: AdminRecords,
        counters: Counters,
        command: AlertCommand,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.command = command
        self._records = records
        self._counters = counters
        self._clock = clock
        self._monotonic = monotonic
        self._repeats = Repeats()
        self._unwritten: deque[Weakening] = deque(maxlen=WEAKENINGS_LIMIT)
        self._wake = asyncio.Event()

    async def recall(self) -> None:
        """Note the events of the last week, so that a restart repeats none.

        A store that is slow does not delay the start: then an event may be repeated.
        """
        now, monotonic = self._clock(), self._monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECALL_TIMEOUT):
                for each in reversed(await self._records.weakenings(now - WEEK, RECALL_LIMIT)):
                    self._repeats.admit(each, monotonic - max(0.0, now - each.at))

    def take(self, weakening: Weakening) -> None:
        """Note a weakening, unless it repeats one; returns at once."""
        if not self._repeats.admit(weakening, self._monotonic()):
            return
        self._counters.weakenings[weakening.kind] += 1
        event(
            _log,
            logging.WARNING,
            "protection weakened",
            weakening.domain,
            kind=weakening.kind,
            before=weakening.before,
            after=weakening.after,
            id=weakening.policy_id or None,
        )
        self._unwritten.append(weakening)
        self._wake.set()
        self.command.put(to_event(weakening))

    def works(self) -> Sequence[tuple[Coroutine[Any, Any, None], str]]:
        """Return the work of the tasks, and their names."""
        return ((self._write(), "alerts"), (self.command.run(), "alert commands"))

    async def close(self) -> None:
        """Write what is left; the command is given some time. Cancel the tasks before."""
        await self._write_all()
        await self.command.close()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write_all()

    async def _write_all(self) -> None:
        while self._unwritten:
            number = min(WRITE_LIMIT, len(self._unwritten))
            await self._records.put_weakenings(*(self._unwritten.popleft() for _ in range(number)))


def to_event(weakening: Weakening) -> dict[str, object]:
    """Return the event for `alerts.command` and the control socket; `text` is one sentence."""
    return {
        "text": in_words(weakening),
        "domain": weakening.domain,
        "kind": weakening.kind,
        "before": weakening.before,
        "after": weakening.after,
        "id": weakening.policy_id or None,
        "at": round(weakening.at),
    }
