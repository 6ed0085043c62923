"""The process at the other end of a UNIX socket, as the kernel says (unix(7), SO_PEERCRED)."""

import socket
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

Refused: TypeAlias = Callable[[], Collection[int]]
"""Returns the ids of processes that are not served."""

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """A process, at the time when it connected."""

    pid: int
    uid: int


def peer_of(sock: socket.socket) -> Peer | None:
    """Return the process; None if the socket is another kind, or the client has gone."""
    option = getattr(socket, "SO_PEERCRED", None)  # not on every system
    if option is None or sock.family != socket.AF_UNIX:
        return None
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return Peer(pid, uid)
