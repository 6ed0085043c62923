"""Run the load generator and parse its output.

`load.c` does the work. The zones of the keys are those of `dns.c`.
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from bench import programs
from bench.process import Address, BenchError

POLICY = "d%.bench.test"
ABSENCE = "n%.none.test"
BLACK_HOLE = "b%.hole.test"


@dataclass(frozen=True, slots=True)
class Result:
    """Numbers of replies by kind; latencies in microseconds."""

    count: int
    found: int
    absent: int
    errors: int
    unanswered: int
    wrong: int
    """That are not what `Load.answer` says."""
    seconds: float
    p50: float
    p99: float
    max: float

    def expect(self, found: int | None = None, absent: int | None = None) -> "Result":
        """Return this result; raise `BenchError` if a number differs or a reply is missing."""
        differs = found not in {None, self.found} or absent not in {None, self.absent}
        if differs or self.wrong or self.errors or self.unanswered:
            raise BenchError(f"expected {found} found, {absent} absent: {self}")
        return self


@dataclass(frozen=True, slots=True)
class Load:
    """Options for one run of the load generator; `load.c` describes them."""

    key: str
    first: int = 0
    numbers: int = 0
    """Take keys at random from this many; 0: each key once."""
    clients: int = 50
    count: int | None = None
    seconds: float = 60.0
    rate: int = 0
    wire: str = "socketmap"
    answer: str | None = None
    """What each reply must be; the number of the key takes the place of `%`."""

    def run(self, address: Address) -> Result:
        """Run the load to its end."""
        with self.start(address) as running:
            return running.result()

    @contextlib.contextmanager
    def start(self, address: Address) -> Iterator["RunningLoad"]:
        """Run the load while the context is entered; kill it if it has not ended by then."""
        command = self._command(address)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                yield RunningLoad(child)
            finally:
                child.kill()

    def _command(self, address: Address) -> list[str]:
        options = {
            "-w": self.wire,
            "-c": self.clients,
            "-k": self.key,
            "-f": self.first,
            "-m": self.numbers,
            "-n": self.count,
            "-t": self.seconds,
            "-r": self.rate,
            "-a": self.answer,
        }
        given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        return [str(programs.BUILD / "load"), *given, address.text]


@dataclass(frozen=True, slots=True)
class RunningLoad:
    """A load generator that runs."""

    child: subprocess.Popen[str]

    def result(self) -> Result:
        """Wait for its end and return what it measured; raise `BenchError` if it failed."""
        out, _ = self.child.communicate()
        if self.child.returncode:
            raise BenchError(f"{self.child.args!r} ended with {self.child.returncode}")
        return Result(**json.loads(out))
