"""What a reply may be, however the server goes on: redis-py reads all that it is sent."""

from typing import Final

MAX_REPLY: Final = 4 << 20
"""Bytes of the reply to one command: twice the longest record."""
_OVERHEAD: Final = 512
"""Bytes for which a line or a string counts besides its own: each takes time, and a server may send
small ones without end. The scripts return a thousand strings at most."""
_MAX_DEPTH: Final = 4
"""Of arrays in arrays; the scripts return one."""


class ReplyLimits:
    """Counts one reply while it is read; each method raises `ValueError` beyond a limit."""

    def __init__(self) -> None:
        self._received = 0
        self._depth = 0

    def enter(self) -> None:
        """Begin a value, perhaps in an array."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("arrays in arrays")

    def leave(self) -> None:
        """End it."""
        self._depth -= 1

    def count(self, length: int) -> None:
        """Count a line that was read, or a string before it is."""
        if length < 0:
            raise ValueError("a negative length")
        self._received += length + _OVERHEAD
        if self._received > MAX_REPLY:
            raise ValueError("a reply that is too long")
