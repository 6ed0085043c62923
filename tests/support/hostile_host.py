"""Policy Hosts that misbehave below HTTP: a scripted TLS server, and bytes for it and for HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from tests.support.policy_host import Script
from tests.support.tally import Tally
from tests.support.tasks import Tasks

FFDHE8192: Final = 0x104
X25519: Final = 0x1D
WARNING: Final = b"\x15\x03\x03\x00\x02\x01\x70"
"""An alert of level warning: unrecognized_name (RFC 6066 §3)."""
HELLO_REQUEST: Final = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00"

_RETRY: Final = sha256(b"HelloRetryRequest").digest()
"""The random of a ServerHello that asks for another ClientHello (RFC 8446 §4.1.3)."""


def retry_request(group: int) -> bytes:
    """The message in which a TLS 1.3 server asks for a key share of a group (RFC 8446 §4.1.4)."""
    key_share = b"\x00\x33\x00\x02" + group.to_bytes(2, "big")
    extensions = b"\x00\x2b\x00\x02\x03\x04" + key_share
    # Version 1.2 for old devices between, no session id, TLS_AES_256_GCM_SHA384, no compression.
    body = b"\x03\x03" + _RETRY + b"\x00" + b"\x13\x02" + b"\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x02" + len(body).to_bytes(3, "big") + body


def records(message: bytes, size: int = 16_384) -> bytes:
    """A handshake message in records of `size` bytes (RFC 8446 §5.1)."""
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x03" + len(part).to_bytes(2, "big") + part for part in parts)


@dataclass(slots=True)
class FakeTlsServer:
    """Sends the same bytes to each client, and notes what clients send; see `tls_server`."""

    answer: bytes
    port: int = 0
    connections: Tally[str] = field(default_factory=Tally)
    """Clients that have sent their first bytes, all under the key `""`."""
    received: list[bytes] = field(default_factory=list)
    """For each closed connection, all that the client sent."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wait for the first bytes, answer, and read until the client closes."""
        sent = b""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            sent = await reader.read(65_536)
            await self.connections.add("")
            writer.write(self.answer)
            while more := await reader.read(65_536):
                sent += more
        self.received.append(sent)
        self.closed.set()


@contextlib.asynccontextmanager
async def tls_server(
    answer: bytes, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[FakeTlsServer]:
    """A port that sends `answer` after the first bytes of a client and keeps the connection."""
    fake, tasks = FakeTlsServer(answer), Tasks()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.start(fake.serve(reader, writer), "test TLS server")

    server = await asyncio.start_server(connected, host, port, backlog=1024)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        await tasks.stop()
        await server.wait_closed()


def cipher_suites(client_hello: bytes) -> set[int]:
    """The cipher suites that a client offers in its first record (RFC 8446 §4.1.2)."""
    session_id = 5 + 4 + 2 + 32
    start = session_id + 1 + client_hello[session_id]
    size = int.from_bytes(client_hello[start : start + 2], "big")
    found = client_hello[start + 2 : start + 2 + size]
    return {int.from_bytes(found[at : at + 2], "big") for at in range(0, size, 2)}


def byte_by_byte(data: bytes) -> Script:
    """A response of which each byte is a TLS record of its own."""

    async def script(writer: asyncio.StreamWriter) -> None:
        for octet in data:
            writer.write(bytes([octet]))
            await writer.drain()

    return script
