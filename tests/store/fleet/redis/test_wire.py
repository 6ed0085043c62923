"""A server that is no Redis, or a hostile one, costs no memory, no secret and no traceback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.engine import Engine, Kind, Name
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
)
from postfix_mta_sts.store.fleet.redis.limits import MAX_REPLY
from postfix_mta_sts.store.fleet.redis.wire import Login, open_wire
from tests.support.fleet_clients import settle
from tests.support.redis_peer import HOST, Talk, peer, relay
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

SECRET: Final = "hunter2-is-secret"  # noqa: S105 (of this test)
DOMAIN: Final = Domain("example.com")
POLICY: Final = Name(Kind.POLICY, DOMAIN)


def sends(answer: bytes) -> Talk:
    """A server that answers so, then closes the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        await writer.drain()

    return talk


def calls(engine: Engine) -> Sequence[Callable[[], Awaitable[Any]]]:
    """Each method of an engine that reads replies."""
    return (
        lambda: engine.read([POLICY, Name(Kind.CHECK, DOMAIN)]),
        lambda: engine.put(Name(Kind.RELAY, "a"), b"record", 1, 2),
        lambda: engine.remove([POLICY, Name(Kind.CHECK, DOMAIN)]),
        lambda: engine.page(Kind.CHECK, "", 10),
        lambda: engine.claim(DOMAIN, "token"),
        lambda: engine.renew(DOMAIN, "token"),
        lambda: engine.release(DOMAIN, "token"),
        lambda: engine.note_uses({DOMAIN: 1}, {DOMAIN: 2}),
        lambda: engine.due(0, 10),
        engine.check,
    )


# What begins as replies do goes further than noise.
_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"+OK\r\n",
            b":1\r\n",
            b":0\r\n",
            b":-1\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$3\r\nabc\r\n",
            b"$10\r\n1700000000\r\n",
            b"*0\r\n",
            b"*1\r\n",
            b"*2\r\n",
            b"*3\r\n",
            b"*-1\r\n",
            b"-ERR no\r\n",
            b"-NOSCRIPT no\r\n",
            b"-MOVED 1\r\n",
            b"-\r\n",
            b"*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n",
        ]
    ),
)


@settings(max_examples=15)
@given(replies=st.lists(_PIECES, min_size=1, max_size=12).map(b"".join))
@example(replies=b"\r\n")
@example(replies=b":\r\n")
@example(replies=b":9" + b"9" * 5000 + b"\r\n")
@example(replies=b"$\r\n")
@example(replies=b"$-2\r\n")
@example(replies=b"*" + b"9" * 30 + b"\r\n")
@example(replies=b">2\r\n+a\r\n+b\r\n")
@example(replies=b"HTTP/1.1 400 Bad Request\r\n\r\n")
@example(replies=b"*1\r\n" * 5000)
@example(replies=b"-" + b"E" * 70_000 + b"\r\n")
@example(replies=b"+" + b"x" * 200_000)
@example(replies=b"*2\r\n$2\r\n-1\r\n$2\r\n-1\r\n" * 3)
@example(replies=b"*3\r\n*2\r\n:1\r\n:2\r\n$1\r\n1\r\n:7\r\n" * 3)
async def test_whatever_a_server_answers_is_a_reply_or_an_error_of_the_fleet(
    replies: bytes,
) -> None:
    """No bytes that a server sends raise anything but `FleetError`."""
    async with peer(sends(replies)) as port, relay(port) as engine:
        for call in calls(engine):
            with contextlib.suppress(FleetError):
                await call()


async def sent_until_left(first: bytes, then: bytes, names: Sequence[Name]) -> int:
    """The bytes that a server could send without end, before the relay has left it."""
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(65536)
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()
            sent += len(then)

    async with peer(talk) as port, relay(port) as engine:
        with pytest.raises(NotReachedError, match="does not speak the protocol"):
            await engine.read(names)
    return sent


async def test_an_endless_value_is_not_read() -> None:
    """A server that announces a gigabyte is left at once; what it sends is not kept."""
    assert await sent_until_left(b"$1000000000\r\n", b"x" * 65536, [POLICY]) < 64 << 20


async def test_an_endless_array_is_not_read() -> None:
    """A server that sends small replies without end is left after a few megabytes."""
    assert await sent_until_left(b"*2000000000\r\n", b"$-1\r\n" * 10_000, []) < 8 * MAX_REPLY


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _echo_as_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(b"-ERR " + data.replace(b"\r\n", b" ") + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("talk", [_echo, _echo_as_error])
async def test_a_server_that_sends_the_password_back(talk: Talk) -> None:
    """No message has the password, not even if the server writes it into its error."""
    async with peer(talk) as port, relay(port, SECRET) as engine:
        with pytest.raises(FleetError) as caught:
            await engine.read([POLICY])
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"-WRONGPASS invalid username-password pair\r\n", DeniedError, "user or the password"),
        (b"-ERR max number of clients reached\r\n", CannotServeError, "too many clients"),
        (b"-DENIED Redis is running in protected mode\r\n", DeniedError, "protected mode"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", CannotServeError, "loading"),
        (
            b"-ERR AUTH <password> called without any password configured for the default\r\n",
            DeniedError,
            "no password for this user",
        ),
        (b"-ERR unknown command 'AUTH', with args beginning with\r\n", DeniedError, "refuses"),
    ],
)
async def test_a_login_that_is_refused(answer: bytes, kind: type[FleetError], says: str) -> None:
    """The first answer of a server says why it does not serve this relay."""
    async with peer(sends(answer)) as port, relay(port, SECRET) as engine:
        with pytest.raises(kind, match=says) as caught:
            await engine.read([POLICY])
    assert SECRET not in str(caught.value)


