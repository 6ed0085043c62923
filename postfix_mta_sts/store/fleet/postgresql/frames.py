"""The lengths of a server's messages, checked before asyncpg reads them.

asyncpg trusts its server: a message that claims fewer than four bytes makes it loop for ever, and
one that claims two gigabytes makes it wait for them. Each message is a byte that names its type,
then its length without that byte (PostgreSQL, "Message Formats").
"""

from typing import Final

_HEADER: Final = 5
_SHORTEST: Final = 4
_LONGEST: Final = 4 * 1024 * 1024
"""Bytes of one message: twice the longest record (`engine.LIMITS`)."""
_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of all messages until the server is ready for the next query."""
_READY: Final = ord("Z")


class Frames:
    """Follows the messages of one connection."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._unread = 0
        self._answer = 0

    def are_valid(self, data: bytes) -> bool:
        """Whether the stream is still one of messages that may be read."""
        self._answer += len(data)
        at = 0
        while at < len(data):
            if self._unread:
                step = min(self._unread, len(data) - at)
                self._unread -= step
            else:
                step = min(_HEADER - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == _HEADER and not self._begin():
                    return False
            at += step
        return self._answer <= _ANSWER

    def _begin(self) -> bool:
        """Take the header of a message."""
        length = int.from_bytes(self._header[1:])
        if self._header[0] == _READY:
            self._answer = 0
        self._header.clear()
        self._unread = length - _SHORTEST
        return _SHORTEST <= length <= _LONGEST
