"""The common parts of all shapes: the sheet, rounds, durations and numbers.

A shape starts the servers that it compares, and measures them in turns, round after round, so that
disturbances of the machine affect all of them.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Load, Result
from bench.process import Address, BenchError, Process
from bench.servers import PEER, PEER_SQLITE, RunningServer, Servers
from bench.sheet import Line, Sheet

CPU = "CPU, µs a look-up"
P50 = "p50, µs"
P99 = "p99, µs"

_QUIET = 0.01
"""The share of a CPU below which a server is idle: one of its threads wakes up periodically."""
_SETTLED_WITHIN = 60.0


@dataclass(slots=True)
class Bench:
    """One run of the bench."""

    servers: Servers
    sheet: Sheet
    rounds: int
    seconds: float
    """Duration of a load that is limited by time."""
    scale: float
    """Factor for all numbers of look-ups: 1, or less for a short run."""
    soak: float
    """Duration in seconds."""
    folder: Path
    """For files that are deleted after the run."""
    _used: int = field(default=1_000_000, init=False)

    def scaled(self, number: int) -> int:
        """Return a number times `scale`."""
        return max(1, round(number * self.scale))

    def fresh(self, count: int) -> int:
        """Reserve numbers for keys that were not looked up before; return the first."""
        self._used += count
        return self._used - count

    def measure(
        self,
        shape: str,
        server: RunningServer,
        address: Address,
        load: Load,
        *,
        is_found: bool | None = None,
    ) -> Result | None:
        """Run a load and note its cost; return None if a peer replied wrongly.

        `is_found`: whether the right reply is a policy; None: as the zone of the keys has it.
        """
        before = server.process.cpu()
        result = load.run(address)
        cost = server.process.cpu() - before
        expected = result.count if load.count is None else load.count
        found = ".none." not in load.key if is_found is None else is_found
        if not self.is_right(result, server, **{"found" if found else "absent": expected}):
            for figure in (CPU, P50, P99):
                self.sheet.note_missing(shape, figure, server.name, "wrong answers")
            return None
        self.sheet.note(shape, CPU, server.name, cost / result.count * 1e6)
        self.sheet.note(shape, P50, server.name, result.p50)
        self.sheet.note(shape, P99, server.name, result.p99)
        return result

    def is_right(self, result: Result, server: RunningServer, **expected: int) -> bool:
        """Return whether all replies were as expected; raise `BenchError` except for peers."""
        try:
            result.expect(**expected)
        except BenchError as error:
            if server.name not in {PEER, PEER_SQLITE}:
                raise
            progress(f"{server.name}: {error}")
            return False
        return True


@dataclass(frozen=True, slots=True)
class Shape:
    """Something to measure; `run` notes figures, `lines` has their marks."""

    name: str
    run: Callable[[Bench], None]
    lines: tuple[Line, ...]
    has_peer: bool = True
    """Whether it needs the peer."""
    has_stores: bool = False
    """Whether it needs shared stores, and so root."""


def settle(process: Process, watched: float = 0.5) -> None:
    """Wait until a server is idle. Raises `BenchError`."""
    end = time.monotonic() + _SETTLED_WITHIN
    while time.monotonic() < end:
        before = process.cpu()
        time.sleep(watched)
        if process.cpu() - before < _QUIET * watched:
            return
    raise BenchError(f"process {process.pid} did not become idle")


def progress(text: str) -> None:
    """Write a line about the progress to standard error."""
    sys.stderr.write(f"{text}\n")
