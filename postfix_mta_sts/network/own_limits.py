"""The limits of this process, and the errors that say nothing of a remote host, but of a limit."""

import errno
import os
import resource
from typing import Final

from postfix_mta_sts.mtasts.errors import OwnFaultError

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def files_limit() -> int:
    """The file descriptors that this process may have; the daemon has raised the limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def queries_limit() -> int:
    """How many look-ups may ask the DNS at a time, of the policy id and DANE, and of addresses.

    While the name servers are silent each has three or four sockets, for several tries: so either
    kind takes a quarter to a third of the descriptors. With a limit of 65,536 the first 5,461 do
    not wait, and with 1,024 the first 85: 200 new domains at once then ask in three turns.
    """
    return max(1, files_limit() // 12)


def own_fault(error: OSError) -> OwnFaultError | None:
    """The fault that an error of socket(2) stands for; None: it has another cause."""
    if error.errno in _EXHAUSTED:
        return OwnFaultError(f"no socket: {os.strerror(error.errno)}")
    return None
