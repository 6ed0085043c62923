"""The MX hosts of the zoo, one of each kind.

A host listens at an address of its own, over IPv4 and over IPv6, and throws messages away.
"""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.zoo.kinds import ALTERNATIVE_PORT, BLACK_HOLE, IPV4, IPV6, KINDS, Authorities, Kind
from tests.support.tasks import Tasks
from tests.support.tls import EXPIRED, Authority, Credential


class Hosts:
    """All hosts; they run while it is entered, in a namespace that has the IPv6 addresses."""

    def __init__(self, authority: Authority) -> None:
        intermediate = Authority("Test intermediate", issuer=authority)
        expired = Authority("Test intermediate, expired", issuer=authority, valid=EXPIRED)
        self._authorities = Authorities(authority, intermediate, expired)
        self._shown: dict[tuple[str, str], Credential] = {}
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self._tasks = Tasks()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run all hosts while the context is open."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._tasks.stop)
            for name, kind in KINDS.items():
                for address in (IPV4[name], IPV6[name]):
                    for port in (25, ALTERNATIVE_PORT):
                        connected = partial(self._connected, name, kind)
                        server = await asyncio.start_server(connected, address, port)
                        stack.callback(server.close)
            for address in (IPV4[BLACK_HOLE], IPV6[BLACK_HOLE]):
                stack.enter_context(_black_hole(address))
            yield

    def tlsa(self, kind: str, host: str, usage: int, selector: int, matching: int) -> str:
        """Return the TLSA data of a certificate that a host shows: the last one for usage 2."""
        chain = x509.load_pem_x509_certificates(self.credential(kind, host).certificate)
        meant = chain[-1] if usage in {0, 2} else chain[0]
        if selector:
            key = meant.public_key()
            data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            data = meant.public_bytes(Encoding.DER)
        digest = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}
        return f"{usage} {selector} {matching} {digest[matching].hex()}"

    def credential(self, kind: str, name: str) -> Credential:
        """Return what a kind of host shows for a name."""
        show = KINDS[kind].shown
        assert show, f"the host {kind!r} has no TLS"
        if (kind, name) not in self._shown:
            self._shown[kind, name] = show(self._authorities, name)
        return self._shown[kind, name]

    def _context(self, name: str, requested: str) -> ssl.SSLContext:
        if (name, requested) not in self._contexts:
            made = _context(KINDS[name], self.credential(name, requested))
            self._contexts[name, requested] = made
        return self._contexts[name, requested]

    def _connected(
        self, name: str, kind: Kind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._tasks.start(self._converse(name, kind, reader, writer), f"zoo host {name}")

    async def _converse(
        self, name: str, kind: Kind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            session = _Session(kind, reader, writer)
            if await session.until_starttls():
                context = self._context(name, "no-sni.test")
                context.sni_callback = partial(self._on_name, name)
                await writer.start_tls(context)
                await session.in_tls()
        writer.close()

    def _on_name(
        self, kind: str, session: ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> int | None:
        if name and KINDS[kind].refuses_name:
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        if name:
            session.context = self._context(kind, name)
        return None


def _context(kind: Kind, credential: Credential) -> ssl.SSLContext:
    minimum, maximum = kind.versions
    ciphers = "DEFAULT:@SECLEVEL=0" if kind.is_weak else ""
    context = credential.server_context(minimum=minimum, maximum=maximum, ciphers=ciphers)
    if kind.wants_certificate:
        context.load_verify_locations(cadata=Authority("Nobody").certificate.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Session:
    """One connection."""

    def __init__(
        self, kind: Kind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._kind = kind
        self._reader = reader
        self._writer = writer

    async def until_starttls(self) -> bool:
        """Talk until a TLS handshake follows (True), or until the end."""
        if self._kind.greeting is None:
            await self._reader.read()
        elif await self._send(self._kind.greeting) and await self._commands(self._kind.ehlo):
            return await self._begins_handshake()
        return False

    async def in_tls(self) -> None:
        """Talk until the end."""
        await self._commands(self._kind.ehlo_in_tls, in_tls=True)

    async def _commands(self, ehlo: bytes | None, *, in_tls: bool = False) -> bool:
        """Answer commands; return whether the last one was STARTTLS and is granted."""
        features = [b"sink.test", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES"]
        if self._kind.shown and not in_tls:
            features.append(b"STARTTLS")
        right = b"\r\n".join([*(b"250-" + each for each in features), b"250 HELP"])
        replies = {
            b"EHLO": right if ehlo is None else ehlo,
            b"HELO": self._kind.helo,
            b"STARTTLS": self._kind.starttls,
            b"DATA": b"354 go on",
            b"QUIT": b"221 2.0.0 bye",
        }
        while line := await self._reader.readline():
            word = line.strip().upper().partition(b" ")[0]
            if not await self._send(replies.get(word, b"250 2.0.0 ok")) or word == b"QUIT":
                return False
            if word == b"STARTTLS" and self._kind.starttls.startswith(b"2"):
                return True
            if word == b"DATA":
                await self._reader.readuntil(b"\r\n.\r\n")
                await self._send(b"250 2.0.0 taken")
        return False

    async def _send(self, reply: bytes) -> bool:
        """Send a reply; return False if the connection ends with it."""
        if reply:
            self._writer.write(reply + b"\r\n")
            await self._writer.drain()
        return bool(reply) and not reply.startswith(b"421")

    async def _begins_handshake(self) -> bool:
        match self._kind.handshake:
            case "reset":
                linger = struct.pack("ii", 1, 0)  # enabled, 0 seconds: close() sends a reset
                option = (socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._writer.get_extra_info("socket").setsockopt(*option)
                self._writer.transport.abort()
            case "silence":
                await self._reader.read()
            case "plain text":
                await self._reader.read(1)  # what came with the reply would be ignored
                await self._send(b"500 what did you say?")
                await self._reader.read()
        return self._kind.handshake == "right"


@contextlib.contextmanager
def _black_hole(address: str) -> Iterator[None]:
    """Let the kernel ignore connections to a port: its queue is full, and nobody accepts."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((address, 25))
        listener.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket(family))
            filler.settimeout(0)
            filler.connect_ex((address, 25))
        yield
