"""What all shapes have in common: where they write, how long and how often they ask.

Border: no shape itself. A shape starts the servers that it compares, and measures them in turn,
round after round, so that what disturbs the machine disturbs all of them.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Load, Result
from bench.process import Address, BenchError, Process
from bench.servers import PEER, PEER_SQLITE, Servers, Serving
from bench.sheet import Line, Sheet

CPU = "CPU, µs a look-up"
P50 = "p50, µs"
P99 = "p99, µs"

_QUIET = 0.01
"""The share of a CPU below which a server has settled: one of its threads looks in now and then."""
_SETTLED_WITHIN = 60.0


@dataclass(slots=True)
class Bench:
    """One run of the bench."""

    servers: Servers
    sheet: Sheet
    rounds: int
    seconds: float
    """How long a load lasts that is bounded by time."""
    scale: float
    """The share of the issue's numbers that is asked: 1, or less for a short run."""
    soak: float
    """Seconds."""
    folder: Path
    """For what goes with the run."""
    _used: int = field(default=1_000_000, init=False)

    def scaled(self, number: int) -> int:
        """A number of the issue, as this run has it."""
        return max(1, round(number * self.scale))

    def fresh(self, count: int) -> int:
        """The first of as many numbers for keys that nobody has asked for yet."""
        self._used += count
        return self._used - count

    def measure(self, shape: str, server: Serving, address: Address, load: Load) -> Result | None:
        """Run a load, and note what it cost; None where a peer did not answer all of it."""
        before = server.process.cpu()
        result = load.run(address)
        cost = server.process.cpu() - before
        expected = result.count if load.count is None else load.count
        if not self.is_right(result, server, **{_kind(load): expected}):
            for figure in (CPU, P50, P99):
                self.sheet.note_missing(shape, figure, server.name, "wrong answers")
            return None
        self.sheet.note(shape, CPU, server.name, cost / result.count * 1e6)
        self.sheet.note(shape, P50, server.name, result.p50)
        self.sheet.note(shape, P99, server.name, result.p99)
        return result

    def is_right(self, result: Result, server: Serving, **expected: int) -> bool:
        """Whether all was answered as expected; of all but the peers `BenchError` is raised."""
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
    """Something to measure; `run` notes figures, `lines` says what they are held against."""

    name: str
    run: Callable[[Bench], None]
    lines: tuple[Line, ...]
    has_peer: bool = True
    """Whether the peer must be installed for it."""


def settle(process: Process, watched: float = 0.5) -> None:
    """Wait until a server has nothing more to do. Raises `BenchError`."""
    end = time.monotonic() + _SETTLED_WITHIN
    while time.monotonic() < end:
        before = process.cpu()
        time.sleep(watched)
        if process.cpu() - before < _QUIET * watched:
            return
    raise BenchError(f"process {process.pid} does not come to rest")


def progress(text: str) -> None:
    """Tell whoever waits how far it is."""
    sys.stderr.write(f"{text}\n")


def _kind(load: Load) -> str:
    return "absent" if ".none." in load.key else "found"
