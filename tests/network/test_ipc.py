"""Messages arrive as they were sent, in order, in few writes, however the bytes are split."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.ipc import FRAME_LIMIT, FRAME_SIZE, Channel, open_channel
from postfix_mta_sts.values import Value, msgpack_decoder, to_msgpack

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class Text(Value, frozen=True):
    """A message."""

    text: str
    number: int = 0


decode = msgpack_decoder(list[Text])


@dataclass
class End:
    """One end of a channel and the messages that it received."""

    channel: Channel[Text] = field(init=False)
    batches: list[Sequence[Text]] = field(default_factory=list)
    received: asyncio.Queue[Text] = field(default_factory=asyncio.Queue)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_messages(self, messages: Sequence[Text]) -> None:
        """Store the messages."""
        self.batches.append(messages)
        for each in messages:
            self.received.put_nowait(each)


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[End, End]]:
    """Both ends of a channel."""
    here, there = End(), End()
    for end, sock in zip((here, there), socket.socketpair(), strict=True):
        end.channel = await open_channel(sock, decode, end.on_messages, end.closed.set)
    yield here, there
    here.channel.close()
    await there.closed.wait()
    there.channel.close()
    await here.closed.wait()


async def test_messages_of_one_iteration_arrive_together() -> None:
    """Messages sent in one iteration of the event loop share a frame; later ones follow."""
    async with ends() as (here, there):
        for number in range(50):
            here.channel.send(Text("", number))
        assert [(await there.received.get()).number for _ in range(50)] == list(range(50))
        here.channel.send(Text("later"))
        assert await there.received.get() == Text("later")
        assert [len(batch) for batch in there.batches] == [50, 1]


async def test_many_large_messages_arrive_in_small_frames() -> None:
    """No frame is much larger than `FRAME_SIZE`, so that the other end makes pauses."""
    async with ends() as (here, there):
        size = FRAME_SIZE // 3
        for number in range(20):
            here.channel.send(Text("x" * size, number))
        assert [(await there.received.get()).number for _ in range(20)] == list(range(20))
        assert max(len(batch) for batch in there.batches) <= 2


async def test_large_messages_in_both_directions() -> None:
    """A message that takes many reads arrives whole, in either direction."""
    async with ends() as (here, there):
        large = "x" * 3_000_000
        here.channel.send(Text(large))
        there.channel.send(Text(large, 2))
        assert await there.received.get() == Text(large)
        assert await here.received.get() == Text(large, 2)


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_receive_without_an_event_loop(size: int) -> None:
    """`receive` returns one frame, however large; `send_now` sends before `send`."""
    here, there = socket.socketpair()
    with there:
        channel = await open_channel(here, decode, print, lambda: None)
        channel.send(Text("later"))
        channel.send_now(Text("x" * size))
        assert decode(await asyncio.to_thread(ipc.receive, there)) == [Text("x" * size)]
        assert decode(await asyncio.to_thread(ipc.receive, there)) == [Text("later")]
        channel.close()
        with pytest.raises(EOFError):
            await asyncio.to_thread(ipc.receive, there)


async def test_send_without_an_event_loop() -> None:
    """A channel receives what `send` sent."""
    here, there = socket.socketpair()
    end = End()
    with there:
        end.channel = await open_channel(here, decode, end.on_messages, end.closed.set)
        ipc.send(there, Text("first"))
        ipc.send(there, Text("second"))
        assert [await end.received.get() for _ in range(2)] == [Text("first"), Text("second")]
    await end.closed.wait()


@given(st.lists(st.lists(st.text(max_size=50), max_size=5), min_size=1, max_size=5), st.data())
async def test_any_split_of_the_byte_stream(frames: list[list[str]], data: st.DataObject) -> None:
    """It does not matter in which pieces the bytes arrive."""
    received: list[Sequence[Text]] = []
    end = Channel(decode, received.append, lambda: None)
    sent = [[Text(text, number) for number, text in enumerate(frame)] for frame in frames]
    stream = b"".join(struct.pack("!I", len(f)) + f for f in map(to_msgpack, sent))
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        end.data_received(stream[:size])
        stream = stream[size:]
    assert received == sent


@given(st.binary(max_size=60).filter(lambda content: content != b"\x90"))  # an empty array
async def test_bytes_that_are_not_a_message(content: bytes) -> None:
    """A frame whose content is not a message ends the channel, with a reason and no exception."""
    here, there = socket.socketpair()
    end = End()
    with there:
        end.channel = await open_channel(here, decode, end.on_messages, end.closed.set)
        there.sendall(struct.pack("!I", len(content)) + content)
        await end.closed.wait()
        assert end.channel.fault


@pytest.mark.parametrize("first", [b"", to_msgpack([Text("good")])], ids=["first", "second"])
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\0\0\0\1\0", "Expected `array`, got `int`"),
        (struct.pack("!I", FRAME_LIMIT + 1), f"a frame of {FRAME_LIMIT + 1} bytes"),
        (b"\xff" * 100, "a frame of 4294967295 bytes"),
    ],
    ids=["malformed", "too long", "garbage"],
)
async def test_a_fault_closes_the_channel(data: bytes, fault: str, first: bytes) -> None:
    """Nothing after it could be trusted; what came before it has arrived."""
    here, there = socket.socketpair()
    end = End()
    with there:
        end.channel = await open_channel(here, decode, end.on_messages, end.closed.set)
        there.sendall((struct.pack("!I", len(first)) + first if first else b"") + data)
        await end.closed.wait()
    assert end.channel.fault == fault
    assert [message.text for batch in end.batches for message in batch] == ["good"] * bool(first)


async def test_half_a_frame() -> None:
    """It is no message, also when the other end closes."""
    here, there = socket.socketpair()
    end = End()
    with there:
        end.channel = await open_channel(here, decode, end.on_messages, end.closed.set)
        there.sendall(struct.pack("!I", 100) + b"\x91")
    await end.closed.wait()
    assert (end.batches, end.channel.fault) == ([], "")


async def test_an_end_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is bounded."""
    monkeypatch.setattr(ipc, "UNSENT_LIMIT", 1_000_000)
    here, there = socket.socketpair()
    end = End()
    with there:
        end.channel = await open_channel(here, decode, end.on_messages, end.closed.set)
        end.channel.send(Text("x" * 3_000_000))
        await end.closed.wait()
        end.channel.send(Text("dropped"))
        await asyncio.sleep(0)
    assert end.channel.fault == "the other end does not read"


async def test_a_frame_that_is_too_long_without_an_event_loop() -> None:
    """`receive` reads no such frame."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"\xff" * 4)
        with pytest.raises(ValueError, match="a frame of"):
            ipc.receive(here)
