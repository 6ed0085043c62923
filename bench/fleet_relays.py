"""What fifty relays cost a shared store, and how much room a million policies take.

A relay is a client, as each network process has one; all are in this process. An idle relay says
that it is alive, reads the version of the exceptions, looks at a sample of its policies, notes uses
and asks what is due, as often as a daemon does. A busy one also sees new domains, one in twenty of
which no relay knows.
"""

import asyncio
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.load import POLICY
from bench.process import BenchError
from bench.servers import DAEMON
from bench.shape import Bench, Shape, progress
from bench.sheet import Line
from bench.stores import ENGINES, running_store
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.daemon.fleet.handover import PAUSE, SAMPLE
from postfix_mta_sts.daemon.fleet.renewals import TAKEN, TICK
from postfix_mta_sts.daemon.fleet.tasks import EXCEPTIONS_ROUND, PRESENCE_ROUND
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.client import FleetClient
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyRequest,
    Claim,
    FindDue,
    Held,
    Look,
    NoteUses,
    OfferPolicy,
    ReadExceptions,
    RelayReport,
    Unavailable,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.fleet.stores import PREFIX, SharedStore

RELAYS: Final = 50
NEW: Final = 10.0
"""Domains a second that a busy relay sees for the first time."""
FETCHED: Final = 20
"""One in so many of them is one that no relay knows."""
USED: Final = 500
"""Domains that a busy relay was asked for in the last minute."""
POLICIES: Final = 100_000
MILLION: Final = 1_000_000
WRITERS: Final = 32
PATIENCE: Final = 5.0
"""Seconds that a call may take: all fifty share this process, and wait for each other."""

_CALLS: Final = "calls a second"
_CPU: Final = "CPU of the store, % of one"
_P50: Final = "p50 of a look, ms"
_P99: Final = "p99 of a look, ms"
_SIZE: Final = "room for a million policies with their history, extrapolated, MiB"
_GIVEN: Final = "policies given a second"


@dataclass(slots=True)
class _Relay:
    """A simulated relay; `looks` are the seconds that its looks took."""

    client: FleetClient
    known: int
    """Policies that are in the store: its looks find them."""
    looks: list[float] = field(default_factory=list)

    async def ask(self, request: AnyRequest) -> None:
        """Ask the store; what it does not do ends the shape."""
        answer = await self.client.answer(request)
        if isinstance(answer, Unavailable):
            raise BenchError(f"{type(request).__name__}: {answer.reason}")

    async def announce(self) -> None:
        """Say that it is alive."""
        await self.ask(Announce(RelayReport("0", self.known, 0, 0)))

    async def read_exceptions(self) -> None:
        """Ask for the document of exceptions."""
        await self.ask(ReadExceptions(0))

    async def look_at_sample(self) -> None:
        """See whether the store still has what this relay has on file."""
        sample = (_domain(next(_numbers) % self.known) for _ in range(SAMPLE))
        await asyncio.gather(*(self.ask(Look(each, PATIENCE)) for each in sample))

    async def note_uses(self) -> None:
        """Note what it was asked for, and ask what is due."""
        await self.ask(NoteUses({_domain(number): 1.0 for number in range(USED)}))
        await self.ask(FindDue(30 * 86_400.0, TAKEN))

    async def look(self) -> None:
        """See a new domain."""
        started = time.monotonic()
        if next(_numbers) % FETCHED:
            await self.ask(Look(_domain(next(_numbers) % self.known), PATIENCE))
            self.looks.append(time.monotonic() - started)
            return
        domain = _domain(MILLION + next(_numbers))
        await self.ask(Look(domain, PATIENCE))
        self.looks.append(time.monotonic() - started)
        held = await self.client.answer(Claim(domain, 0, 0.0, PATIENCE))
        token = held.token if isinstance(held, Held) else ""
        await self.ask(_offer(domain, token))


_numbers = itertools.count()
_IDLE: Final[Sequence[tuple[float, Callable[[_Relay], Awaitable[None]]]]] = (
    (PRESENCE_ROUND, _Relay.announce),
    (EXCEPTIONS_ROUND, _Relay.read_exceptions),
    (PAUSE, _Relay.look_at_sample),
    (TICK, _Relay.note_uses),
)
"""What each relay does, every so many seconds."""


def _relays(bench: Bench) -> None:
    for engine in ENGINES:
        progress(f"{RELAYS} relays, {engine}")
        with running_store(engine, bench) as store:
            asyncio.run(_measure(bench, engine, store))


