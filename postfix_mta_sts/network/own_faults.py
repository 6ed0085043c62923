"""Tell the errors that say nothing of a remote host: this process has no socket, or was stopped."""

import asyncio
import errno
import os
from typing import Final

from postfix_mta_sts.mtasts.errors import OwnFaultError

LATE: Final = 5.0
"""Seconds after the end of a timeout: if it is noticed only then, this process was stopped, or the
machine. What was waited for may have come in time."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def own_fault(error: OSError) -> OwnFaultError | None:
    """The fault that an error of socket(2) stands for; None: it has another cause."""
    if error.errno in _EXHAUSTED:
        return OwnFaultError(f"no socket: {os.strerror(error.errno)}")
    return None


def late_fault(end: float | None) -> OwnFaultError | None:
    """The fault if a timeout that was due at `end` is noticed too late; None: it was in time.

    `end` is by the clock of the event loop.
    """
    if end is not None and asyncio.get_running_loop().time() > end + LATE:
        return OwnFaultError("this process was stopped for a while")
    return None
