"""Start a server, wait until it is ready, read its CPU time and memory, and stop it.

All figures come from the kernel. CPU is the user and system time of all threads, including those
that have ended, in nanoseconds (clock_getcpuclockid(3)). Memory is Pss, the pages of the process
and its share of common pages, or only heaps and stacks.
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
    """The run cannot continue; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server: a TCP port of 127.0.0.1, or a UNIX socket."""

    text: str
    """`tcp:PORT` or `unix:PATH`."""

    def connect(self) -> socket.socket:
        """Connect, with a timeout for each operation; raise `OSError`."""
        kind, _, where = self.text.partition(":")
        if kind == "tcp":
            return socket.create_connection(("127.0.0.1", int(where)), READY_WITHIN)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(READY_WITHIN)
        sock.connect(where)
        return sock

    def ask(self, key: str) -> bytes:
        """Do one socketmap look-up over a new connection; return the reply as received."""
        request = f"postfix {key}".encode()
        with self.connect() as sock:
            sock.sendall(b"%d:%s," % (len(request), request))
            return sock.recv(65536)


@dataclass(frozen=True, slots=True)
class Process:
    """A running program and its child processes."""

    pid: int

    def cpu(self) -> float:
        """Return the CPU time so far, in seconds."""
        # The formula of clock_getcpuclockid(3).
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self._family())

    def memory(self) -> float:
        """Return the memory in MiB, with a share of the pages that other processes use, too."""
        return sum(_sizes(pid)["Pss"] for pid in self._family())

    def own_memory(self) -> list[float]:
        """Return heaps and stacks of each process in MiB, first the program's, then its children's.

        Pages in swap are included. Mapped files, such as libraries, are not: their share depends on
        the other processes that map them, and on the page cache of the kernel.
        """
        each = [_sizes(pid) for pid in self._family()]
        return [sizes["Pss_Anon"] + sizes["SwapPss"] for sizes in each]

    def descriptors(self) -> int:
        """Return the number of open descriptors."""
        return self._count("fd")

    def threads(self) -> int:
        """Return the number of threads."""
        return self._count("task")

    def _count(self, folder: str) -> int:
        entries = (Path(f"/proc/{pid}/{folder}").iterdir() for pid in self._family())
        return sum(1 for each in entries for _ in each)

    def _family(self) -> list[int]:
        family = [self.pid]
        for pid in family:  # the list grows in the loop
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                family += map(int, children.read_text("ascii").split())
        return family


def _sizes(pid: int) -> dict[str, float]:
    """Return sizes in MiB by their names in proc_pid_smaps(5)."""
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
    """Run a program; enter when it is ready. Its output is appended to `log`.

    `niceness`: added to the niceness of this process (nice(2)). Raises `BenchError`.
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
    """Return a function that tells whether a server accepts connections."""

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
            output = log.read_text("utf-8", "replace")[-2000:]
            raise BenchError(f"{child.args!r} did not become ready:\n{output}")
        time.sleep(_TRY_EVERY)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
