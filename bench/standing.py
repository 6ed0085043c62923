"""Shapes about memory: many cached domains, and many idle clients.

All figures come from the kernel.
"""

import contextlib
import time
from typing import Final

from bench.cached import warm
from bench.load import ABSENCE, POLICY, Load
from bench.servers import DAEMON, PEER, RunningServer
from bench.shape import Bench, Shape, progress, settle
from bench.sheet import Line, Mark
from bench.stored import copy_of_file

_IDLE = "idle, nothing in memory"
_USED = "memory, MiB"
_ABOVE = "memory above idle, MiB"

_CONNECTIONS: Final = 5_000
_IDLE_SHAPE = f"{_CONNECTIONS:,} idle connections"
_EACH = "memory each, KiB"
_CPU_IDLE = "CPU, % of one"
_NEW_CLIENTS = "new clients' p99, µs"
_OBSERVED_FOR: Final = 5.0


def _in_memory(number: int) -> str:
    return f"{number:,} policies and {number:,} absences in memory"


def _memory(bench: Bench) -> None:
    _daemon_memory(bench)
    progress("memory of the peer")
    number = bench.scaled(10_000)
    with bench.servers.peer() as peer:
        idle = peer.process.memory()
        bench.sheet.note(_IDLE, _USED, PEER, idle)
        Load(POLICY, count=number, clients=20, seconds=300).run(peer.at["TCP"]).expect(found=number)
        bench.sheet.note(_in_memory(10_000), _ABOVE, PEER, peer.process.memory() - idle)
    reason = "caches no absence; fetches each policy"
    bench.sheet.note_missing(_in_memory(100_000), _ABOVE, PEER, reason)


def _daemon_memory(bench: Bench) -> None:
    """Policies come from the store: the daemon caches them like fetched ones."""
    store = copy_of_file(bench.scaled(100_000), bench.folder)
    with bench.servers.daemon(store=store, entries=250_000) as server:
        settle(server.process)
        idle, done = server.process.memory(), 0
        bench.sheet.note(_IDLE, _USED, DAEMON, idle)
        for number in (10_000, 100_000):
            progress(_in_memory(number))
            count = bench.scaled(number)
            for key, kind in ((POLICY, "found"), (ABSENCE, "absent")):
                load = Load(key, first=done, count=count - done, clients=50, seconds=300)
                load.run(server.at["TCP"]).expect(**{kind: count - done})
            done = count
            settle(server.process)
            above = server.process.memory() - idle
            bench.sheet.note(_in_memory(number), _ABOVE, DAEMON, above)
    store.unlink()


def _idle_connections(bench: Bench) -> None:
    with bench.servers.daemon() as daemon, bench.servers.peer() as peer:
        for server in (daemon, peer):
            progress(f"{_IDLE_SHAPE}: {server.name}")
            warm(server, POLICY, 100)
            settle(server.process)
            _hold_connections(bench, server)


def _hold_connections(bench: Bench, server: RunningServer) -> None:
    count, address = bench.scaled(_CONNECTIONS), server.at["TCP"]
    before = server.process.memory()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(address.connect())
        settle(server.process)
        each = (server.process.memory() - before) * 1024 / count
        cpu = server.process.cpu()
        time.sleep(_OBSERVED_FOR)
        cpu = server.process.cpu() - cpu
        result = Load(POLICY, numbers=100, count=bench.scaled(20_000)).run(address)
    bench.sheet.note(_IDLE_SHAPE, _EACH, server.name, each)
    bench.sheet.note(_IDLE_SHAPE, _CPU_IDLE, server.name, cpu / _OBSERVED_FOR * 100)
    bench.sheet.note(_IDLE_SHAPE, _NEW_CLIENTS, server.name, result.expect(absent=0).p99)


SHAPES: Final = (
    Shape(
        "memory",
        _memory,
        (
            Line(_IDLE, _USED, go="8"),
            Line(_in_memory(10_000), _ABOVE, (Mark(25),), go="30"),
            Line(_in_memory(100_000), _ABOVE, (Mark(200),)),
        ),
    ),
    Shape(
        "idle",
        _idle_connections,
        (
            Line(_IDLE_SHAPE, _EACH, (Mark(4),)),
            Line(_IDLE_SHAPE, _CPU_IDLE, (Mark(0.1),)),
            Line(_IDLE_SHAPE, _NEW_CLIENTS),
        ),
    ),
)
