"""A server in place of a policy server, which sends the same bytes to each client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from tests.support.tasks import Tasks

NOT_FOUND = b"9:NOTFOUND ,"


@dataclass(frozen=True, slots=True)
class MapServer:
    """A server that `map_server` has started."""

    address: TcpAddress | UnixAddress
    requests: list[bytes] = field(default_factory=list)
    """What each client has sent."""


@asynccontextmanager
async def map_server(
    reply: bytes | None = NOT_FOUND, path: Path | None = None
) -> AsyncIterator[MapServer]:
    """Listen on a socket file, or a free port; None: read requests, and send nothing."""
    tasks = Tasks()
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.read(4096))
            if reply is None:
                await asyncio.Event().wait()
            writer.write(reply or b"")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.start(answer(reader, writer), "answer")

    address: TcpAddress | UnixAddress
    if path:
        address = UnixAddress(path)
        server = await asyncio.start_unix_server(accept, path)
    else:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        address = TcpAddress(*server.sockets[0].getsockname())
    async with server:
        yield MapServer(address, requests)
        await tasks.stop()
