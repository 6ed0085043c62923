"""A server that a relay takes for a Redis: it talks as the test says; and the relay's engine."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings

HOST: Final = "127.0.0.1"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(
    talk: Talk, *, path: Path | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server that talks so with each client, perhaps with TLS; yields its port.

    With a path it listens at a UNIX socket, and the port is 0.
    """
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                await talk(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(serve(reader, writer)))

    if path:
        server = await asyncio.start_unix_server(accept, path)
    else:
        server = await asyncio.start_server(accept, HOST, 0, ssl=context)
    async with server:
        yield 0 if path else server.sockets[0].getsockname()[1]
        for each in talks:
            each.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def command(reader: asyncio.StreamReader) -> list[bytes]:
    """Read a command: its words. Raises `IncompleteReadError` at the end of the connection."""
    words = int((await reader.readuntil(b"\r\n"))[1:])
    found = []
    for _ in range(words):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        found.append((await reader.readexactly(length + 2))[:-2])
    return found


@contextlib.asynccontextmanager
async def relay(
    port: int,
    password: str | None = None,
    *,
    path: Path | None = None,
    authorities: str | None = None,
) -> AsyncIterator[Engine]:
    """An engine for the server at a port, or at a UNIX socket; with TLS, if there is a CA."""
    location = StoreLocation(
        engine=EngineName.REDIS,
        addresses=() if path else (TcpAddress(HOST, port),),
        path=str(path) if path else None,
        database="0",
        password=password,
        tls=authorities is not None,
        shown=f"redis://{HOST}:{port}/0",
    )
    engine = open_engine(
        SharedStoreSettings(
            location=location,
            name="relay-1",
            prefix="mta_sts",
            budget=0.25,
            keyring=None,
            authorities=authorities,
        )
    )
    try:
        yield engine
    finally:
        await engine.close()
