"""Decode a body in the chunked transfer coding (RFC 9112 §7.1).

llhttp refuses what a recipient must accept or ignore: spaces around the parts of a chunk extension
(BWS), and fields of a trailer that mean something in a head. What is ignored here cannot lead to
another body or to another response: the connection is closed after one.
"""

import re
from typing import Final

from postfix_mta_sts.mtasts.errors import TooLargeError
from postfix_mta_sts.mtasts.response import check_size

MAX_CHUNKS: Final = 8_192
"""Chunks of one body; they take 10 ms of CPU. A usual body has one or two."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]{0,99}(?:;|\r?\n|\r?\Z)")
"""A size, and what may follow it; the rest of the line is not looked at."""
_SHOWN: Final = 20
"""Octets of a malformed line in a reason."""


class ChunkError(ValueError):
    """The body is not in the chunked coding."""


class ChunkedBody:
    """Takes a body in pieces of any size; the caller bounds what it feeds in total.

    Extensions and trailers are ignored (§7.1.1, §7.1.2). A line may end with LF alone, as §2.2
    allows for fields.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        """The chunks that are complete."""
        self.is_complete = False
        self._unread = bytearray()
        self._chunks = 0
        self._is_trailer = False

    def feed(self, data: bytes) -> None:
        """Decode the next octets; raises `ChunkError` or `TooLargeError`.

        What follows the body is ignored.
        """
        self._unread += data
        at = 0
        while not self._is_trailer and (end := self._read_part(at)):
            at = end
        del self._unread[:at]
        if self._is_trailer:
            self._skip_trailer()

    def _read_part(self, at: int) -> int:
        """Read a chunk, or the line of the last one; return where it ends, 0 if it is cut."""
        line_end = self._unread.find(b"\n", at)
        size = self._size(at)
        if line_end < 0:
            return 0
        if size:
            return self._read_chunk(line_end + 1, size)
        self._is_trailer = True
        return line_end

    def _size(self, at: int) -> int:
        """The size that a line begins with; 0 also if there is nothing yet."""
        found = _SIZE.match(self._unread, at)
        if not found and at < len(self._unread):
            raise ChunkError(f"no chunk size: {bytes(self._unread[at : at + _SHOWN])!r}")
        return int(found[1], 16) if found else 0

    def _read_chunk(self, start: int, size: int) -> int:
        check_size(len(self.data) + size)
        end = start + size
        after = self._unread[end : end + 2].removeprefix(b"\r")
        if after and not after.startswith(b"\n"):
            raise ChunkError("a chunk is longer than its size")
        if not after:
            return 0
        self._count()
        self.data += self._unread[start:end]
        return self._unread.index(b"\n", end) + 1

    def _count(self) -> None:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise TooLargeError(f"more than {MAX_CHUNKS} chunks")

    def _skip_trailer(self) -> None:
        """Look for the blank line; the end of the line before it is there still."""
        self.is_complete |= b"\n\r\n" in self._unread or b"\n\n" in self._unread
        del self._unread[:-2]
