"""An in-process HTTP proxy that supports only CONNECT and connects to one port only."""

import asyncio
import contextlib
from typing import Self

from tests.support.tasks import Tasks


class ConnectProxy:
    """Opens each tunnel to `port` of 127.0.0.1, for any target; `heads` are the requests.

    With a `refusal`, an HTTP response, it sends that and opens no tunnel. `success` is the response
    that opens one.
    """

    def __init__(
        self,
        port: int,
        refusal: bytes = b"",
        success: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
    ) -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._refusal = refusal
        self._success = success
        self._tasks = Tasks()

    @property
    def url(self) -> str:
        """The URL of the proxy, as in the configuration."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._tasks.stop()
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._serve(reader, writer), "test proxy")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if self._refusal:
                writer.write(self._refusal)
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._success)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.closing(sink), contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
