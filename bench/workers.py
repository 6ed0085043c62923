"""What a second process adds: cached look-ups a second, and what each costs.

Border: the load generator needs a processor too, so that on a machine with two the second worker
shows only where a look-up costs the server more than the client: pipelined.
"""

from typing import Final

from bench.cached import KEYS
from bench.load import POLICY, Load
from bench.servers import DAEMON
from bench.shape import CPU, Bench, Shape, progress
from bench.sheet import Line

_DEPTHS: Final = (1, 16)
_WARMING: Final = 1.0
_RATE = "thousands of look-ups a second"


def _workers(bench: Bench) -> None:
    with bench.servers.daemon() as one, bench.servers.daemon(workers=2) as two:
        servers = ((1, one), (2, two))
        for _, server in servers:  # each worker has a memory of its own
            Load(POLICY, numbers=bench.scaled(KEYS), seconds=_WARMING).run(server.at["TCP"])
        for round_ in range(bench.rounds):
            progress(f"workers: round {round_ + 1}")
            for depth in _DEPTHS:
                for count, server in servers:
                    load = Load(
                        POLICY, numbers=bench.scaled(KEYS), depth=depth, seconds=bench.seconds
                    )
                    shape = _shape(count, depth)
                    if result := bench.measure(shape, server, server.at["TCP"], load):
                        rate = result.count / result.seconds / 1000
                        bench.sheet.note(shape, _RATE, DAEMON, rate)


def _shape(count: int, depth: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}, 50 clients, {depth} in flight"


SHAPES: Final = (
    Shape(
        "workers",
        _workers,
        tuple(
            Line(_shape(count, depth), figure)
            for depth in _DEPTHS
            for count in (1, 2)
            for figure in (_RATE, CPU)
        ),
    ),
)
