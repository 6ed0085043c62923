"""SMTP servers that receive Postfix's mail, one for each state of a server's TLS.

A sink has a certificate for the name that the client requests (SNI), good or bad in the sink's
way. The certificate of a name stays the same, so that a TLSA record can be created for it. Of a
message a sink keeps only the recipient, how it was received, and the beginning of the text.
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tls import EXPIRED, Authority, Credential, self_signed

TEXT_KEPT: Final = 4_096

Shown = Callable[[Authority, str], Credential]


def _for_its_parent_too(authority: Authority, name: str) -> Credential:
    return authority.issue(name, f"mx.{name.partition('.')[2]}")


SINKS: Final[dict[str, tuple[str, Shown | None]]] = {
    "good": ("127.0.0.11", Authority.issue),
    "wrong name": ("127.0.0.12", lambda authority, _: authority.issue("wrong.test")),
    "expired": ("127.0.0.13", lambda authority, name: authority.issue(name, valid=EXPIRED)),
    "self-signed": ("127.0.0.14", lambda _, name: self_signed(name)),
    "no STARTTLS": ("127.0.0.15", None),
    # For foreign.x.test it also names mx.x.test: match= alone cannot distinguish the two.
    "foreign": ("127.0.0.16", _for_its_parent_too),
}
"""A sink's address, and the certificate that it has for a name."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message that a sink received for one recipient."""

    recipient: str
    sink: str
    sni: str | None
    """The name that the client requested; None without SNI or without TLS."""
    text: str
    """The first `TEXT_KEPT` bytes of the message."""


class Sinks:
    """All sinks; `receipts` grows."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.receipts: list[Receipt] = []
        self._shown: dict[tuple[str, str], Credential] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run all sinks while the context is open."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for name, (address, _) in SINKS.items():
                protocol = partial(self._welcome, name)
                await stack.enter_async_context(await loop.create_server(protocol, address, 25))
            yield

    def shown(self, sink: str, name: str) -> Credential | None:
        """Return a sink's certificate for a name; None: it has no TLS."""
        show = SINKS[sink][1]
        if show and (sink, name) not in self._shown:
            self._shown[sink, name] = show(self.authority, name)
        return self._shown.get((sink, name))

    def tlsa(self, sink: str, name: str) -> str:
        """Return the TLSA data of a sink's key for a name: DANE-EE, SPKI, SHA-256."""
        shown = self.shown(sink, name)
        assert shown, f"the sink {sink!r} has no TLS"
        key = x509.load_pem_x509_certificate(shown.certificate).public_key()
        octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"3 1 1 {hashlib.sha256(octets).hexdigest()}"

    def _welcome(self, sink: str) -> SMTP:
        return _Session(self, sink).protocol()


class _Session:
    """One connection to a sink; the handler object that aiosmtpd calls."""

    def __init__(self, sinks: Sinks, sink: str) -> None:
        self._sinks = sinks
        self._sink = sink
        self._sni: str | None = None

    def protocol(self) -> SMTP:
        """Return the server's side of the connection."""
        return SMTP(self, hostname="sink.test", enable_SMTPUTF8=True, tls_context=self._tls())

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Receive the message."""
        assert isinstance(envelope.content, bytes)
        text = envelope.content[:TEXT_KEPT].decode(errors="replace")
        self._sinks.receipts.extend(
            Receipt(recipient, self._sink, self._sni, text) for recipient in envelope.rcpt_tos
        )
        return "250 taken"

    def _tls(self) -> ssl.SSLContext | None:
        shown = self._sinks.shown(self._sink, "no-sni.test")
        if shown is None:
            return None
        context = shown.server_context()
        context.sni_callback = self._named
        return context

    def _named(self, session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name and (shown := self._sinks.shown(self._sink, name)):
            self._sni = name
            session.context = shown.server_context()
