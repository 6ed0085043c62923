"""The cost of DANE: new policies and remembered ones, with DANE and without.

Only the root zone of the name server is signed, so each new domain costs one query for its MX
records. The cost of signed zones follows from their number of queries.
"""

import contextlib
from typing import Final

from bench.cached import warm
from bench.load import POLICY, Load
from bench.servers import DAEMON, RunningServer
from bench.shape import CPU, P99, Bench, Shape, progress
from bench.sheet import Cell, Line, Mark

_NEW: Final = "new policies, 100 clients, DANE {}"
_CACHED: Final = "cached policy, 50 clients, TCP, DANE {}"
_OFF, _ON = "off", "on"
_KEYS: Final = 200


def _cost(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        servers = {
            switch: stack.enter_context(bench.servers.daemon(sections={"dane": {"mode": switch}}))
            for switch in (_OFF, _ON)
        }
        for server in servers.values():
            warm(server, POLICY, _KEYS)
        for round_ in range(bench.rounds):
            progress(f"DANE: round {round_ + 1}")
            for switch, server in servers.items():
                _measure(bench, server, switch)


def _measure(bench: Bench, server: RunningServer, switch: str) -> None:
    address, count = server.at["TCP"], bench.scaled(1_000)
    load = Load(POLICY, first=bench.fresh(count), clients=100, count=count, seconds=120)
    bench.measure(_NEW.format(switch), server, address, load)
    warm(server, POLICY, _KEYS)  # the new policies may have evicted them from the CPU's cache
    hits = Load(POLICY, numbers=_KEYS, seconds=bench.seconds)
    bench.measure(_CACHED.format(switch), server, address, hits)


def _lines(shape: str, most: float) -> tuple[Line, ...]:
    off = Cell(shape.format(_OFF), CPU, DAEMON)
    return (
        Line(shape.format(_OFF), CPU),
        Line(shape.format(_ON), CPU, (Mark(most, off, "off"),)),
        Line(shape.format(_ON), P99),
    )


SHAPES: Final = (Shape("dane", _cost, (*_lines(_NEW, 1.5), *_lines(_CACHED, 1.1))),)
