"""What a shared store costs a relay: remembered look-ups, new ones, and those that others fetched.

Daemons with a store and one without are measured in turns. The stores are Debian's, as
`tests/fleet` starts them, on this machine: root is needed, and their CPU time is not counted.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from bench.cached import warm, warm_up
from bench.load import POLICY, Load
from bench.servers import DAEMON, RunningServer
from bench.shape import CPU, P50, P99, Bench, Shape, progress, settle
from bench.sheet import Cell, Line, Mark
from bench.stores import ENGINES, running_store
from tests.fleet.stores import SharedStore

ALONE: Final = "no store"
_KEYS: Final = 1_000
_NEW: Final = 2_000
_PER_SECOND: Final = "look-ups a second"


def _remembered(bench: Bench) -> None:
    for round_ in range(bench.rounds):
        progress(f"fleet, remembered: round {round_ + 1}")
        with contextlib.ExitStack() as stack:
            stores = {name: stack.enter_context(running_store(name, bench)) for name in ENGINES}
            in_turn = [ALONE, *ENGINES] if round_ % 2 else [*ENGINES, ALONE]
            servers = {
                name: stack.enter_context(
                    bench.servers.daemon(sections=_sections(stores.get(name)))
                )
                for name in in_turn
            }
            _measure_remembered(bench, servers)


def _measure_remembered(bench: Bench, servers: Mapping[str, RunningServer]) -> None:
    keys = bench.scaled(_KEYS)
    for server in servers.values():
        warm(server, POLICY, keys)
        settle(server.process)
    load = Load(POLICY, numbers=keys, seconds=bench.seconds)
    for name, server in servers.items():
        warm_up(load, server, "TCP")
        bench.measure(_shape("remembered", name), server, server.at["TCP"], load)


def _new(bench: Bench) -> None:
    count = bench.scaled(_NEW)
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(bench.servers.daemon())
        pairs = {name: _pair(bench, stack, name) for name in ENGINES}
        for server in (alone, *(each for pair in pairs.values() for each in pair)):
            Load(POLICY, first=bench.fresh(100), clients=10, count=100).run(server.at["TCP"])
        for round_ in range(bench.rounds):
            progress(f"fleet, new: round {round_ + 1}")
            _measure_new(bench, _shape("new", ALONE), alone, bench.fresh(count), count)
            for name, (first, second) in pairs.items():
                fresh = bench.fresh(count)
                _measure_new(bench, _shape("new", name), first, fresh, count)
                settle(first.process)  # it gives what it has fetched to the store
                _measure_new(bench, _shape("shared", name), second, fresh, count)


def _pair(
    bench: Bench, stack: contextlib.ExitStack, engine: str
) -> tuple[RunningServer, RunningServer]:
    """Run two relays that share a store."""
    store = stack.enter_context(running_store(engine, bench))
    one, other = (bench.servers.daemon(sections=_sections(store, name)) for name in ("a", "b"))
    return stack.enter_context(one), stack.enter_context(other)


def _measure_new(bench: Bench, shape: str, server: RunningServer, first: int, count: int) -> None:
    load = Load(POLICY, first=first, clients=100, count=count, seconds=120)
    if result := bench.measure(shape, server, server.at["TCP"], load):
        bench.sheet.note(shape, _PER_SECOND, server.name, result.count / result.seconds)


def _sections(store: SharedStore | None, name: str = "a") -> dict[str, object]:
    own: dict[str, object] = {"dane": {"mode": "off"}}
    return own | ({"fleet": {**store.section, "name": name}} if store else {})


def _shape(kind: str, store: str) -> str:
    words = {
        "remembered": "remembered policy, 50 clients, TCP",
        "new": "2,000 new policies, 100 clients",
        "shared": "2,000 policies that another relay has fetched, 100 clients",
    }
    return f"{words[kind]}, {store}"


def _remembered_lines() -> Iterator[Line]:
    for figure in (CPU, P50, P99):
        alone = Cell(_shape("remembered", ALONE), figure, DAEMON)
        yield Line(alone.shape, figure)
        for engine in ENGINES:
            mark = Mark(1.0, alone, ALONE, of_worst=True)
            yield Line(_shape("remembered", engine), figure, (mark,))


def _new_lines() -> Iterator[Line]:
    shapes = [
        _shape("new", ALONE),
        *(_shape(kind, engine) for kind in ("new", "shared") for engine in ENGINES),
    ]
    for shape in shapes:
        for figure in (CPU, P50, P99, _PER_SECOND):
            yield Line(shape, figure)


SHAPES: Final = (
    Shape("fleet", _remembered, tuple(_remembered_lines()), has_peer=False, has_stores=True),
    Shape("fleet-new", _new, tuple(_new_lines()), has_peer=False, has_stores=True),
)
