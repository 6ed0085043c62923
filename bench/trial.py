"""The cost of a trial: remembered look-ups with `trial` on and off, in turns.

Each round starts both daemons again, and the one that is measured first alternates, for the reasons
in `against.py`. With the trial on each domain with a policy is checked once, behind its first
look-up. In this network no mail server accepts connections, and the measurement waits until all
checks have ended; hence fewer keys than in `cached.py`.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from bench.cached import warm, warm_up
from bench.load import ABSENCE, POLICY, Load
from bench.servers import DAEMON, RunningServer
from bench.shape import CPU, P50, P99, Bench, Shape, progress, settle
from bench.sheet import Cell, Line, Mark

_KINDS: Final = {"policy": POLICY, "absence": ABSENCE}
_OFF, _ON = "off", "on"
_KEYS: Final = 200
_QUIET_FOR: Final = 3.0
"""Seconds without work after which no check is to come: longer than `daemon.checks.PAUSE`."""


def _run(bench: Bench) -> None:
    for round_ in range(bench.rounds):
        progress(f"trial: round {round_ + 1}")
        with contextlib.ExitStack() as stack:
            servers = {
                switch: stack.enter_context(
                    bench.servers.daemon(sections={"trial": {"enabled": switch == _ON}})
                )
                for switch in ((_OFF, _ON) if round_ % 2 else (_ON, _OFF))
            }
            _measure(bench, servers)


def _measure(bench: Bench, servers: dict[str, RunningServer]) -> None:
    keys = bench.scaled(_KEYS)
    for server in servers.values():
        for key in _KINDS.values():
            warm(server, key, keys)
    for server in servers.values():
        settle(server.process, _QUIET_FOR)
    for kind, key in _KINDS.items():
        load = Load(key, numbers=keys, seconds=bench.seconds)
        for switch, server in servers.items():
            warm_up(load, server, "TCP")
            found = kind == "policy" and switch == _OFF
            bench.measure(_shape(kind, switch), server, server.at["TCP"], load, is_found=found)


def _shape(kind: str, switch: str) -> str:
    return f"cached {kind}, 50 clients, TCP, trial {switch}"


def _lines() -> Iterator[Line]:
    for kind in _KINDS:
        for figure in (CPU, P50, P99):
            yield Line(_shape(kind, _OFF), figure)
            off = Mark(1.0, Cell(_shape(kind, _OFF), figure, DAEMON), "off", of_worst=True)
            yield Line(_shape(kind, _ON), figure, (off,))


SHAPES: Final = (Shape("trial", _run, tuple(_lines()), has_peer=False),)
