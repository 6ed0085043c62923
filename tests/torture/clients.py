"""The clients of a run: each asks without pause, and reports what it was answered and when."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import unquote

from tests.support.clients import Client, connected
from tests.torture.daemon import Daemon
from tests.torture.events import (
    NOT_FOUND,
    TEMP,
    UNANSWERED,
    Answered,
    Asked,
    Event,
    Fault,
    FaultBegan,
    FaultEnded,
    domain_of,
)

PATIENCE: Final = 20.0
"""Seconds after which a client gives up: more than any lookup timeout of a run."""
TCP_TABLE_SHARE: Final = 5
"""Each client of this many uses tcp_table."""
RECENT: Final = 100
"""New domains that are asked for again."""
PAUSE: Final = 0.01
"""Seconds between two questions of a client: this process also has to run the servers."""
BUSY: Final = 0.4
"""Seconds by which this process may be late before its servers are to blame."""
AGAIN: Final = 0.05
"""The share of questions for one of them."""
LATE: Final = 3.0
"""Seconds after which a planned question is not asked any more."""
_PROBE: Final = 0.02


class Lag:
    """By how much this event loop was late, lately; `tell` is told when that is too much."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.busy = 0.0
        """Seconds in which the machine was too busy."""
        self._tell = tell
        self._late: deque[tuple[float, float]] = deque(maxlen=20_000)

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_PROBE)
            late = time.monotonic() - before - _PROBE
            if late > _PROBE:
                self._late.append((before, late))
            if late > BUSY:
                self.busy += late
                self._tell(FaultBegan(before, Fault.BUSY))
                self._tell(FaultEnded(time.monotonic(), Fault.BUSY))

    def during(self, since: float, until: float) -> float:
        """Seconds of delay between two moments."""
        total = 0.0
        for at, late in reversed(self._late):
            if at + late + _PROBE < since:
                break
            if at < until:
                total += late
        return total


@dataclass(slots=True)
class Pool:
    """The domains that clients ask for between the planned questions."""

    known: Sequence[str]
    recent: deque[str]
    """New domains that were asked for lately."""
    tell: Callable[[Event], None]
    lag: Lag


class Asker:
    """One client; `planned` holds what the schedule wants to be asked, and since when.

    One that `asks_new` may have to wait for the network; the others ask only for known domains.
    """

    def __init__(
        self, name: str, daemon: Daemon, pool: Pool, rng: Random, *, asks_new: bool
    ) -> None:
        self.name = name
        self._asks_new = asks_new
        self.planned: deque[tuple[float, str]] = deque()
        self._daemon = daemon
        self._pool = pool
        self._rng = rng

    async def run(self) -> None:
        """Ask until cancelled; connect again when the daemon is there again."""
        path = self._daemon.tcp_table if self._is_tcp_table else self._daemon.socketmap
        while True:
            await self._daemon.up.wait()
            try:
                async with connected(path) as client:
                    while True:
                        await self._ask(client, *self._question())
                        await asyncio.sleep(PAUSE)
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(0.05)

    @property
    def _is_tcp_table(self) -> bool:
        return self.name.startswith("t")

    def _question(self) -> tuple[str, str]:
        """The next key and map name."""
        now = time.monotonic()
        while self.planned:
            since, domain = self.planned.popleft()
            if now - since < LATE:
                self._pool.recent.append(domain)
                return domain, "postfix"
        again = self._asks_new and self._pool.recent and self._rng.random() < AGAIN
        domain = self._rng.choice(self._pool.recent if again else self._pool.known)
        form = self._rng.choice(("{}", "{}", "{}:25", "[{}]:587"))
        return form.format(domain), self._rng.choice(("postfix", "QUERYwithTLSRPT"))

    async def _ask(self, client: Client, key: str, map_name: str) -> None:
        asked_at = time.monotonic()
        self._pool.tell(Asked(asked_at, domain_of(key)))
        try:
            async with asyncio.timeout(PATIENCE):
                if self._is_tcp_table:
                    answer = tcp_table_answer(await client.get(key))
                else:
                    answer = socketmap_answer(await client.ask(key, map_name))
        except (OSError, EOFError, TimeoutError):
            if self._daemon.up.is_set() and self._daemon.started_at < asked_at:
                self._report(asked_at, key, map_name, UNANSWERED)
            raise
        self._report(asked_at, key, map_name, answer)

    def _report(self, asked_at: float, key: str, map_name: str, answer: str) -> None:
        at = time.monotonic()
        lag = self._pool.lag.during(asked_at, at) if at - asked_at > 1 else 0.0
        self._pool.tell(Answered(at, asked_at, self.name, key, map_name, answer, lag))


def socketmap_answer(reply: bytes) -> str:
    """The answer in a reply of a socketmap, in the words of `events`."""
    status, _, text = reply.decode().partition(" ")
    if status in {"TEMP", "TIMEOUT", "PERM"}:
        return TEMP
    return NOT_FOUND if status == "NOTFOUND" else _without_attributes(text)


def tcp_table_answer(reply: bytes) -> str:
    """The answer in a reply of a tcp_table, in the words of `events`."""
    status, _, text = reply.decode().partition(" ")
    if status == "400":
        return TEMP
    return NOT_FOUND if status == "500" else _without_attributes(unquote(text))


def _without_attributes(text: str) -> str:
    """A policy without its TLSRPT attributes."""
    return text.partition(" policy_type=")[0]