async def _measure(bench: Bench, engine: str, store: SharedStore) -> None:
    async with _opened(store, RELAYS) as relays:
        number = bench.scaled(POLICIES)
        empty, started = await store.size(), time.monotonic()
        await _fill(relays, number)
        took = time.monotonic() - started
        room = (await store.size() - empty) / number * MILLION / 2**20
        bench.sheet.note(_filling(engine), _SIZE, DAEMON, room)
        bench.sheet.note(_filling(engine), _GIVEN, DAEMON, number / took)
        for relay in relays:
            relay.known = number
        for shape, rate in ((_shape("idle", engine), 0.0), (_shape("busy", engine), NEW)):
            await _watch(bench, shape, store, relays, rate)


async def _fill(relays: Sequence[_Relay], number: int) -> None:
    domains = iter(range(number))

    async def give(relay: _Relay) -> None:
        for each in domains:
            await relay.ask(_offer(_domain(each), ""))

    await asyncio.gather(*(give(relay) for relay in relays[:WRITERS]))


async def _watch(
    bench: Bench, shape: str, store: SharedStore, relays: Sequence[_Relay], rate: float
) -> None:
    """Have the relays work for a minute, or less in a short run, and note what that costs."""
    seconds = max(2.0, 60 * bench.scale)
    works = [*_IDLE, *([(1 / rate, _Relay.look)] if rate else [])]
    calls, cpu, started = await store.calls(), _cpu(store.pid()), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for (number, relay), (every, work) in itertools.product(enumerate(relays), works):
            first = every * number / len(relays)
            group.create_task(_repeat(relay, work, every, first, started + seconds))
    took = time.monotonic() - started
    bench.sheet.note(shape, _CALLS, DAEMON, (await store.calls() - calls) / took)
    bench.sheet.note(shape, _CPU, DAEMON, (_cpu(store.pid()) - cpu) / took * 100)
    if looks := [each * 1000 for relay in relays for each in relay.looks]:
        cuts = statistics.quantiles(looks, n=100)
        bench.sheet.note(shape, _P50, DAEMON, cuts[49])
        bench.sheet.note(shape, _P99, DAEMON, cuts[98])


def _cpu(pid: int) -> float:
    """The CPU seconds of a server and of its processes, also of those that have ended."""
    family = [pid]
    ticks = 0
    for each in family:  # the list grows in the loop
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{each}/stat").read_text("ascii").rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))  # proc_pid_stat(5): utime to cstime
            children = Path(f"/proc/{each}/task/{each}/children").read_text("ascii")
            family += map(int, children.split())
    return ticks / os.sysconf("SC_CLK_TCK")


async def _repeat(
    relay: _Relay,
    work: Callable[[_Relay], Awaitable[None]],
    every: float,
    first: float,
    end: float,
) -> None:
    due = time.monotonic() + first
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await work(relay)
        due += every


@asynccontextmanager
async def _opened(store: SharedStore, number: int) -> AsyncIterator[list[_Relay]]:
    async with AsyncExitStack() as stack:
        made = [_Relay(FleetClient(_settings(store, f"r{n}"), _open), 0) for n in range(number)]
        for relay in made:
            stack.push_async_callback(relay.client.close)
        yield made


async def _open(settings: SharedStoreSettings) -> Engine:
    return open_engine(settings)


def _settings(store: SharedStore, name: str) -> SharedStoreSettings:
    section = store.section
    password = Path(str(section["password_file"])).read_text()
    authorities = section.get("ca_file")
    return SharedStoreSettings(
        location=replace(parse_store_url(str(section["url"])), password=password),
        name=name,
        prefix=PREFIX,
        budget=PATIENCE,
        keyring=store.keyring,
        authorities=Path(str(authorities)).read_text() if authorities else None,
    )


def _domain(number: int) -> Domain:
    return Domain(POLICY.replace("%", str(number)))


def _offer(domain: Domain, token: str) -> OfferPolicy:
    text = f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\n"
    text += "max_age: 604800\r\n"
    return OfferPolicy(domain, text, "20260101", 1.0, 86_400.0, 1.0, token)


def _filling(engine: str) -> str:
    return f"100,000 policies in {engine}"


def _shape(kind: str, engine: str) -> str:
    return f"{RELAYS} {kind} relays, {engine}"


def _lines() -> Iterator[Line]:
    for engine in ENGINES:
        yield Line(_filling(engine), _SIZE)
        yield Line(_filling(engine), _GIVEN)
        for figure in (_CALLS, _CPU):
            yield Line(_shape("idle", engine), figure)
        for figure in (_CALLS, _CPU, _P50, _P99):
            yield Line(_shape("busy", engine), figure)


SHAPES: Final = (Shape("fleet-relays", _relays, tuple(_lines()), has_peer=False, has_stores=True),)
