"""Start the program of the network process, and wait for its end.

A separate program and not a fork, since the daemon has threads. `process` speaks with it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final

NICENESS: Final = 10
"""Added to the nice value, so that the daemon, which answers Postfix, has priority (nice(2))."""
STOP_TIMEOUT: Final = 1.0
"""Seconds that the process has to end; then it is killed."""
_POLL_INTERVAL = 0.01  # seconds; no thread that waits can be started at the limit of tasks

IGNORED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal or systemd sends to all processes of the service. The daemon decides when
this process ends. Blocked from its first moment: Ctrl-C during its imports would end it."""

_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))"
)


def start_child(sock: socket.socket) -> subprocess.Popen[bytes]:
    """Start the program with this end of the channel; raises `OSError`."""
    # The child uses the module path of this process, which depends on how that was started.
    flags = [*(["-I"] * sys.flags.isolated), *(["-S"] * sys.flags.no_site), "-P", "-c", _PROGRAM]
    command = [sys.executable, *flags, str(sock.fileno()), *sys.path]
    with _blocked(IGNORED_SIGNALS):  # which the child inherits
        return subprocess.Popen(  # noqa: S603 (this program itself)
            command, stdin=subprocess.DEVNULL, pass_fds=[sock.fileno()]
        )


def give_way(child: subprocess.Popen[bytes]) -> None:
    """Have the daemon come before a process; threads that it starts afterwards inherit that.

    A sandbox may forbid this; the service matters more.
    """
    with suppress(PermissionError, ProcessLookupError):
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, child.pid, own + NICENESS)


@contextmanager
def _blocked(signums: Collection[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def wait_or_kill(child: subprocess.Popen[bytes]) -> int | None:
    """Wait until the process ends, kill it after `STOP_TIMEOUT` or when cancelled.

    Returns its status; None if the kernel has not ended it after that time again.
    """
    try:
        await _wait(child)
    finally:
        if child.poll() is None:
            child.kill()
            await _wait(child)
    return child.returncode


async def _wait(child: subprocess.Popen[bytes]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT):
            while child.poll() is None:  # noqa: ASYNC110 (see `_POLL_INTERVAL`)
                await asyncio.sleep(_POLL_INTERVAL)
