"""A store that fails under load costs nothing but sharing, and is well again by itself.

`trial` says what is asked and measured; `build/fleet/faults.md` has the figures.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.e2e.namespace import Namespace
from tests.fleet.engines import ENGINES, faults_of
from tests.fleet.load import EVERY, compile_load
from tests.fleet.relays import Relay, fleet_of, secure
from tests.fleet.stores import PATIENCE, SharedStore
from tests.fleet.trial import ALONE, Row, Stage, lines_of, trial
from tests.fleet.world import World

pytestmark = pytest.mark.timeout(400)

NAMES: Final = ("a", "b", "c")
EXCEPTION: Final = ("--use", "encrypt", "--for", "2d", "--reason", "a test")
EXCEPTED: Final = "OK encrypt"
KNOWN: Final = 200
DURING: Final = 4.5
"""Seconds that a fault lasts: breakers are opened, and their first probes find the store well."""
PROBED: Final = 7.0
"""The same of some: first probes fail."""
MINUTES: Final = 100.0
"""Seconds that a long one lasts: then the pause of the breakers has its full length."""
RARELY: Final = 0.5
"""Seconds between new look-ups in a long one."""
BUDGET: Final = 250.0
"""Milliseconds that a store may cost a new look-up."""
FAILURES: Final = 2
"""New look-ups at one relay that a store may cost them until its breaker is open."""
READABLE: Final = {"read-only", "disk full", "out of memory"}
"""Faults in which look-ups still read the store: no breaker is open on their way."""
FACTOR: Final = 1.5
"""By how much the p99 of remembered look-ups differs between two relays, or two seconds, without
a reason."""
NOISE: Final = 2.0
"""And milliseconds."""
MOST: Final = 1.05
"""Fetches per domain that was new during a fault, when all relays have been asked for it, too."""
NEW_FACTOR: Final = 1.5
NEW_NOISE: Final = 5.0
"""The same of the median of new look-ups, of which a store that works costs some milliseconds."""


@pytest.fixture(scope="module")
def stage(
    inside: Namespace, place: Path, logs: Path, world: World, store: SharedStore
) -> Iterator[Stage]:
    """Three relays that share the store, and one that does not."""
    compile_load()
    known = world.published(KNOWN)
    folder = place / f"{store.name}-relays"
    with fleet_of(inside, folder, logs, world, store.over_wire) as fleet:
        relays = fleet.start_all(*NAMES)
        (excepted,) = world.domains()
        done = relays[0].command("exception", "add", excepted, *EXCEPTION)
        assert done.returncode == 0, done.stderr
        yield Stage(relays, fleet.start(ALONE, is_member=False), known, excepted)


@pytest.mark.parametrize(
    ("store", "fault"),
    [(store, fault) for store in ENGINES for fault in faults_of(store)],
    indirect=["store"],
    scope="module",
)
async def test_a_fault_costs_nothing_but_sharing(
    fault: str, stage: Stage, world: World, store: SharedStore, logs: Path
) -> None:
    """Under load: no try-again, no weaker answer, no wait but the budget, and one log line."""
    seconds = PROBED if fault in {"hangs", "killed", "late"} else DURING
    await _try(fault, stage, world, store, logs, seconds)


@pytest.mark.parametrize("store", ["valkey-8", "postgresql-17"], indirect=True, scope="module")
async def test_an_outage_of_minutes_costs_nothing_but_sharing(
    stage: Stage, world: World, store: SharedStore, logs: Path
) -> None:
    """The same when the store hangs until it is asked once a minute."""
    await _try("hangs", stage, world, store, logs, MINUTES)


async def _try(
    fault: str, stage: Stage, world: World, store: SharedStore, logs: Path, seconds: float
) -> None:
    await _all_know(stage.all, stage.known)
    async with asyncio.timeout(PATIENCE):
        while await _excepted(stage) != {EXCEPTED}:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.2)
    marks = [relay.log.mark for relay in stage.relays]
    every = RARELY if seconds == MINUTES else EVERY
    seen = await trial(stage, world, store.faults[fault], seconds, every)
    row = seen.row()
    row["well after"] = await _well(stage.relays, seen.ended)
    await store.has("policy", seen.given())
    await store.has("policy", stage.known)
    row["agree after"] = monotonic() - seen.ended
    row["fetches"] = await _fetches(stage, world, seen.given())
    with world.without("hosts"):
        await _all_know(stage.all, stage.known)
        assert await _excepted(stage) == {EXCEPTED}
    row |= lines_of(stage.relays, marks)
    _note(logs, store, f"{fault}, {seconds:g} s", row)
    assert seen.wrong(secure) == set()
    _check(row, is_readable=fault in READABLE)


async def _fetches(stage: Stage, world: World, domains: Sequence[str]) -> float:
    """Ask all relays for domains that one has fetched; return how often each was fetched."""
    await _all_know(stage.relays, domains, clients=4)
    gets = world.counts(domains).gets
    return sum(gets[domain] for domain in domains) / len(domains)


async def _all_know(relays: Sequence[Relay], domains: Sequence[str], clients: int = 20) -> None:
    for relay in relays:
        replies = await relay.answers(domains, clients)
        assert replies == {name: secure(name) for name in domains}


async def _excepted(stage: Stage) -> set[str]:
    """The replies for the domain of the exception."""
    return {await relay.answer(stage.excepted) for relay in stage.relays}


def _check(row: Row, *, is_readable: bool) -> None:
    assert (row["try-again"], row["weaker"]) == (0, 0)
    assert row["p99"] <= FACTOR * max(row["p99 before"], row["p99 alone"]) + NOISE
    assert row["worst"] <= row["usual"] + row["stall"] + BUDGET
    assert row["new"] <= NEW_FACTOR * row["new alone"] + NEW_NOISE
    assert row["slow"] + row["slow, open"] <= FAILURES
    assert row["slow, open"] == 0 or is_readable
    assert row["lines"] <= 1
    assert row["lines, lost"] <= 1
    assert row["agree after"] <= PATIENCE
    assert row["fetches"] <= MOST


async def _well(relays: Sequence[Relay], since: float) -> float:
    """Wait until all relays use the store again; return how long after `since` that was."""
    end = monotonic() + PATIENCE
    for relay in relays:
        while "fleet" in (await asyncio.to_thread(relay.ask_control, "GET", "status"))["degraded"]:
            assert monotonic() < end, f"{relay.name} does not use the store again"
            await asyncio.sleep(0.2)
    return monotonic() - since


def _note(logs: Path, store: SharedStore, fault: str, row: Row) -> None:
    """Write the figures down, before they are judged."""
    columns = [f"{value:.3g}" for value in row.values()]
    table = logs / "faults.md"
    with contextlib.suppress(FileExistsError), table.open("x") as file:
        file.write(f"| store | fault | {' | '.join(row)} |\n")
        file.write("| --- " * (len(row) + 2) + "|\n")
    with table.open("a") as file:
        file.write(f"| {store.name} | {fault} | {' | '.join(columns)} |\n")
