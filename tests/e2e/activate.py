"""Passes listening sockets to a program, as systemd does (sd_listen_fds(3)).

    LISTEN_FDNAMES=... python -m tests.e2e.activate FD... -- PROGRAM ARGUMENT...

The descriptors become 3 and up, in this order; LISTEN_FDS and LISTEN_PID are set; then PROGRAM
replaces this process.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

_FIRST: Final = 3  # SD_LISTEN_FDS_START


def hand_over(fds: Sequence[int], command: Sequence[str]) -> None:
    """Execute `command` with `fds` as its inherited sockets; does not return."""
    # First move them out of the target range, so that none is overwritten, then into it.
    spare = [os.dup2(fd, _FIRST + len(fds) + max(fds) + n) for n, fd in enumerate(fds)]
    for n, fd in enumerate(spare):
        os.dup2(fd, _FIRST + n, inheritable=True)
        os.close(fd)
    environment = os.environ | {"LISTEN_FDS": str(len(fds)), "LISTEN_PID": str(os.getpid())}
    os.execve(command[0], list(command), environment)  # noqa: S606 - no shell is needed


if __name__ == "__main__":
    end = sys.argv.index("--")
    hand_over([int(word) for word in sys.argv[1:end]], sys.argv[end + 1 :])
