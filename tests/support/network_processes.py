"""Programs in place of the network process, one for each start: real ones and ones with faults."""

import os
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from postfix_mta_sts.network import launch

_IMPORT: Final = "import sys; sys.path[:] = sys.argv[2:]; "
REAL: Final = launch._PROGRAM
OTHER_VERSION: Final = (
    _IMPORT + "import postfix_mta_sts; postfix_mta_sts.__version__ = '99.1'; "
    "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))"
)
DIES: Final = "raise SystemExit(3)"
NEVER_READY: Final = "import signal; signal.pause()"

Program: TypeAlias = str | Exception
"""The text of a program, or the error of its start."""


def saying(data: bytes) -> str:
    """A program that is ready, and answers the first message with these bytes."""
    return f"""{_IMPORT}
import signal, socket
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.child import shake_hands
from postfix_mta_sts.network.messages import Ready
sock = socket.socket(fileno=int(sys.argv[1]))
shake_hands(sock)
ipc.send(sock, Ready())
ipc.receive(sock)
sock.sendall({data!r})
signal.pause()
"""


class Programs:
    """What is started as the network process: each of `queued` once, then `usual`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.usual: Program = REAL
        self.queued: list[Program] = []
        self.starts = 0
        self._monkeypatch = monkeypatch
        self._start = launch.start_child
        monkeypatch.setattr(launch, "start_child", self._start_next)

    def queue(self, *programs: Program) -> None:
        """Use these for the next starts."""
        self.queued += programs

    def _start_next(self, sock: socket.socket) -> subprocess.Popen[bytes]:
        self.starts += 1
        program = self.queued.pop(0) if self.queued else self.usual
        if isinstance(program, Exception):
            raise program
        self._monkeypatch.setattr(launch, "_PROGRAM", program)
        return self._start(sock)


def children(pid: int | None = None) -> list[int]:
    """The child processes of a process, by default of this one; a zombie counts."""
    parent = pid or os.getpid()
    threads = Path(f"/proc/{parent}/task").iterdir()
    return [int(child) for thread in threads for child in _children(thread)]


def _children(thread: Path) -> Iterable[str]:
    try:
        return (thread / "children").read_text().split()
    except OSError:
        return ()  # the thread has ended


def exists(pid: int | None) -> bool:
    """Whether there is such a process; a zombie counts."""
    return Path(f"/proc/{pid}").exists()
