"""Speak TLS with a Policy Host over a stream, by OpenSSL's engine without sockets.

The TLS of asyncio and of uvloop has no limit for what a server sends in a handshake or between the
data, does not say whether a session was closed properly, and logs handshakes that are cancelled.
"""

import ssl
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.errors import TlsError
from postfix_mta_sts.network.server_hello import ServerHello, ServerHelloError
from postfix_mta_sts.network.stream import PIECE, Stream

MAX_OVERHEAD: Final = 65_536
"""Bytes of a connection that are not data: the handshake, and what wraps the data.

A usual handshake has 3 to 6 KiB. A chain of 250 certificates that fits into OpenSSL's limit, 100
KiB, costs 60 ms of CPU. In TLS 1.3 a server may send key updates without end, or one byte a record.
"""

_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!AESCCM"
"""A server chooses the group of DHE: 10,000 bits cost 1.3 s of CPU for a handshake.

Not `ssl`'s own suites: those with HMAC-SHA-1, which browsers accept, are among them in Debian's
Python only.
"""


def client_context(authorities: str | None) -> ssl.SSLContext:
    """The TLS requirements (RFC 8461 §3.3); for `authorities` see `NetworkSettings`."""
    # Not ssl.create_default_context: that writes session keys to the file in $SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain, dates and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # DNS-ID only (RFC 8461 §3.3)
    context.set_alpn_protocols(["http/1.1"])
    context.set_ciphers(_SUITES)  # of TLS 1.2; those of 1.3 stay
    context.options |= ssl.OP_NO_RENEGOTIATION  # each would cost another handshake
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    return context


class TlsStream:
    """TLS over an open stream; call `handshake` first, then `write` and `read`."""

    def __init__(self, stream: Stream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session: Final = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._hello = ServerHello()
        self._overhead = 0

    @property
    def has_spoken(self) -> bool:
        """Whether the server has answered in TLS, so that a handshake has cost CPU."""
        return self._hello.is_allowed

    async def handshake(self) -> None:
        """Complete the handshake and check the certificate; raises `OSError` or `TlsError`.

        In TLS 1.3 the last message goes with the first `write`, which saves a packet.
        """
        try:
            while not self._is_established():
                await self._receive()
        except (OSError, TlsError):
            with suppress(ssl.SSLError):
                self._flush()  # the alert tells the server's administrator
            raise

    async def read(self) -> bytes:
        """The next data; empty once the server has closed the session (RFC 8446 §6.1).

        Raises `TlsError` above `MAX_OVERHEAD`, `ssl.SSLEOFError` if the connection was closed
        without that, and other kinds of `OSError`.
        """
        while True:
            try:
                data = self.session.read(PIECE)
            except ssl.SSLWantReadError:
                self._flush()
                await self._receive()
            else:
                self._overhead -= len(data)
                return data

    def write(self, data: bytes) -> None:
        """Encrypt and send a little data."""
        self.session.write(data)
        self._flush()

    def _is_established(self) -> bool:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        return True

    async def _receive(self) -> None:
        if self._overhead > MAX_OVERHEAD:
            raise TlsError(f"more than {MAX_OVERHEAD} bytes of TLS without data")
        data = await self._stream.read()
        self._overhead += len(data)
        if not data:
            self._incoming.write_eof()
        elif self.has_spoken:
            self._incoming.write(data)
        else:
            self._incoming.write(self._examined(data))

    def _examined(self, data: bytes) -> bytes:
        try:
            return self._hello.pass_on(data)
        except ServerHelloError as error:
            raise TlsError(f"the TLS handshake failed: {error}") from None

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._stream.write(self._outgoing.read())
