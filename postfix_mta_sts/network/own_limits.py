"""Recognize errors that say nothing of a remote host: this process or machine is at a limit."""

import errno
import os
from typing import Final

from postfix_mta_sts.mtasts.errors import OwnFaultError

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def own_fault(error: OSError) -> OwnFaultError | None:
    """The fault that an error of socket(2) stands for; None: it has another cause."""
    if error.errno in _EXHAUSTED:
        return OwnFaultError(f"no socket: {os.strerror(error.errno)}")
    return None
