"""The load generator's command line, and what it prints.

Border: `load.c` does the work. The zones of the keys are those of `dns.c`.
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
    """What came back; latencies in microseconds."""

    count: int
    found: int
    absent: int
    errors: int
    unanswered: int
    seconds: float
    p50: float
    p99: float
    max: float

    def expect(self, found: int | None = None, absent: int | None = None) -> "Result":
        """This, if it holds as many of these and all is answered; raises `BenchError`."""
        wrong = found not in {None, self.found} or absent not in {None, self.absent}
        if wrong or self.errors or self.unanswered:
            raise BenchError(f"expected {found} found, {absent} absent: {self}")
        return self


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the load generator; see the head of `load.c`."""

    key: str
    first: int = 0
    numbers: int = 0
    """Keys at random out of so many; 0: each once."""
    clients: int = 50
    count: int | None = None
    seconds: float = 60.0
    rate: int = 0
    wire: str = "socketmap"

    def run(self, address: Address) -> Result:
        """Ask, and wait for the end."""
        with self.begun(address) as asking:
            return asking.result()

    @contextlib.contextmanager
    def begun(self, address: Address) -> Iterator["Asking"]:
        """Ask while entered; what is not over at the end is ended."""
        command = self._command(address)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                yield Asking(child)
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
        }
        given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        return [str(programs.BUILD / "load"), *given, address.text]


@dataclass(frozen=True, slots=True)
class Asking:
    """A load generator at work."""

    child: subprocess.Popen[str]

    def result(self) -> Result:
        """What it has to say at its end; raises `BenchError`."""
        out, _ = self.child.communicate()
        if self.child.returncode:
            raise BenchError(f"{self.child.args!r} ended with {self.child.returncode}")
        return Result(**json.loads(out))
