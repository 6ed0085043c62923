"""Clients that ask like Postfix's dict_socketmap and dict_tcp, or send malformed bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

Address = tuple[str, int] | Path


class Client:
    """One connection: `async with connected(address) as client`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send these bytes unchanged."""
        self.writer.write(data)

    async def netstring(self) -> bytes:
        """The next reply of a socketmap, without its frame."""
        length = await self.reader.readuntil(b":")
        data = await self.reader.readexactly(int(length[:-1]) + 1)
        return data[:-1]

    async def line(self) -> bytes:
        """The next reply of a tcp_table, without its line end."""
        return (await self.reader.readuntil(b"\n"))[:-1]

    async def ask(self, key: str, map_name: str = "postfix") -> bytes:
        """The reply of a socketmap to one look-up."""
        self.send(request(key, map_name))
        return await self.netstring()

    async def get(self, key: str) -> bytes:
        """The reply of a tcp_table to one look-up."""
        self.send(f"get {key}\n".encode())
        return await self.line()

    async def closed(self) -> bool:
        """Wait until the server closes the connection; whether it sent nothing more."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


def request(key: str, map_name: str = "postfix") -> bytes:
    """A socketmap request with its frame."""
    data = f"{map_name} {key}".encode()
    return b"%d:%b," % (len(data), data)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Client]:
    """A connection to a server, closed at the end."""
    if isinstance(address, Path):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
