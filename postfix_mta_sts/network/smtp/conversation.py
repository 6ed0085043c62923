"""The conversation of a mail client with an MX host, up to the message that it does not send.

It does what smtp(8) does (smtp_proto.c), in its order. What is found goes into a `Record`, also
that which was found before an error ended the conversation.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from postfix_mta_sts.network.smtp import tls
from postfix_mta_sts.network.smtp.certificates import SentCertificate
from postfix_mta_sts.network.smtp.failures import ConversationError
from postfix_mta_sts.network.smtp.replies import Reply, ReplyReader, greeted_as, offers_starttls
from postfix_mta_sts.network.smtp.tlsa import match_tlsa
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Phase,
    ProbeResult,
    ProbeTarget,
    SmtpFailure,
    SmtpStep,
    TlsSession,
)
from postfix_mta_sts.network.stream import Stream

SERVICE_NOT_AVAILABLE: Final = 421
"""The host closes the connection (RFC 5321 §3.8), so that HELO after EHLO is of no use."""

OnStep = Callable[[SmtpStep], None]


class Link(Protocol):
    """A connection, with or without TLS."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        ...

    def write(self, data: bytes) -> None:
        """Send a little data."""
        ...


class Record:
    """What a conversation has shown so far."""

    def __init__(
        self, target: ProbeTarget, monotonic: Callable[[], float], on_step: OnStep | None
    ) -> None:
        self.target = target
        self.phase = Phase.CONNECT
        self.failure: SmtpFailure | None = None
        self.greeted_as: str | None = None
        self.offers_starttls: bool | None = None
        self.tls: TlsSession | None = None
        self._monotonic = monotonic
        self._on_step = on_step
        self._steps: list[SmtpStep] = []
        self._since = monotonic()

    def enter(self, phase: Phase) -> None:
        """A phase begins."""
        self.phase, self._since = phase, self._monotonic()

    def finish(self, text: str) -> None:
        """The phase is over."""
        step = SmtpStep(phase=self.phase, seconds=self._monotonic() - self._since, text=text)
        self._steps.append(step)
        if self._on_step:
            self._on_step(step)

    def fail(self, error: ConversationError) -> None:
        """The conversation ends in this phase."""
        self.failure = SmtpFailure(
            phase=self.phase, kind=error.kind, reason=error.reason, reply=error.reply
        )

    def result(self) -> ProbeResult:
        """All of it."""
        return ProbeResult(
            target=self.target,
            steps=tuple(self._steps),
            failure=self.failure,
            greeted_as=self.greeted_as,
            offers_starttls=self.offers_starttls,
            tls=self.tls,
        )


class Conversation:
    """A conversation over an open connection; first `talk`, then `say_goodbye`.

    `clock` tells the time (epoch seconds) by which a trust anchor of DANE is valid.
    """

    def __init__(
        self,
        stream: Stream,
        trust: tls.Trust,
        ehlo: str,
        record: Record,
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._trust = trust
        self._ehlo = ehlo
        self._record = record
        self._clock = clock
        self._link: Link = stream
        self._secure: tls.TlsStream | None = None
        self._replies = ReplyReader(stream.read)
        self._is_in_step = False

    @property
    def unexpected(self) -> str | None:
        """A line that is not SMTP, after which no reply came."""
        return self._replies.unexpected

    async def talk(self) -> None:
        """Raises `ConversationError` for what a mail client cannot go on after, and `OSError`."""
        await self._greeting()
        hello = await self._hello(Phase.EHLO)
        self._record.greeted_as = greeted_as(hello)
        if self._record.offers_starttls and self._record.target.starttls:
            await self._starttls()
            await self._hello(Phase.EHLO_IN_TLS)

    async def say_goodbye(self) -> None:
        """Send QUIT and wait for the reply, if the host waits for a command."""
        if not self._is_in_step:
            return
        with suppress(ConversationError, OSError):
            await self._command("QUIT")
        if self._secure:
            self._secure.close()

    async def _greeting(self) -> None:
        self._record.enter(Phase.GREETING)
        self._finish(_accepted(await self._reply()))

    async def _hello(self, phase: Phase) -> Reply:
        """EHLO; HELO if the host refuses that."""
        self._record.enter(phase)
        reply = await self._command(f"EHLO {self._ehlo}")
        if reply.is_positive:
            offer = offers_starttls(reply)
        elif reply.value.code == SERVICE_NOT_AVAILABLE:
            raise _refused(reply)
        else:
            reply, offer = _accepted(await self._command(f"HELO {self._ehlo}")), False
        if phase is Phase.EHLO:
            self._record.offers_starttls = offer
        self._finish(reply)
        return reply

    async def _starttls(self) -> None:
        self._record.enter(Phase.STARTTLS)
        self._finish(_accepted(await self._command("STARTTLS")))
        self._record.enter(Phase.HANDSHAKE)
        self._is_in_step = False
        # Postfix forgets what came with the reply; what comes later is garbage to TLS.
        self._replies.discard()
        target = self._record.target
        secure = tls.TlsStream(
            self._stream, self._trust, target.sni, is_verified=target.is_verified
        )
        await secure.handshake()
        self._record.tls = _session(secure, target, self._clock())
        self._record.finish(f"{secure.version}, {secure.cipher}")
        self._link = self._secure = secure
        self._replies = ReplyReader(secure.read)

    async def _command(self, command: str) -> Reply:
        self._link.write(f"{command}\r\n".encode())
        return await self._reply()

    async def _reply(self) -> Reply:
        self._is_in_step = False
        reply = await self._replies.reply()
        self._is_in_step = True
        return reply

    def _finish(self, reply: Reply) -> None:
        self._record.finish(reply.value.text)


def _accepted(reply: Reply) -> Reply:
    if not reply.is_positive:
        raise _refused(reply)
    return reply


def _refused(reply: Reply) -> ConversationError:
    return ConversationError(FailureKind.REPLY, reply.value.text, reply.value)


def _session(secure: tls.TlsStream, target: ProbeTarget, now: float) -> TlsSession:
    chain = [SentCertificate.read(der) for der in secure.chain]
    match = (
        match_tlsa(target.tlsa, target.tlsa_names, chain, now, tls.path_to) if target.tlsa else None
    )
    return TlsSession(
        version=secure.version,
        cipher=secure.cipher,
        chain=tuple(certificate.value for certificate in chain),
        error=secure.error,
        tlsa=match,
    )
