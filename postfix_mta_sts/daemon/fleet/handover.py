"""What the shared store lacks and this relay has on file: found by samples, given page by page.

A store may be new, or was emptied, or has come back from a backup. So a relay looks at all its
policies once after its start and after an outage, and at a few of them now and then. If the store
lacks most of these, it looks at all again. What is missing, or older, it offers. All that is slow,
and each relay begins at another place, so that relays share the work. A store that lacks most of
them again soon afterwards has no room for all: then it is left alone for a while.
"""

import asyncio
import logging
import math
import random
import string
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, MINUTE
from postfix_mta_sts.store import Row, RowFilter
from postfix_mta_sts.store.fleet.requests import CallFleet, Done, Look, Seen

PAUSE: Final = 10.0
"""Seconds between two samples, one of which finds that a store was emptied."""
SAMPLE: Final = 5
"""Policies of a sample."""
BATCH: Final = 25
"""Policies that are looked at side by side."""
BREATH: Final = 0.05
"""Seconds between two batches: 500 looks a second at most, which take 5 % of a processor. The looks
of a batch are one round trip."""
OFFER_BREATH: Final = 0.025
"""And seconds for each that the store lacked: to give it costs ten times as much as to look, and
three relays that did so without a pause took both processors from new look-ups."""
PAGE: Final = 500
"""Rows that are read at once."""
OLDER: Final = MINUTE
"""Seconds by which the fetch of a policy is earlier at least if the store lacks the later one."""
LOOK_SECONDS: Final = 5.0
"""For a look, behind which nothing waits."""
FIRST_REST: Final = 60.0
"""Seconds after a look at all in which there is no other, unless the store was emptied;
doubled each time. A store that was emptied lacks them once, one without room again and again."""
LONGEST_REST: Final = 3600.0
FORGOTTEN_AFTER: Final = DAY
"""Seconds after a rest in which the store lacked little: then the next rest is a first one."""
COMPLETE: Final = 2
"""Samples in a row of which the store lacked nothing: if it lacks all of the next one, it was
emptied. With room for two thirds of the policies, the same happens by chance every two days."""

_Range: TypeAlias = tuple[Domain | None, Domain | None]
"""After which domain, and up to which; None: from the first, or to the last."""

_log = logging.getLogger(__name__)


class Rows(Protocol):
    """The policies on file."""

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`."""


class StoreAwayError(Exception):
    """The store did not answer."""


class Handover:
    """Looks and offers by `ask`; `run` is its task."""

    def __init__(
        self,
        ask: CallFleet,
        rows: Rows,
        fetches: Fetches,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._rows = rows
        self._fetches = fetches
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._is_wanted = True
        self._left: list[_Range] = []
        """What a look at all has still to look at, after the store has failed."""
        self._rest = 0.0
        self._rests_until = -math.inf
        self._complete = 0
        """Samples in a row of which the store lacked nothing."""
        self._was_away = False
        """The store has failed since the last look at all: it may lack what it was given last."""
        self._pause: asyncio.Timeout | None = None

    def want_all(self) -> None:
        """Look at all policies next, because some could not be offered."""
        self._is_wanted = True

    def store_is_back(self) -> None:
        """Look at once: the store may have lost something."""
        self._was_away = True
        if self._pause:
            self._pause.reschedule(0)
            self._pause = None

    async def run(self) -> None:
        """Look and offer until cancelled."""
        while True:
            try:
                await self.look_once()
            except StoreAwayError:
                pass  # the next look tries again
            except Exception as error:  # noqa: BLE001 (the top of a task: the next look may work)
                event(_log, logging.ERROR, "sharing failed, next try soon", exc_info=error)
                self._left.clear()  # not at the same place
                self.want_all()
            await self._wait()

    async def _wait(self) -> None:
        """Wait for the time of the next look, or until the store is back."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._pause:
                    await self._sleep(PAUSE)
        finally:
            self._pause = None

    async def look_once(self) -> None:
        """Look at all, if that is due, or at a sample. Raises `StoreAwayError`."""
        if self._was_away and self._monotonic() >= self._rests_until:
            self._want_all_with_rest()
        if not (self._is_wanted or self._left):
            await self._look_at_sample()
        if self._is_wanted and not self._left:
            self._is_wanted = False  # what is dropped meanwhile wants another look
            start = _somewhere()
            self._left = [(start, None), (None, start)]
        while self._left:
            await self._offer_range(*self._left[0])
            del self._left[0]

    async def _look_at_sample(self) -> None:
        """Want all to be looked at if the store lacks most of a sample, and this is no rest."""
        sample = await self._sample()
        missing = await self._offer_missing(sample)
        was_emptied = missing == len(sample) and self._complete >= COMPLETE
        self._complete = 0 if missing else self._complete + 1
        is_rest = self._monotonic() < self._rests_until
        if missing > len(sample) // 2 and (was_emptied or not is_rest):
            self._want_all_with_rest()

    def _want_all_with_rest(self) -> None:
        """Look at all, and begin the next rest, which is longer than the last one."""
        now, self._is_wanted, self._was_away = self._monotonic(), True, False
        is_forgotten = now >= self._rests_until + FORGOTTEN_AFTER
        self._rest = FIRST_REST if is_forgotten else min(2 * self._rest, LONGEST_REST)
        self._rests_until = now + self._rest

    async def _sample(self) -> Sequence[Row]:
        """Some policies on file, from a random place on."""
        query = RowFilter(self._clock())
        rows = list(await self._rows.page(query, _somewhere(), SAMPLE))
        if len(rows) < SAMPLE:
            first = await self._rows.page(query, None, SAMPLE - len(rows))
            rows += [row for row in first if row not in rows]
        return rows

    async def _offer_range(self, after: Domain | None, end: Domain | None) -> None:
        """Offer what the store lacks of the policies on file between two domains."""
        query = RowFilter(self._clock())
        while rows := await self._rows.page(query, after, PAGE):
            wanted = [row for row in rows if end is None or row.domain <= end]
            for begin in range(0, len(wanted), BATCH):
                batch = wanted[begin : begin + BATCH]
                offered = await self._offer_missing(batch)
                after = batch[-1].domain
                self._left[0] = (after, end)
                await self._sleep(BREATH + offered * OFFER_BREATH)
            if len(wanted) < len(rows):
                return

    async def _offer_missing(self, rows: Sequence[Row]) -> int:
        """Offer those of these policies that the store lacks; return how many it has kept."""
        return sum(await asyncio.gather(*map(self._offer_if_missing, rows)))

    async def _offer_if_missing(self, row: Row) -> bool:
        offer = self._fetches.offer(row.domain, row.state, row.asked_at, is_dated=row.is_dated)
        if offer is None:
            return False
        seen = await self._ask(Look(row.domain, LOOK_SECONDS, can_wait=True))
        if isinstance(seen, Seen) and seen.policy and seen.policy.age < offer.age + OLDER:
            return False
        answer = await self._ask(offer) if isinstance(seen, Seen) else seen
        if not isinstance(answer, Done):
            raise StoreAwayError
        return answer.is_kept


def _somewhere() -> Domain:
    """A random place in the order of domains."""
    return Domain("".join(random.choices(string.ascii_lowercase + string.digits, k=4)))  # noqa: S311
