"""What a second worker adds: look-ups a second, and what each costs.

Border: the load generator needs a processor too. On a machine with two, a cached look-up costs it
as much as it costs the server, and nothing is left for a second worker; and one worker reads from
the file in a second thread already. New domains cost the server many times as much.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.cached import KEYS
from bench.load import ABSENCE, POLICY, Load
from bench.on_file import ENTRIES, LOOKUPS, ROWS, copy_of_file
from bench.servers import DAEMON, Serving
from bench.shape import CPU, Bench, Shape, progress
from bench.sheet import Line

_WORKERS: Final = (1, 2)
_ABSENCES: Final = 10_000
_POLICIES: Final = 2_000
_WARMING: Final = 1.0
_RATE = "thousands of look-ups a second"


def _cached(bench: Bench) -> Load:
    return Load(POLICY, numbers=bench.scaled(KEYS), seconds=bench.seconds)


def _pipelined(bench: Bench) -> Load:
    return Load(POLICY, numbers=bench.scaled(KEYS), depth=16, seconds=bench.seconds)


def _on_file(bench: Bench) -> Load:
    return Load(POLICY, numbers=bench.scaled(ROWS), count=bench.scaled(LOOKUPS))


def _absences(bench: Bench) -> Load:
    return _new(bench, ABSENCE, _ABSENCES)


def _policies(bench: Bench) -> Load:
    return _new(bench, POLICY, _POLICIES)


def _new(bench: Bench, key: str, number: int) -> Load:
    count = bench.scaled(number)
    return Load(key, first=bench.fresh(count), count=count)


_LOADS: Final[Mapping[str, Callable[[Bench], Load]]] = {
    "cached, 1 in flight": _cached,
    "cached, 16 in flight": _pipelined,
    "1,000,000 on file, at random": _on_file,
    "new domains without a record": _absences,
    "new policies": _policies,
}
"""Those of memory first: the others push what they ask for out of it."""


def _workers(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        servers = {count: stack.enter_context(_serving(bench, count)) for count in _WORKERS}
        for server in servers.values():  # each worker has a memory of its own
            Load(POLICY, numbers=bench.scaled(KEYS), seconds=_WARMING).run(server.at["TCP"])
        for name, load in _LOADS.items():
            for round_ in range(bench.rounds):
                progress(f"workers: {name}: round {round_ + 1}")
                for count, server in servers.items():
                    _measure(bench, _shape(count, name), server, load(bench))


@contextlib.contextmanager
def _serving(bench: Bench, workers: int) -> Iterator[Serving]:
    store = copy_of_file(bench.scaled(ROWS), bench.folder)
    entries = bench.scaled(ENTRIES)
    with bench.servers.daemon(store=store, entries=entries, workers=workers) as server:
        yield server
    store.unlink()  # 300 MiB that the shapes behind this one would have beside them


def _measure(bench: Bench, shape: str, server: Serving, load: Load) -> None:
    if result := bench.measure(shape, server, server.at["TCP"], load):
        bench.sheet.note(shape, _RATE, DAEMON, result.count / result.seconds / 1000)


def _shape(count: int, load: str) -> str:
    return f"{count} worker{'s' if count > 1 else ''}, 50 clients, {load}"


SHAPES: Final = (
    Shape(
        "workers",
        _workers,
        tuple(
            Line(_shape(count, name), figure)
            for name in _LOADS
            for figure in (_RATE, CPU)
            for count in _WORKERS
        ),
        has_peer=False,
    ),
)
