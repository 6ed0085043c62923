"""What is asked of relays while their store fails, and how they answered.

Remembered look-ups come from the load generator of the bench, which is not delayed by the test; new
ones from the test, one after the other at each relay.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench import programs
from bench.load import Load, Result, RunningLoad
from bench.process import Address, BenchError
from tests.fleet.relays import Relay, secure
from tests.support.clients import connected
from tests.support.obstacles import cannot

RATE: Final = 500
"""Remembered look-ups a second at each relay: a busy mail server's."""
EVERY: Final = 0.1
"""Seconds from one new look-up to the next at a relay."""
PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a look-up of a new domain."""

    relay: str
    domain: str
    text: str
    at: float
    """Monotonic seconds, when it was asked."""
    seconds: float

    @property
    def came(self) -> float:
        """When it came."""
        return self.at + self.seconds


@dataclass(slots=True)
class Seen:
    """What a load has seen."""

    remembered: dict[str, Result] = field(default_factory=dict)
    """By relay."""
    new: list[Reply] = field(default_factory=list)

    def times(self, relays: Iterable[str]) -> list[float]:
        """The seconds that new look-ups took at these relays, in order."""
        names = set(relays)
        return [reply.seconds for reply in self.new if reply.relay in names]


def compile_load() -> None:
    """Compile the load generator, or skip the test."""
    try:
        programs.compile_all()
    except BenchError as error:
        cannot(str(error))


@contextlib.asynccontextmanager
async def load(
    relays: Sequence[Relay],
    known: Sequence[str],
    fresh: Iterable[str],
    seconds: float,
    *,
    mx: str = "mx1",
    every: float = EVERY,
) -> AsyncIterator[Seen]:
    """Ask all relays for `seconds`, at least while the context is open; then yield's value is full.

    `known`: the domains of one zone that each relay remembers, and whose MX host is `mx`. `fresh`:
    names that no relay has seen, of which each look-up takes one, `every` so many seconds.
    """
    seen = Seen()
    names = iter(fresh)
    over = asyncio.Event()
    with contextlib.ExitStack() as stack:
        loads = {
            relay.name: stack.enter_context(_remembered(relay, known, seconds, mx))
            for relay in relays
        }
        async with asyncio.TaskGroup() as group:
            start = time.monotonic()
            end = start + seconds
            for number, relay in enumerate(relays):
                turn = _Turn(start + every * number / len(relays), every)
                asking = _ask_new(relay, names, turn, seen, over)
                group.create_task(asking, name=f"new {relay.name}")
            try:
                yield seen
                await asyncio.sleep(max(0.0, end - time.monotonic()))
            finally:
                over.set()
        for name, running in loads.items():
            seen.remembered[name] = await asyncio.to_thread(running.result)


def _remembered(
    relay: Relay, known: Sequence[str], seconds: float, mx: str
) -> "contextlib.AbstractContextManager[RunningLoad]":
    key = known[0].replace("d0.", "d%.", 1)
    options = Load(
        key,
        numbers=len(known),
        clients=20,
        seconds=seconds,
        rate=RATE,
        answer=secure(key, mx),
    )
    return options.start(Address(f"unix:{relay.socketmap}"))


async def _ask_new(
    relay: Relay, names: Iterator[str], turn: "_Turn", seen: Seen, over: asyncio.Event
) -> None:
    async with connected(relay.socketmap) as client:
        while not await _is_set_within(turn.left(time.monotonic()), over):
            domain = next(names)
            at = time.monotonic()
            async with asyncio.timeout(PATIENCE):
                text = (await client.ask(domain)).decode()
            seen.new.append(Reply(relay.name, domain, text, at, time.monotonic() - at))


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a relay is asked: no two at once, also after a look-up that was slow."""

    first: float
    every: float

    def left(self, now: float) -> float:
        """Seconds until its next turn."""
        return (self.first - now) % self.every


async def _is_set_within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
