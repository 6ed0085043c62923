"""Divide the file descriptors of this process, so that no part takes those that another one needs.

Name servers and Policy Hosts decide how long a socket is open. `dns` and `dane` let look-ups wait
for each other; `https` gives up its oldest connection for a new one. A process that can open no
socket all the same has a fault of its own, which says nothing about a domain.
"""

import asyncio
import errno
import os
import resource
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.mtasts.errors import OwnFaultError

MAX_CONNECTIONS: Final = 1_200
"""Connections to Policy Hosts at a time.

OpenSSL takes 41 KiB for a handshake under way, so that 1,200 hosts that stall take 50 MiB. The
oldest has had 1.7 seconds at least: no more than 700 handshakes a second can be completed.
"""
MAX_MORE_HOSTS: Final = 100
"""MX hosts of all domains that are looked up in parallel, not counting one of each domain.

So domains with many slow hosts cannot delay another one: its hosts are looked up at worst one after
the other."""
SOCKETS: Final = 10
"""Of three look-ups while the name servers are silent. Each query has two, for two tries. `dns` has
one query for a TXT record and two for addresses; `dane` has two at most for each MX host."""

LATE: Final = 5.0
"""Seconds after the end of a timeout: if it is noticed only then, this process was stopped, or the
machine. What was waited for may have come in time."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Shares:
    """What may be under way at a time."""

    connections: int
    """To Policy Hosts."""
    look_ups: int
    """Of TXT records, as many of addresses, and as many of `dane`."""
    more_hosts: int
    """See `MAX_MORE_HOSTS`."""


def shares(files: int) -> Shares:
    """Divide this number of descriptors; some are left for files and for the daemon's socket."""
    connections = min(MAX_CONNECTIONS, files // 2)
    sockets = files - connections - files // 16
    more_hosts = min(MAX_MORE_HOSTS, sockets // 32)
    return Shares(connections, max(1, (sockets - 4 * more_hosts) // SOCKETS), more_hosts)


def own_shares() -> Shares:
    """The shares of this process; the daemon has raised the limit."""
    return shares(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


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
