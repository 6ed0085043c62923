"""An in-process MX host that talks by a script, with TLS or with anything in its place.

    async with SmtpHost(Authority().issue("mx.test")) as host:
        result = await probe(host.target(), trust, ehlo="client.test", timeout=30)
    assert host.commands == ["EHLO client.test", "STARTTLS", "EHLO client.test", "QUIT"]

A script maps a command to the reply; `SILENCE`, `CLOSE`, `RESET` and `BROKEN` are replies too.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from postfix_mta_sts.network.smtp.values import ProbeTarget, TlsaRecord
from tests.support.tasks import Tasks
from tests.support.tls import Credential

SILENCE: Final = b"silence"
CLOSE: Final = b"close"
RESET: Final = b"reset"
BROKEN: Final = b"broken"
"""Bytes past TLS, where TLS is expected."""

PLAIN: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "": b"220 mx.test ESMTP\r\n",  # the greeting
        "EHLO": b"250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
        "HELO": b"250 mx.test\r\n",
        "STARTTLS": b"220 2.0.0 go ahead\r\n",
        "QUIT": b"221 2.0.0 bye\r\n",
    }
)
SECURE: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "EHLO": b"250-mx.test\r\n250 PIPELINING\r\n",
        "HELO": b"250 mx.test\r\n",
        "QUIT": b"221 2.0.0 bye\r\n",
    }
)


class _EndOfTalkError(Exception):
    """The script closes the connection."""


class SmtpHost:
    """Serves while entered; `plain` and `secure` replace replies before and after STARTTLS."""

    def __init__(
        self,
        credential: Credential | ssl.SSLContext | None = None,
        *,
        plain: Mapping[str, bytes] = MappingProxyType({}),
        secure: Mapping[str, bytes] = MappingProxyType({}),
        instead_of_tls: bytes | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._context = (
            credential.server_context() if isinstance(credential, Credential) else credential
        )
        if self._context:
            self._context.sni_callback = self._note_sni
        self._plain = {**PLAIN, **plain}
        self._secure = {**SECURE, **secure}
        self._instead_of_tls = instead_of_tls
        self._host = host
        self._tasks = Tasks()
        self.port = 0
        self.commands: list[str] = []
        self.names: list[str | None] = []
        """The SNI of each handshake."""
        self.connections = 0
        self.reached = asyncio.Event()
        """A reply is `SILENCE`, and it is its turn."""
        self.left = asyncio.Event()
        """A connection has ended."""
        self.empty = asyncio.Event()
        """No connection is open."""
        self.most_at_once = 0
        self._open = 0
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._tasks.stop()
        await self._server.wait_closed()

    def target(
        self,
        *,
        sni: str | None = None,
        starttls: bool = True,
        tlsa: tuple[TlsaRecord, ...] = (),
        tlsa_names: tuple[str, ...] = (),
        is_verified: bool = True,
    ) -> ProbeTarget:
        """What a probe of this host is told."""
        return ProbeTarget(
            host="mx.test",
            address=self._host,
            port=self.port,
            sni=sni,
            starttls=starttls,
            tlsa=tlsa,
            tlsa_names=tlsa_names,
            is_verified=is_verified,
        )

    def release(self) -> None:
        """Close the connections on which it is silent."""
        self._released.set()

    async def _until_released(self, reader: asyncio.StreamReader) -> None:
        """Also until the client closes the connection."""
        waiting = {
            asyncio.create_task(self._released.wait()),
            asyncio.create_task(reader.read()),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _note_sni(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        self.empty.clear()
        self._tasks.start(self._serve(reader, writer), "test SMTP host")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, _EndOfTalkError):
                await self._reply(reader, writer, self._plain[""])
                if await self._talk(reader, writer, self._plain):
                    await self._start_tls(reader, writer)
        finally:
            writer.close()
            self.left.set()
            self._open -= 1
            if not self._open:
                self.empty.set()

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        script: Mapping[str, bytes],
    ) -> bool:
        """Reply to commands; return whether the client has started TLS."""
        while line := await reader.readline():
            command = line.decode().rstrip()
            self.commands.append(command)
            verb = command.split(" ")[0]
            await self._reply(reader, writer, script.get(verb, b"502 5.5.2 unknown command\r\n"))
            if verb == "QUIT":
                return False
            if verb == "STARTTLS" and script[verb][:1] == b"2":
                return True
        return False

    async def _start_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._instead_of_tls is not None:
            await reader.read(1)  # the ClientHello is on its way
            await self._reply(reader, writer, self._instead_of_tls)
            await reader.read()
            return
        assert self._context
        await writer.start_tls(self._context)
        await self._talk(reader, writer, self._secure)

    async def _reply(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes
    ) -> None:
        if reply == SILENCE:
            self.reached.set()
            await self._until_released(reader)
            raise _EndOfTalkError
        if reply == CLOSE:
            raise _EndOfTalkError
        if reply == RESET:
            reset(writer.get_extra_info("socket"))
            raise _EndOfTalkError
        if reply == BROKEN:
            os.write(writer.get_extra_info("socket").fileno(), b"not a TLS record")
        else:
            writer.write(reply)
            await writer.drain()


def reset(sock: socket.socket) -> None:
    """Let the next close of a socket reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
