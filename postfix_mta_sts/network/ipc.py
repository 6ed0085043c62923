"""Messages between two processes of ours, over a pair of sockets: many a write, many a read.

Border: how messages go over, and in which order; what they mean is for the two ends. They are
pickled, which is safe here: both ends are this program, the one begun by the other, and nobody
else has the sockets.
"""

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

Message: TypeAlias = tuple[Any, ...]
Hear: TypeAlias = Callable[[Sequence[Message]], None]

_LENGTH: Final = struct.Struct("!I")


class Channel(asyncio.Protocol):
    """One end: `hear` is called with messages that came, `lost` when no more can come."""

    def __init__(self, hear: Hear, lost: Callable[[], None]) -> None:
        self._hear = hear
        self._lost = lost
        self._transport: asyncio.Transport
        self._unsent: list[Message] = []
        self._unread = bytearray()

    def send(self, message: Message) -> None:
        """Send it, with all others of this round of the event loop, in the order of sending."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent.append(message)

    def send_first(self, message: Message) -> None:
        """Send it now and by itself, before all others, for `first` to read."""
        self._transport.write(_packed([message]))

    def close(self) -> None:
        """End it, for both; what was not sent yet is not sent."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self._unread += data
        while len(self._unread) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._unread)
            end = _LENGTH.size + length
            if len(self._unread) < end:
                return
            messages = _unpacked(bytes(self._unread[_LENGTH.size : end]))
            del self._unread[:end]
            self._hear(messages)

    def connection_lost(self, _: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self._lost()

    def _write(self) -> None:
        messages, self._unsent = self._unsent, []
        self._transport.write(_packed(messages))


async def line(sock: socket.socket, hear: Hear, lost: Callable[[], None]) -> Channel:
    """An end of a pair of UNIX sockets, on the running loop."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_unix_connection(lambda: Channel(hear, lost), sock=sock)
    return made


def first(sock: socket.socket) -> Message:
    """What `Channel.send_first` sends, waited for without a loop; raises `EOFError`."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    (message,) = _unpacked(_exactly(sock, length))
    return message


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (block := sock.recv(size - len(data))):
            raise EOFError
        data += block
    return bytes(data)


def _packed(messages: Sequence[Message]) -> bytes:
    data = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def _unpacked(data: bytes) -> Sequence[Message]:
    messages: Sequence[Message] = pickle.loads(data)  # noqa: S301 (see the first lines)
    return messages
