"""A TCP connection that is read piece by piece."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from postfix_mta_sts.network.stream import PIECE, Stream, open_stream

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets; the second one blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.settimeout(0)
    with near, far:
        yield near, far


@pytest.fixture
def far(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    """The other end of `stream`."""
    return pair[1]


@pytest.fixture
async def stream(pair: tuple[socket.socket, socket.socket]) -> AsyncIterator[Stream]:
    """An open stream."""
    stream = await open_stream(pair[0])
    yield stream
    stream.abort()
    await asyncio.sleep(0)


async def test_pieces(stream: Stream, far: socket.socket) -> None:
    """More bytes than a piece are returned in pieces; then follows the end."""
    far.sendall(b"x" * (PIECE + 1))
    far.shutdown(socket.SHUT_WR)
    pieces = [piece async for piece in _pieces(stream)]
    assert sum(map(len, pieces)) == PIECE + 1
    assert max(map(len, pieces)) <= PIECE
    assert await stream.read() == b""


async def test_a_flood_is_not_read(stream: Stream, far: socket.socket) -> None:
    """A sender that is not read is stopped by the kernel, and continues when it is read."""
    far.settimeout(0)
    sent = 0
    for _ in range(100):
        try:
            sent += far.send(b"x" * 65_536)
        except BlockingIOError:
            await asyncio.sleep(0.001)
    assert len(stream._buffer) <= 65_536 + 262_144  # uvloop reads 256 KiB at a time
    far.close()
    assert sum([len(piece) async for piece in _pieces(stream)]) == sent


async def test_reset(stream: Stream, far: socket.socket) -> None:
    """Bytes before a reset are returned first."""
    far.sendall(b"x")
    assert await stream.read() == b"x"
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    far.close()
    with pytest.raises(ConnectionResetError):
        await stream.read()
    stream.write(b"into the void")


async def test_abort_in_a_read(stream: Stream) -> None:
    """A read under way ends, with the error that is given."""
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.abort(LookupError("reason"))
    stream.abort()
    with pytest.raises(LookupError, match="reason"):
        await reading


async def test_abort_without_an_error(stream: Stream) -> None:
    """Without an error a read under way finds the end."""
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.abort()
    assert await reading == b""


async def _pieces(stream: Stream) -> AsyncIterator[bytes]:
    while piece := await stream.read():
        yield piece
