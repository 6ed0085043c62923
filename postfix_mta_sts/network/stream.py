"""A TCP connection that is read piece by piece, with a bounded buffer.

It replaces asyncio's streams: those have two objects and a buffer of their own, and close politely,
which an endless sender can prolong.
"""

import asyncio
import socket
from typing import Final, NoReturn, cast

PIECE: Final = 16_384
"""Bytes returned by one `Stream.read` at most."""
_BUFFER_LIMIT: Final = 65_536
"""Bytes in the buffer above which the connection is not read."""


class Stream(asyncio.Protocol):
    """One connection; `open_stream` makes it. Nothing waits here but `read`, once at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._has_ended = False
        self._error: Exception | None = None

    async def read(self) -> bytes:
        """The next bytes, as soon as there are some; empty at the end. Raises `OSError`."""
        while not self._buffer:
            if self._error:
                self._raise_error()
            if self._has_ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._buffer[:PIECE])
        del self._buffer[:PIECE]
        if self._is_paused and not self._buffer and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is closed, which the next `read` tells.

        The caller sends little, so there is no flow control.
        """
        if not self._transport.is_closing():  # uvloop would raise an error
            self._transport.write(data)

    def abort(self, error: Exception | None = None) -> None:
        """Close the connection at once; the next `read` finds its end, or raises `error`."""
        self._error = self._error or error
        self._has_ended = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._buffer += data
        if len(self._buffer) > _BUFFER_LIMIT and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes the connection."""
        self._has_ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self._has_ended = True
        self._error = self._error or error
        self._wake()

    def _raise_error(self) -> NoReturn:
        try:
            raise self._error or OSError
        finally:
            self._error = None  # its traceback refers to this object: this breaks the cycle

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


async def open_stream(sock: socket.socket) -> Stream:
    """Read and write a connected socket, which is closed with the stream."""
    _, stream = await asyncio.get_running_loop().create_connection(Stream, sock=sock)
    return stream
