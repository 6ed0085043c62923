"""What goes over from one process to another comes out as it went in, in order, in few writes."""

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import parse_records
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.ipc import Channel, Message, line

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

POLICY = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmx: *.b.test\nmax_age: 86400\n"


@dataclass
class End:
    """One end, and what has come to it."""

    line: Channel = field(init=False)
    frames: list[Sequence[Message]] = field(default_factory=list)
    heard: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, messages: Sequence[Message]) -> None:
        """Take what comes."""
        self.frames.append(messages)
        for each in messages:
            self.heard.put_nowait(each)


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[End, End]]:
    """Both ends of a line."""
    here, there = End(), End()
    for end, sock in zip((here, there), socket.socketpair(), strict=True):
        end.line = await line(sock, end.hear, end.lost.set)
    yield here, there
    here.line.close()
    await there.lost.wait()
    there.line.close()
    await here.lost.wait()


async def test_one_round_one_frame() -> None:
    """What is sent in one round of the loop comes together; what is sent later, after it."""
    async with ends() as (here, there):
        for number in range(50):
            here.line.send((number,))
        assert [await there.heard.get() for _ in range(50)] == [(n,) for n in range(50)]
        here.line.send(("later",))
        assert await there.heard.get() == ("later",)
        assert [len(frame) for frame in there.frames] == [50, 1]


async def test_both_ways_and_large() -> None:
    """What takes many reads comes whole, whichever way it goes."""
    async with ends() as (here, there):
        large = "x" * 3_000_000
        here.line.send((large,))
        there.line.send((large, 2))
        assert await there.heard.get() == (large,)
        assert await here.heard.get() == (large, 2)


async def test_values_and_errors() -> None:
    """Frozen values are equal to what they were; an error keeps its type and its reason."""
    with pytest.raises(InvalidPolicyError) as invalid:
        parse_policy(b"version: STSv1\nnonsense\n")
    found = Discovered(parse_records([b"v=STSv1; id=1;"]), 300)
    policy = parse_policy(POLICY)
    async with ends() as (here, there):
        here.line.send((found, policy, NoRecordError("NXDOMAIN"), invalid.value))
        came = await there.heard.get()
    assert came[:2] == (found, policy)
    assert [(type(e), str(e)) for e in came[2:]] == [
        (NoRecordError, "NXDOMAIN"),
        (InvalidPolicyError, str(invalid.value)),
    ]
    assert came[3].line == 2


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_the_first_message(size: int) -> None:
    """It is read without a loop, however large it is, and by itself."""
    here, there = socket.socketpair()
    with there:
        end = await line(here, print, lambda: None)
        end.send(("later",))
        end.send_first(("terms", "x" * size))
        assert await asyncio.to_thread(ipc.first, there) == ("terms", "x" * size)
        assert await asyncio.to_thread(ipc.first, there) == ("later",)
        end.close()
        with pytest.raises(EOFError):
            await asyncio.to_thread(ipc.first, there)


def leaves(root: type[MtaStsError]) -> set[type[MtaStsError]]:
    """All classes below one that have none below."""
    below = root.__subclasses__()
    return set[type[MtaStsError]]().union(*map(leaves, below)) if below else {root}


@pytest.mark.parametrize(
    "kind", sorted(leaves(MtaStsError) - {InvalidPolicyError}, key=str), ids=lambda k: k.code
)
async def test_every_error_survives(kind: type[MtaStsError]) -> None:
    """Each leaf of the tree goes over as what it is, with its reason."""
    came = pickle.loads(pickle.dumps(kind("why")))  # noqa: S301 (made here)
    assert (type(came), str(came)) == (kind, "why")


@given(st.lists(st.lists(st.binary(max_size=50), max_size=5), min_size=1, max_size=5), st.data())
async def test_however_it_is_cut(frames: list[list[bytes]], data: st.DataObject) -> None:
    """It does not matter in which pieces the bytes come."""
    heard: list[Sequence[Message]] = []
    end = Channel(heard.append, lambda: None)
    sent = [[(each,) for each in frame] for frame in frames]
    whole = b"".join(map(ipc._packed, sent))
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        end.data_received(whole[:size])
        whole = whole[size:]
    assert heard == sent
