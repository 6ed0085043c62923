"""Divide the file descriptors of this process, so that no part takes those that another one needs.

Name servers and Policy Hosts decide how long a socket is open. `dns`, `dane` and `https` let
look-ups wait for each other; `connections` gives up the oldest connection for a new one, and limits
those that are being made.
"""

import resource
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Shares:
    """What may be under way at a time."""

    connections: int
    """To Policy Hosts."""
    connecting: int
    """Sockets that no Policy Host has accepted yet; a fetch may try eight addresses at once."""
    look_ups: int
    """Of TXT records, as many of addresses, and as many of `dane`."""
    more_hosts: int
    """See `MAX_MORE_HOSTS`."""


def shares(files: int) -> Shares:
    """Divide this number of descriptors; some are left for files and for the daemon's socket."""
    connections, connecting = min(MAX_CONNECTIONS, files * 3 // 8), files // 8
    sockets = files - connections - connecting - files // 16
    more_hosts = min(MAX_MORE_HOSTS, sockets // 32)
    look_ups = max(1, (sockets - 4 * more_hosts) // SOCKETS)
    return Shares(connections, connecting, look_ups, more_hosts)


class Places:
    """Counts what is under way, up to a limit."""

    def __init__(self, free: int) -> None:
        self._free = free

    def take(self) -> bool:
        """Take a place if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def release(self, number: int = 1) -> None:
        """Give places back."""
        self._free += number


def own_shares() -> Shares:
    """The shares of this process; the daemon has raised the limit."""
    return shares(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
