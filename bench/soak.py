"""The soak: minutes or an hour of mixed traffic with faults, during which nothing may grow.

This module defines the traffic, the samples and the estimate of growth. It writes all samples to
the results file.
"""

import contextlib
import http.client
import itertools
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bench.load import ABSENCE, BLACK_HOLE, POLICY, Load
from bench.process import Address, BenchError
from bench.servers import DAEMON, RunningServer
from bench.shape import Bench, Shape, progress
from bench.sheet import Line, Mark

_SHAPE: Final = "soak: mixed traffic with faults"
_SAMPLES: Final = 60

_GROWTH: Final = {
    "memory": "growth of memory, MiB",
    "descriptors": "growth of descriptors",
    "threads": "growth of threads",
    "tasks": "growth of tasks",
}


class _Sample(NamedTuple):
    """One sample; its fields are the names of the curves."""

    daemon_memory: float
    """MiB, like the next two."""
    network_memory: float
    """Of the network process."""
    memory: float
    """The sum of both."""
    descriptors: int
    threads: int
    tasks: int
    attempts: int
    """In progress; each needs one or two tasks, memory, and descriptors of the network process."""


def growth(values: Sequence[float]) -> float:
    """Return how much a run adds in total, at the rate of its last two thirds.

    The rate is the estimator of Theil and Sen, the median of the slopes between any two values:
    spikes, up to a quarter of the values, do not affect it. In the first third, bounded caches
    fill.
    """
    settled = values[len(values) // 3 :]
    pairs = itertools.combinations(enumerate(settled), 2)
    return statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs) * len(values)


def _soak(bench: Bench) -> None:
    """Run all loads at the same time, and note samples and growth."""
    timeout = min(60.0, bench.soak / 10)  # the default, or less for a short run
    daemon = bench.servers.daemon(
        entries=1_000, lookup_timeout=2, https_timeout=timeout, metrics=True
    )
    with daemon as server, contextlib.ExitStack() as loads:
        for load in _traffic(bench.soak + 10):
            loads.enter_context(load.start(server.at["TCP"]))
        samples = list(_samples(server, bench.soak))
    for name, values in zip(_Sample._fields, zip(*samples, strict=True), strict=True):
        for value in values:
            bench.sheet.note(_SHAPE, name, DAEMON, value)
        if name in _GROWTH:
            bench.sheet.note(_SHAPE, _GROWTH[name], DAEMON, growth(values))
    bench.sheet.note(_SHAPE, "minutes", DAEMON, bench.soak / 60)


def _traffic(seconds: float) -> Iterator[Load]:
    """Return loads of hits, of evicted policies, and of new domains, good and faulty."""
    yield Load(POLICY, numbers=500, rate=500, seconds=seconds)
    yield Load(POLICY, first=10_000, numbers=5_000, clients=10, rate=20, seconds=seconds)
    yield Load(POLICY, first=1_000_000, clients=10, rate=10, seconds=seconds)
    yield Load(ABSENCE, clients=10, rate=50, seconds=seconds)
    for key in (BLACK_HOLE, "s%.stall.test", "f%.fail.test", "q%.quiet.test"):
        yield Load(key, clients=20, rate=5, seconds=seconds)
    for key in ("w%.wrong.test", "g%.gone.test"):
        yield Load(key, clients=5, rate=5, seconds=seconds)


def _samples(server: RunningServer, seconds: float) -> Iterator[_Sample]:
    pause = seconds / _SAMPLES
    for number in range(_SAMPLES):
        if number % (_SAMPLES // 6) == 0:
            progress(f"{_SHAPE}: {number * pause / 60:.1f} minutes")
        _send_faults(server.at["TCP"])
        time.sleep(pause)
        yield _sample(server)


def _send_faults(address: Address) -> None:
    """Send no request, an incomplete one, and one whose reply is not read."""
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"20:postfix", b"24:postfix x1.quiet.test123,"):
        with address.connect() as sock:
            sock.sendall(words)


def _sample(server: RunningServer) -> _Sample:
    process, metrics = server.process, _metrics(server.at["metrics"])
    daemon, *others = process.own_memory()
    return _Sample(
        daemon_memory=daemon,
        network_memory=sum(others),
        memory=daemon + sum(others),
        descriptors=process.descriptors(),
        threads=process.threads(),
        tasks=_gauge(metrics, "tasks"),
        attempts=_gauge(metrics, "attempts_under_way"),
    )


def _metrics(address: Address) -> str:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = address.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def _gauge(metrics: str, name: str) -> int:
    found = re.search(rf"^postfix_mta_sts_{name} ([\d.]+)$", metrics, re.MULTILINE)
    if not found:
        raise BenchError(f"the metrics contain no {name}")
    return int(float(found[1]))


SHAPES: Final = (
    Shape(
        "soak",
        _soak,
        (
            Line(_SHAPE, "minutes"),
            Line(_SHAPE, _GROWTH["memory"], (Mark(1),)),
            Line(_SHAPE, _GROWTH["descriptors"], (Mark(10),)),
            Line(_SHAPE, _GROWTH["threads"], (Mark(0),)),
            Line(_SHAPE, _GROWTH["tasks"], (Mark(5),)),
        ),
        has_peer=False,
    ),
)
