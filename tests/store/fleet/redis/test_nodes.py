"""A node of a Cluster is followed only to an address, and to so many nodes."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.errors import NotReachedError
from postfix_mta_sts.store.fleet.redis.nodes import Nodes, moved_to
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.wire import Login
from tests.support.ports import free_port
from tests.support.redis_peer import command, peer

FIRST = TcpAddress("store.example", 6379)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("MOVED 3999 127.0.0.1:6381", TcpAddress("127.0.0.1", 6381)),
        ("MOVED 3999 ::1:6381", TcpAddress("::1", 6381)),
        ("MOVED 3999 node-2.example:6381", TcpAddress("node-2.example", 6381)),
        ("MOVED 3999 :6381", TcpAddress("store.example", 6381)),
        ("MOVED 3999 127.0.0.1:99999", None),
        ("MOVED 3999 127.0.0.1", None),
        ("MOVED 3999 a b:1", None),
        ("MOVED 3999 unix:/run/x:1", None),
        ("MOVED 3999 ../x:1", None),
        ("ASK 3999 127.0.0.1:6381", None),
        ("MOVED", None),
    ],
)
def test_where_a_key_is(text: str, address: TcpAddress | None) -> None:
    """MOVED names a host and a port; without a host it is that of the node which says so."""
    assert moved_to(Refusal(text), FIRST) == address


@given(text=st.text(max_size=40).map("MOVED 1 ".__add__) | st.text(max_size=40))
def test_whatever_a_node_says(text: str) -> None:
    """Any text names an address of TCP, or none."""
    assert isinstance(moved_to(Refusal(text), FIRST), TcpAddress | None)


async def test_no_more_than_so_many_nodes() -> None:
    """Of a Cluster that names ever new nodes the one that was not used for longest is left."""
    left = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("sockname")[1]
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await command(reader):
                writer.write(b":%d\r\n" % name)
        left.append(name)

    nodes = Nodes(Login(None, None, 0, None), most=2)
    async with contextlib.AsyncExitStack() as stack:
        one, two, three = [await stack.enter_async_context(peer(talk)) for _ in range(3)]
        for port in (one, two, one, three, one):
            away = Refusal(f"MOVED 1 127.0.0.1:{port}")
            assert await nodes.follow([("TIME",)], [away], FIRST) == [port]
        while not left:  # noqa: ASYNC110 (until the peer knows)
            await asyncio.sleep(0)
        assert left == [two]
        nodes.close()


async def test_a_node_that_is_gone() -> None:
    """A node at which nobody listens is named, each time."""
    port = free_port()
    nodes = Nodes(Login(None, None, 0, None), most=1)
    for _ in range(2):
        with pytest.raises(NotReachedError, match=rf"^127\.0\.0\.1:{port}: .*refused"):
            await nodes.follow([("TIME",)], [Refusal(f"MOVED 1 127.0.0.1:{port}")], FIRST)
    nodes.close()


async def test_a_node_that_takes_longer_than_a_call_has() -> None:
    """What a call began to open serves the next one: a distant node is reached in the end."""
    connections = 0
    is_slow = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await command(reader)
        await is_slow.wait()
        writer.write(b"+OK\r\n")  # the answer to AUTH
        while await command(reader):
            writer.write(b"+there\r\n")

    nodes = Nodes(Login(None, "secret", 0, None))
    async with peer(talk) as port:
        away = Refusal(f"MOVED 1 127.0.0.1:{port}")
        for _ in range(3 * CONNECTIONS[EngineName.REDIS]):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await nodes.follow([("TIME",)], [away], FIRST)
        is_slow.set()
        assert await nodes.follow([("TIME",)], [away], FIRST) == [b"there"]
        assert connections <= CONNECTIONS[EngineName.REDIS]
        nodes.close()


async def test_replies_of_other_nodes_take_their_places() -> None:
    """Each command goes to the node that has its key, and its reply to its place."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            words = await command(reader)
            writer.write(b"+there %s\r\n" % words[1])

    nodes = Nodes(Login(None, None, 0, None))
    async with peer(talk) as port:
        away = Refusal(f"MOVED 1 127.0.0.1:{port}")
        for _ in range(2):
            commands = [("GET", "a"), ("GET", "b"), ("GET", "c")]
            found = await nodes.follow(commands, [away, b"here", away], FIRST)
            assert found == [b"there a", b"here", b"there c"]
        nodes.close()
