"""Count the connections to Policy Hosts, and abort each at its end.

`own_limits` says how many there may be. A host that accepts and then stalls loses its connection to
a newer one; a host that does not even accept keeps others from being tried.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.own_limits import Places, own_shares
from postfix_mta_sts.network.stream import Stream


class Connections:
    """The sockets of all fetches of one `PolicyFetcher`."""

    def __init__(self) -> None:
        shares = own_shares()
        self._connecting, self._limit = Places(shares.connecting), shares.connections
        self._open: dict[Stream, None] = {}  # the oldest first

    @contextmanager
    def connecting(self) -> Iterator[Callable[[], None]]:
        """Count the sockets that connect for a fetch, until the end of the context.

        Yields a function to call before each socket is made; it raises `OSError` for one too many.
        """
        taken = 0

        def take() -> None:
            nonlocal taken
            if not self._connecting.take():
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            taken += 1

        try:
            yield take
        finally:
            self._connecting.release(taken)

    @contextmanager
    def aborted_at_end(self, stream: Stream) -> Iterator[None]:
        """Abort a connection in any case: at the end, by `abort_all`, or for a newer one."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.abort(OwnFaultError(f"given up: more than {self._limit} fetches under way"))
        self._open[stream] = None
        try:
            yield
        finally:
            # Not closed: a TLS shutdown would continue to read what an endless body sends.
            stream.abort()
            self._open.pop(stream, None)

    def abort_all(self) -> None:
        """Abort the connections that are open."""
        for stream in self._open:
            stream.abort()
