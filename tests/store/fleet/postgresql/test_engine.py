"""The engine of PostgreSQL and servers that are none, or hostile; tests/fleet has the real ones."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
)
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings

PASSWORD = "correct-horse"  # noqa: S105 (of no server)


def message(kind: bytes, body: bytes) -> bytes:
    """A message of the protocol (PostgreSQL, "Message Formats")."""
    return kind + struct.pack("!i", len(body) + 4) + body


def error(sqlstate: bytes, text: bytes = b"no") -> bytes:
    """An ErrorResponse."""
    return message(b"E", b"SFATAL\0VFATAL\0C" + sqlstate + b"\0M" + text + b"\0\0")


ADMITTED = b"".join(
    (
        message(b"R", struct.pack("!i", 0)),
        message(b"S", b"server_version\00017.0\0"),
        message(b"K", struct.pack("!ii", 1, 1)),
        message(b"Z", b"I"),
    )
)


messages = st.lists(
    st.builds(
        message, st.sampled_from([bytes([n]) for n in b"123ACDEGHIKNRSTVWZcdnst"]), st.binary()
    )
).map(b"".join)
"""Messages of the types that a server sends, with anything in them."""


@contextlib.asynccontextmanager
async def server(*answers: bytes, stays: bool = False) -> AsyncIterator[SharedStoreSettings]:
    """A server that gives each thing that it receives an answer, then ends, or `stays` silent."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in answers:
                await reader.read(65_536)
                writer.write(answer)
                await writer.drain()
            while stays and await reader.read(65_536):
                pass
        writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield settings(f"postgresql://relay:{PASSWORD}@127.0.0.1:{port}/mail")
    await asyncio.gather(*serving)  # each ends when the engine has closed its connection
    await asyncio.sleep(0)


def settings(url: str) -> SharedStoreSettings:
    """The settings of a relay."""
    return SharedStoreSettings(
        location=parse_store_url(url),
        name="relay",
        prefix="mta_sts",
        budget=0.25,
        keyring=None,
        authorities=None,
    )


async def fault(settings: SharedStoreSettings) -> FleetError:
    """Read, and return the error."""
    engine = open_engine(settings)
    try:
        with pytest.raises(FleetError) as caught:
            await engine.read([])
    finally:
        await engine.close()
        await asyncio.sleep(0)
    assert str(caught.value).isprintable()
    assert PASSWORD not in repr(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", NotReachedError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", FleetError),
        (b"-ERR unknown command\r\n", FleetError),
        (b"\0" * 200, FleetError),
        (b"\xff" * 200, FleetError),
        (error(b"57P03"), CannotServeError),
        (error(b"53300"), CannotServeError),
        (error(b"28000"), DeniedError),
        (error(b"08P01", b"no such user"), DeniedError),
        (error(b"\xff\xfe", b"\xff{}\n" * 500), FleetError),
        (message(b"E", b""), FleetError),
        (message(b"R", struct.pack("!i", 99)), FleetError),
        (message(b"R", struct.pack("!i", 7)), FleetError),
        (message(b"R", struct.pack("!i", 10) + b"NONSENSE\0\0"), FleetError),
        (message(b"R", b""), FleetError),
        (b"R\x7f\xff\xff\xff", NotReachedError),
        (ADMITTED, NotReachedError),
        (ADMITTED + error(b"57P01"), FleetError),
        (ADMITTED + b"garbage", FleetError),
    ],
)
async def test_what_a_server_says_first(answer: bytes, kind: type[FleetError]) -> None:
    """Whatever a server answers, a relay has an error that says so."""
    async with server(answer) as settings:
        assert isinstance(await fault(settings), kind)


@pytest.mark.parametrize(
    "answer",
    [
        message(b"T", b"\xff\xff"),
        message(b"D", b"\0\1\xff\xff\xff\xfe"),
        message(b"t", b"\xff\xff\xff\xff"),
        message(b"Z", b"?"),
        message(b"C", b"SELECT 1\0") + message(b"Z", b"I"),
        error(b"XX000") + message(b"Z", b"I"),
    ],
)
async def test_garbage_in_place_of_rows(answer: bytes) -> None:
    """A server that speaks nonsense after the login is an error too."""
    async with server(ADMITTED, answer) as settings:
        await fault(settings)


# asyncpg's Connection.__del__ expects more of a connection whose making has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@hypothesis_settings(max_examples=60)
@given(st.binary(max_size=300) | messages, st.booleans())
def test_any_bytes(data: bytes, is_admitted: bool) -> None:  # noqa: FBT001 (of hypothesis)
    """No bytes of a server make anything else of an engine than an error."""

    async def run() -> None:
        answers = [ADMITTED, data] if is_admitted else [data]
        async with server(*answers) as settings:
            await fault(settings)

    asyncio.run(run())


async def test_a_server_without_tls() -> None:
    """If TLS is asked for, a server that has none gets no password."""
    async with server(b"N") as plain:
        port = plain.location.addresses[0].port
        url = f"postgresql://relay:{PASSWORD}@127.0.0.1:{port}/mail?sslmode=verify-full"
        found = await fault(settings(url))
    assert isinstance(found, DeniedError)
    assert "offers no TLS" in str(found)


async def test_nobody_listens() -> None:
    """A port without a server, and a socket that is none."""
    assert isinstance(await fault(settings("postgresql://127.0.0.1:1/mail")), NotReachedError)
    assert isinstance(await fault(settings("postgresql://%2Fnone/mail")), NotReachedError)


@pytest.mark.parametrize("answers", [(), (ADMITTED,), (b"R",), (b"R\0\0\xff\xff",)])
async def test_a_server_that_hangs(answers: tuple[bytes, ...]) -> None:
    """The caller's time limit ends a call, and the relay ends, wherever the server hangs."""
    async with server(*answers, stays=True) as settings:
        engine = open_engine(settings)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.read([]), 0.01)
        waiting = asyncio.create_task(engine.read([]))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(NotReachedError):
            await waiting