async def test_a_reply_too_many_ends_a_connection() -> None:
    """A connection on which the server has sent something unasked is not used again."""
    time = b"*2\r\n$1\r\n%d\r\n$1\r\n0\r\n"
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(65536):
            writer.write(time % connections + time % 9)

    async with peer(talk) as port, relay(port) as engine:
        for number in (1, 2, 3):
            assert (await engine.read([])).now == number * 1_000_000
            await asyncio.sleep(0.01)  # the second reply has arrived, or is in the same packet


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_connection_that_the_server_has_ended(is_reset: bool) -> None:  # noqa: FBT001
    """A connection that ended while nothing used it costs no call."""
    ends = asyncio.Event()
    times: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(len(times) + 1)
        await reader.read(65536)
        writer.write(b"*2\r\n$1\r\n%d\r\n$1\r\n0\r\n" % times[-1])
        await ends.wait()
        if is_reset:
            client: socket.socket = writer.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async with peer(talk) as port:
        wire = await open_wire(TcpAddress(HOST, port), Login(None, None, 0, None))
        assert await wire.exchange([("TIME",)]) == [[b"1", b"0"]]
        assert not wire.is_closed()
        ends.set()
        while not wire.is_closed():  # noqa: ASYNC110 (until the kernel says so)
            await asyncio.sleep(0)
        wire.terminate()


async def test_a_cancelled_call_ends_all_connections() -> None:
    """After a call that waited in vain, no other waits on a connection that is as dead."""
    accepted: list[asyncio.StreamWriter] = []
    hangs = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        while await reader.read(65536):
            if len(accepted) > 3 or not hangs.is_set():
                writer.write(b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n")

    async with peer(talk) as port, relay(port) as engine:
        await asyncio.gather(*(engine.read([]) for _ in range(3)))
        assert len(accepted) == 3
        hangs.set()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await engine.read([])
        assert (await engine.read([])).now == 1_000_000
        assert len(accepted) == 4


async def test_a_connection_that_takes_longer_than_a_call_has() -> None:
    """What a call began to open serves the next one: a distant server is reached in the end."""
    connections = 0
    is_slow = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(65536)
        await is_slow.wait()
        writer.write(b"+OK\r\n")  # the answer to AUTH
        while await reader.read(65536):
            writer.write(b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n")

    async with peer(talk) as port, relay(port, SECRET) as engine:
        for _ in range(3 * CONNECTIONS[EngineName.REDIS]):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await engine.read([])
        is_slow.set()
        assert (await engine.read([])).now == 1_000_000
        assert connections <= CONNECTIONS[EngineName.REDIS]


@pytest.mark.parametrize("turns", range(8))
async def test_an_engine_is_closed_while_it_connects(turns: int) -> None:
    """Whatever a call has done when the engine is closed, no connection stays, or is opened."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with peer(talk) as port, relay(port, SECRET) as engine:
        call = asyncio.create_task(engine.read([]))
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(NotReachedError, match="closed"):
            await call
        await settle()  # the server accepts what it has got


async def _time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(b"+OK\r\n" if b"AUTH" in data else b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n")


async def test_a_unix_socket(tmp_path: Path) -> None:
    """A socket is used as an address is; one that is not there, or refuses the login, is named."""
    path = tmp_path / "redis.sock"
    async with peer(_time, path=path) as port, relay(port, SECRET, path=path) as engine:
        assert (await engine.read([])).now == 1_000_000
    async with relay(0, path=tmp_path / "none") as engine:
        with pytest.raises(NotReachedError, match=f"^unix:{tmp_path}/none: No such file"):
            await engine.read([])
    path.unlink(missing_ok=True)
    wrong = sends(b"-WRONGPASS x\r\n")
    async with peer(wrong, path=path) as port, relay(port, SECRET, path=path) as engine:
        with pytest.raises(DeniedError, match="the user or the password"):
            await engine.read([])


async def test_tls() -> None:
    """The server must have a certificate of the CA in ca_file, for its address."""
    ours, other = Authority(), Authority("Another")
    trusted = ours.certificate.decode()
    well = ours.issue(addresses=(HOST,)).server_context()
    async with peer(_time, context=well) as port:
        async with relay(port, SECRET, authorities=trusted) as engine:
            assert (await engine.read([])).now == 1_000_000
        async with relay(port, SECRET, authorities=other.certificate.decode()) as engine:
            with pytest.raises(DeniedError, match=r"TLS: .*certificate"):
                await engine.read([])
    named = ours.issue("store.example").server_context()
    async with peer(_time, context=named) as port, relay(port, authorities=trusted) as engine:
        with pytest.raises(DeniedError, match=r"TLS: .*not valid for '127\.0\.0\.1'"):
            await engine.read([])


async def test_a_server_without_tls_gets_no_password() -> None:
    """A server that does not answer in TLS is left before the login."""
    got: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(65536))
        writer.write(b"+OK\r\n")

    authorities = Authority().certificate.decode()
    async with peer(talk) as port, relay(port, SECRET, authorities=authorities) as engine:
        with pytest.raises(DeniedError, match=f"^{HOST}:{port}: TLS: "):
            await engine.read([])
    assert SECRET.encode() not in b"".join(got)
