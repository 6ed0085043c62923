"""An in-process Policy Host: TLS, the exact bytes of requests, any bytes as the response.

    async with PolicyHost(Authority()) as host:
        host.answers["mta-sts.good.test"] = ok(policy_text(mx=["mx1.good.test"]))
        PolicyFetcher(host.addresses, port=host.port, authorities=..., allow_private_addresses=True)
        assert host.gets["mta-sts.good.test"] == 1
        assert host.requests[0].sni == "mta-sts.good.test"

It presents the certificate for a name in `credentials`, or else makes a valid one. A name without
an answer gets 404. After its response it closes the connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from tests.support.ports import free_port
from tests.support.tally import Gate, Tally
from tests.support.tasks import Tasks
from tests.support.tls import Authority, Credential

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes a response; the connection is closed when it returns."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as received."""

    head: bytes
    """From the request line to the blank line, inclusive."""
    sni: str | None

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode("ascii")

    @property
    def fields(self) -> dict[str, str]:
        """The header fields, names in lower case."""
        lines = self.head.decode("ascii").split("\r\n")[1:-2]
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}


class PolicyHost:
    """Serves `answers` while entered; `gets` counts by Host, `connections` by SNI.

    A connection is counted when its handshake is done, a GET when its head has been read.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> None:
        self.authority = authority
        self.host = host
        self.port = port or free_port()
        self.answers: dict[str, bytes | Script] = {}
        self.credentials: dict[str, Credential] = {}
        self.requests: list[Request] = []
        self.lookups: Tally[str] = Tally()
        self.gets: Tally[str] = Tally()
        self.connections: Tally[str] = Tally()
        self.closed: Tally[str] = Tally()
        """Connections that the client closed before the end of the response, by SNI."""
        self.gate = Gate()
        self._maximum = maximum
        self._issued: dict[str, Credential] = {}
        self._sni: dict[ssl.SSLObject, str] = {}
        self._tasks = Tasks()

    async def addresses(self, host: str) -> Sequence[str]:
        """Resolve any name to this host; counted in `lookups`."""
        await self.lookups.add(host)
        return [self.host]

    def hold(self) -> None:
        """Hold all responses until `release`; requests are still counted."""
        self.gate.hold()

    def release(self) -> None:
        """Send the held responses."""
        self.gate.release()

    async def __aenter__(self) -> Self:
        context = self.authority.issue("no-sni.test").server_context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = self._maximum
        context.sni_callback = self._on_server_name
        self._server = await asyncio.start_server(
            self._connected, self.host, self.port, ssl=context, backlog=1024
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._tasks.stop()
        await self._server.wait_closed()

    def _on_server_name(
        self, session: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name is not None and isinstance(session, ssl.SSLObject):
            self._sni[session] = name
            session.context = self._credential(name).server_context(
                minimum=ssl.TLSVersion.MINIMUM_SUPPORTED, maximum=self._maximum
            )

    def _credential(self, name: str) -> Credential:
        if name in self.credentials:
            return self.credentials[name]
        return self._issued.setdefault(name, self.authority.issue(name))

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio in Python 3.11 logs an error if one is cancelled.
        self._tasks.start(self._handle(reader, writer), "test policy host")

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sni = self._sni.pop(writer.get_extra_info("ssl_object"), None)
        await self.connections.add(sni or "")
        try:
            await self._serve(reader, writer, sni)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await self.closed.add(sni or "")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sni: str | None
    ) -> None:
        request = Request(await reader.readuntil(b"\r\n\r\n"), sni)
        self.requests.append(request)
        name = request.fields.get("host", "").partition(":")[0]
        await self.gets.add(name)
        answering = asyncio.create_task(self._answer(name, writer), name="test answer")
        gone = asyncio.create_task(reader.read(1), name="test client gone")
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            else:
                await self.closed.add(sni or "")
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    async def _answer(self, name: str, writer: asyncio.StreamWriter) -> None:
        await self.gate.passed()
        answer = self.answers.get(name, reply(404))
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        else:
            await answer(writer)


def policy_text(
    mode: str = "enforce", mx: Sequence[str] = ("mx1.good.test",), max_age: int = 604800
) -> bytes:
    """A policy file with CRLF line ends."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx)]
    return "".join(f"{line}\r\n" for line in [*lines, f"max_age: {max_age}"]).encode()


def reply(status: int, body: bytes = b"", **fields: str) -> bytes:
    """An HTTP response with the right Content-Length, unless `content_length` sets another.

    Underscores in field names become hyphens: `location="https://..."`, `content_type="text/html"`.
    An empty value removes the field.
    """
    values = {"content_length": str(len(body)), **fields}
    lines = [f"{name.replace('_', '-').title()}: {x}" for name, x in values.items() if x]
    head = "\r\n".join([f"HTTP/1.1 {status} Whatever", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def ok(body: bytes, content_type: str = "text/plain", **fields: str) -> bytes:
    """`reply` with status 200 and text/plain."""
    return reply(200, body, content_type=content_type, **fields)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", **fields: str) -> bytes:
    """A response with status 200 in chunked coding; with `end` empty it is incomplete."""
    head = ok(b"", content_length="", transfer_encoding="chunked", **fields)
    return head + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + end


async def silence(writer: asyncio.StreamWriter) -> None:
    """A response that never starts."""
    await asyncio.Event().wait()


def then_silence(head: bytes) -> Script:
    """A response that stops in the middle and keeps the connection open."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await silence(writer)

    return script


def then_abort(head: bytes) -> Script:
    """A response that ends with a reset of the TCP connection."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)  # enabled, 0 seconds: close() sends a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return script


def without_close_notify(answer: bytes) -> Script:
    """A response after which TCP is closed, but not TLS."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        for _ in range(3):  # uvloop 0.21 sends later in the same turn
            await asyncio.sleep(0)
        with socket.fromfd(writer.get_extra_info("socket").fileno(), 0, 0) as sock:
            sock.shutdown(socket.SHUT_WR)
        await silence(writer)

    return script


def drip(head: bytes, drop: bytes = b"x", pause: float = 0.01) -> Script:
    """An endless response that sends `drop` slowly, so that no single read times out."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def endless(head: bytes, block: bytes = b"x" * 65536) -> Script:
    """An endless response that is sent as fast as the client reads."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(0)  # drain does not wait on a lost connection

    return script


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that accepts connections and never sends anything; yields its number."""
    with socket.create_server((host, port), backlog=1024) as listener:
        yield listener.getsockname()[1]
