"""A server under measurement: started, waited for, weighed, ended.

Border: what the kernel says of a process. CPU is user and system time of all its threads, those
that have ended included, in nanoseconds (clock_getcpuclockid(3)); memory is Pss, its own pages
and its share of those it has in common with others, or only what nobody else can change.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

READY_WITHIN = 30.0
STOPPED_WITHIN = 30.0
_TRY_EVERY = 0.002

Command: TypeAlias = Sequence[str | Path]


class BenchError(Exception):
    """The run cannot go on; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is asked: a TCP port of 127.0.0.1, or a UNIX socket."""

    text: str
    """`tcp:PORT` or `unix:PATH`."""

    def connect(self) -> socket.socket:
        """A connection, with a deadline for all that it waits for; raises `OSError`."""
        kind, _, where = self.text.partition(":")
        if kind == "tcp":
            return socket.create_connection(("127.0.0.1", int(where)), READY_WITHIN)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(READY_WITHIN)
        sock.connect(where)
        return sock

    def ask(self, key: str) -> bytes:
        """One socketmap look-up over a connection of its own; the reply as it came."""
        request = f"postfix {key}".encode()
        with self.connect() as sock:
            sock.sendall(b"%d:%s," % (len(request), request))
            return sock.recv(65536)


@dataclass(frozen=True, slots=True)
class Process:
    """A running program, and those that it began."""

    pid: int

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        # The clock's number is made as clock_getcpuclockid(3) makes it.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self._family())

    def memory(self) -> float:
        """MiB: what it takes of the machine while those run with which it shares pages."""
        return sum(_sizes(pid)["Pss"] for pid in self._family())

    def own_memory(self) -> list[float]:
        """MiB of each process, first the program itself, then what it began: heap and stacks.

        Files that are mapped, libraries among them, are left out: what of them is there depends
        on who else has them mapped, and on what the kernel likes to keep. What it has put on swap
        is in it.
        """
        each = [_sizes(pid) for pid in self._family()]
        return [sizes["Pss_Anon"] + sizes["SwapPss"] for sizes in each]

    def descriptors(self) -> int:
        """Open files, sockets and the like."""
        return self._count("fd")

    def threads(self) -> int:
        """Threads."""
        return self._count("task")

    def _count(self, folder: str) -> int:
        entries = (Path(f"/proc/{pid}/{folder}").iterdir() for pid in self._family())
        return sum(1 for each in entries for _ in each)

    def _family(self) -> list[int]:
        family = [self.pid]
        for pid in family:  # which grows meanwhile
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                family += map(int, children.read_text("ascii").split())
        return family


def _sizes(pid: int) -> dict[str, float]:
    """MiB by the names of proc_pid_smaps(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return {name.rstrip(":"): int(size) / 1024 for name, size, _ in map(str.split, lines[1:])}


@contextlib.contextmanager
def running(
    command: Command,
    log: Path,
    is_ready: Callable[[], bool],
    environ: Mapping[str, str] | None = None,
    *,
    niceness: int = 0,
) -> Iterator[Process]:
    """A program, from the moment it is ready; what it says goes to `log`. Raises `BenchError`.

    `niceness`: how much it gives way to the others (nice(2)).
    """
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(environ or {})},
        )
    try:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, child.pid, own + niceness)
        _wait_until(is_ready, child, log)
        yield Process(child.pid)
    finally:
        _end(child)


def answers_at(address: Address) -> Callable[[], bool]:
    """Whether a server takes connections."""

    def is_ready() -> bool:
        try:
            address.connect().close()
        except OSError:
            return False
        return True

    return is_ready


def _wait_until(is_ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_WITHIN
    while not is_ready():
        if child.poll() is not None or time.monotonic() > end:
            said = log.read_text("utf-8", "replace")[-2000:]
            raise BenchError(f"{child.args!r} does not get ready:\n{said}")
        time.sleep(_TRY_EVERY)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
