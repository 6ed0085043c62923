"""Shapes that need the network: new domains, and how they affect other look-ups.

The name server and the Policy Host are on this machine and reply at once; their cost is not
counted. TLS 1.3, ECDSA P-256 certificates, no session is resumed.
"""

import contextlib
import time
from typing import Final

from bench.cached import warm
from bench.load import ABSENCE, BLACK_HOLE, POLICY, Load, Result
from bench.process import Address
from bench.servers import PEER, PEER_SQLITE, RunningServer
from bench.shape import CPU, P99, Bench, Shape, progress
from bench.sheet import Cell, Line, Mark

_WALL = "wall time, s"
_HITS_P99 = "p99 of hits, µs"
_HEALTHY_P99 = "p99 of new healthy domains, ms"

_POLICIES: Final = "2,000 new policies, 100 clients"
_ABSENCES: Final = "10,000 new domains without a record, 100 clients"
_STORM = "hits while 100 clients look up new domains"
_HOLES = "500 look-ups wait for black-holed hosts"
_NO_HOLES = "the same without"

_KEYS: Final = 200
_HIT_RATE: Final = 2_000
"""Hits per second where hits are not the load, timed from when each was due."""
_UNTIL_HOSTS_ARE_AWAITED: Final = 0.5
"""Seconds after which 500 look-ups wait only for their Policy Hosts."""
_HEALTHY: Final = 400
"""Enough that the p99 does not depend on one or two of them."""
_HEALTHY_RATE: Final = 50
_GO_PEER_CPU: Final = 2.2e-3
"""Seconds of CPU that the Go peer needs for a new policy, hence its least wall time."""


def _policies(bench: Bench) -> None:
    _each_once(bench, _POLICIES, POLICY, 2_000)


def _absences(bench: Bench) -> None:
    _each_once(bench, _ABSENCES, ABSENCE, 10_000)


def _each_once(bench: Bench, shape: str, key: str, number: int) -> None:
    count = bench.scaled(number)
    with contextlib.ExitStack() as stack:
        make = bench.servers
        kinds = (make.daemon(), make.peer(), make.peer(sqlite=True))
        servers = [stack.enter_context(kind) for kind in kinds]
        for server in servers:
            Load(key, first=bench.fresh(count), clients=10, count=bench.scaled(100)).run(
                server.at["TCP"]
            )
        for round_ in range(bench.rounds):
            progress(f"{shape}: round {round_ + 1}")
            for server in servers:
                load = Load(key, first=bench.fresh(count), clients=100, count=count, seconds=120)
                if result := bench.measure(shape, server, server.at["TCP"], load):
                    seconds = result.seconds / count * number
                    bench.sheet.note(shape, _WALL, server.name, seconds)


def _hits(bench: Bench) -> Load:
    return Load(POLICY, numbers=_KEYS, rate=_HIT_RATE, seconds=bench.seconds)


def _storm(bench: Bench) -> None:
    with bench.servers.daemon() as daemon, bench.servers.peer() as peer:
        for server in (daemon, peer):
            warm(server, POLICY, _KEYS)
        for round_ in range(bench.rounds):
            progress(f"{_STORM}: round {round_ + 1}")
            for server in (daemon, peer):
                _hit_in_storm(bench, server)


def _hit_in_storm(bench: Bench, server: RunningServer) -> None:
    first = bench.fresh(100_000)
    storm = Load(POLICY, first=first, clients=100, seconds=bench.seconds + 5)
    address = server.at["TCP"]
    with storm.start(address):
        time.sleep(0.2)
        result = _hits(bench).run(address)
    if bench.is_right(result, server, absent=0):
        bench.sheet.note(_STORM, _HITS_P99, server.name, result.p99)
    else:
        bench.sheet.note_missing(_STORM, _HITS_P99, server.name, "not all answered in time")


def _black_holes(bench: Bench) -> None:
    for round_ in range(bench.rounds):
        progress(f"{_HOLES}: round {round_ + 1}")
        for holes in (0, 500):
            # A new server each time: the holes of the last round occupy its sockets for a minute.
            with bench.servers.daemon(lookup_timeout=30) as daemon, bench.servers.peer() as peer:
                for server in (daemon, peer):
                    warm(server, POLICY, _KEYS)
                    _hit_beside_holes(bench, server, holes)


def _hit_beside_holes(bench: Bench, server: RunningServer, holes: int) -> None:
    address, shape = server.at["TCP"], _HOLES if holes else _NO_HOLES
    with contextlib.ExitStack() as stack:
        if holes:
            load = Load(BLACK_HOLE, first=bench.fresh(holes), clients=holes, count=holes)
            stack.enter_context(load.start(address))
            time.sleep(_UNTIL_HOSTS_ARE_AWAITED)
        hits, healthy = _both(bench, address)
    right = bench.is_right(hits, server, absent=0), bench.is_right(healthy, server, found=_HEALTHY)
    notes = (_HITS_P99, hits.p99), (_HEALTHY_P99, healthy.p99 / 1000)
    for (figure, value), is_right in zip(notes, right, strict=True):
        if is_right:
            bench.sheet.note(shape, figure, server.name, value)
        else:
            bench.sheet.note_missing(shape, figure, server.name, "not all answered")


def _both(bench: Bench, address: Address) -> tuple[Result, Result]:
    """Return the results of hits and of new healthy domains, measured at the same time."""
    new = Load(POLICY, first=bench.fresh(_HEALTHY), count=_HEALTHY, rate=_HEALTHY_RATE, seconds=30)
    with new.start(address) as healthy:
        hits = _hits(bench).run(address)
        return hits, healthy.result()


SHAPES: Final = (
    Shape(
        "cold",
        _policies,
        (
            Line(
                _POLICIES,
                CPU,
                (Mark(2_200), Mark(0.55, Cell(_POLICIES, CPU, PEER_SQLITE), PEER_SQLITE)),
                go="2,000 to 2,200",
            ),
            Line(
                _POLICIES,
                _WALL,
                (Mark(1, Cell(_POLICIES, _WALL, PEER), PEER), Mark(2_000 * _GO_PEER_CPU)),
            ),
            Line(_POLICIES, P99),
        ),
    ),
    Shape(
        "cold-absent",
        _absences,
        (Line(_ABSENCES, CPU, (Mark(250),)), Line(_ABSENCES, P99)),
    ),
    Shape("storm", _storm, (Line(_STORM, _HITS_P99, (Mark(5_000),)),)),
    Shape(
        "black-holes",
        _black_holes,
        (
            Line(_NO_HOLES, _HITS_P99),
            Line(_HOLES, _HITS_P99, (Mark(1.5, Cell(_NO_HOLES, _HITS_P99), "without"),)),
            Line(_NO_HOLES, _HEALTHY_P99),
            Line(_HOLES, _HEALTHY_P99, (Mark(1.5, Cell(_NO_HOLES, _HEALTHY_P99), "without"),)),
        ),
    ),
)
