"""Compare this checkout with another one: cached look-ups, new policies and new absences.

Each round starts both daemons again, because two processes of the same code may differ by some per
cent for as long as they run. The checkout that is measured first alternates from round to round.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.cached import KEYS, TRANSPORTS, warm, warm_up
from bench.load import ABSENCE, POLICY, Load
from bench.servers import OTHER, RunningServer
from bench.shape import CPU, P50, P99, Bench, Shape, progress, settle
from bench.sheet import Cell, Line, Mark

_REMEMBERED: Final = {"policy": POLICY, "absence": ABSENCE}
_NEW_POLICIES: Final = "2,000 new policies, 100 clients, each version"
_NEW_ABSENCES: Final = "10,000 new domains without a record, 100 clients, each version"
_MAX_RATIO: Final = 1.05
"""Times the other checkout's figure; chosen, not measured: see bench/README.md."""


def compare(other: Path) -> Shape:
    """Return the shape that measures this checkout and `other` in turns.

    `other`: the root of a checkout whose virtual environment is in `.venv`.
    """
    lines = (*_remembered_lines(), *_new_lines())
    return Shape("against", lambda bench: _run(bench, other), lines, has_peer=False)


def _run(bench: Bench, other: Path) -> None:
    for round_ in range(bench.rounds):
        progress(f"this checkout and {other}: round {round_ + 1}")
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(bench.servers.daemon()),
                stack.enter_context(bench.servers.daemon(checkout=other)),
            ]
            in_turn = servers if round_ % 2 else servers[::-1]
            _measure_remembered(bench, in_turn)
            _measure_new(bench, in_turn)


def _measure_remembered(bench: Bench, servers: list[RunningServer]) -> None:
    keys = bench.scaled(KEYS)
    for kind, key in _REMEMBERED.items():
        for server in servers:
            warm(server, key, keys)
            settle(server.process)
        for transport in TRANSPORTS:
            load = Load(key, numbers=keys, seconds=bench.seconds)
            for server in servers:
                warm_up(load, server, transport)
                address = server.at[transport]
                bench.measure(_remembered(kind, transport), server, address, load)


def _measure_new(bench: Bench, servers: list[RunningServer]) -> None:
    for shape, key, number in ((_NEW_POLICIES, POLICY, 2_000), (_NEW_ABSENCES, ABSENCE, 10_000)):
        count = bench.scaled(number)
        for server in servers:
            load = Load(key, first=bench.fresh(count), clients=100, count=count, seconds=120)
            bench.measure(shape, server, server.at["TCP"], load)


def _remembered(kind: str, transport: str) -> str:
    return f"cached {kind}, 50 clients, {transport}, each version"


def _line(shape: str, figure: str) -> Line:
    return Line(shape, figure, (Mark(_MAX_RATIO, Cell(shape, figure, OTHER), OTHER),))


def _remembered_lines() -> Iterator[Line]:
    for kind in _REMEMBERED:
        for transport in TRANSPORTS:
            shape = _remembered(kind, transport)
            yield _line(shape, CPU)
            yield Line(shape, P50)


def _new_lines() -> Iterator[Line]:
    for shape in (_NEW_POLICIES, _NEW_ABSENCES):
        yield _line(shape, CPU)
        yield Line(shape, P99)
