"""Send and receive messages over a pair of sockets: many messages in one write, in order.

A frame is four bytes with a length, in network byte order, and an array of messages in msgpack:
one frame for many messages takes a third less processor time than a frame for each. What the
messages mean is up to `messages` and the two ends.

The other end is trusted to be this program, but not to be free of faults: what it sends is bounded,
and bytes that are no message close the channel.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar, cast

from postfix_mta_sts.values import Value, to_msgpack

M = TypeVar("M")

FRAME_LIMIT: Final = 32 * 2**20
"""Bytes of a frame that are accepted. The largest message is `Start`, with all CA certificates:
those of Debian take 220 KiB."""
FRAME_SIZE: Final = 2**20
"""Bytes above which the messages of one event-loop iteration are divided among frames."""
UNSENT_LIMIT: Final = 64 * 2**20
"""Bytes that wait for an other end which does not read; then the channel is closed."""

_LENGTH: Final = struct.Struct("!I")


class Channel(asyncio.Protocol, Generic[M]):
    """One end; make it with `open_channel`.

    `on_messages` is called with the messages of each frame, `on_closed` when no more can arrive.
    `decode` turns the content of a frame into its messages; it raises `ValueError`.
    """

    fault: str = ""
    """Why this end has closed the channel; empty if the other end did, or `close`."""

    def __init__(
        self,
        decode: Callable[[bytes], Sequence[M]],
        on_messages: Callable[[Sequence[M]], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._decode = decode
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._transport: asyncio.Transport
        self._unsent: list[Value] = []
        self._unread = bytearray()

    def send(self, message: Value) -> None:
        """Send a message; all messages of one event-loop iteration share a frame, in order."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent.append(message)

    def send_now(self, message: Value) -> None:
        """Send a message in a frame of its own, before those of this event-loop iteration."""
        self._transport.write(_frame([message]))

    def close(self) -> None:
        """Close both ends; messages that are not written yet are dropped."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self._unread += data
        try:
            for content in self._take_contents():
                self._on_messages(self._decode(content))
        except ValueError as error:
            self._fail(str(error))

    def connection_lost(self, _: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self._on_closed()

    def _take_contents(self) -> Iterator[bytes]:
        """Remove the frames that are complete; yield their contents."""
        while len(self._unread) >= _LENGTH.size:
            length = _length(self._unread)
            end = _LENGTH.size + length
            if len(self._unread) < end:
                return
            content = bytes(self._unread[_LENGTH.size : end])
            del self._unread[:end]
            yield content

    def _write(self) -> None:
        messages, self._unsent = self._unsent, []
        if self._transport.is_closing():
            return
        for frame in _frames(messages):
            self._transport.write(frame)
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT:
            self._fail("the other end does not read")

    def _fail(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.close()


async def open_channel(
    sock: socket.socket,
    decode: Callable[[bytes], Sequence[M]],
    on_messages: Callable[[Sequence[M]], None],
    on_closed: Callable[[], None],
) -> Channel[M]:
    """Make one end of a pair of UNIX sockets a channel, on the running event loop."""
    loop = asyncio.get_running_loop()
    channel = Channel(decode, on_messages, on_closed)
    await loop.create_unix_connection(lambda: channel, sock=sock)
    return channel


def send(sock: socket.socket, message: Value) -> None:
    """Send one message, in a frame of its own, on a blocking socket without an event loop."""
    sock.sendall(_frame([message]))


def receive(sock: socket.socket) -> bytes:
    """Wait for a frame on a blocking socket.

    Returns its content and reads nothing beyond it, so that a `Channel` can read what follows.
    Raises `EOFError` when the other end closes, and `ValueError` for a frame that is too long.
    """
    return _receive_exactly(sock, _length(_receive_exactly(sock, _LENGTH.size)))


def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (block := sock.recv(size - len(data))):
            raise EOFError
        data += block
    return bytes(data)


def _length(header: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack_from(header)[0]
    if length > FRAME_LIMIT:
        raise ValueError(f"a frame of {length} bytes")
    return length


def _frames(messages: Sequence[Value]) -> Iterator[bytes]:
    """One frame, or several if it would be large: the other end decodes each without a pause."""
    frame = _frame(messages)
    if len(frame) > FRAME_SIZE and len(messages) > 1:
        half = len(messages) // 2
        yield from _frames(messages[:half])
        yield from _frames(messages[half:])
    else:
        yield frame


def _frame(messages: Sequence[Value]) -> bytes:
    data = to_msgpack(messages)
    return _LENGTH.pack(len(data)) + data
