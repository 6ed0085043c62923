"""What smtp(8) makes of the conversation with one address, up to the message itself.

Follows smtp_connect.c, smtp_proto.c and smtp_trouble.c in Postfix's sources, with
smtp_skip_5xx_greeting = yes, and tls_client.c with OpenSSL 3.
"""

import re
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.network.smtp.names import identity
from postfix_mta_sts.network.smtp.values import (
    SMTP_PORT,
    Certificate,
    FailureKind,
    Identity,
    Phase,
    ProbeResult,
    SmtpFailure,
    SmtpReply,
    TlsSession,
)
from postfix_mta_sts.postfix.smtp_client.authentication import MATCHED, NAMED, Demand
from postfix_mta_sts.postfix.smtp_client.tls_policy import is_since
from postfix_mta_sts.postfix.smtp_client.values import Level, MainCf
from postfix_mta_sts.postfix.smtp_client.words import Words, say
from postfix_mta_sts.values import Value, replace

_PEER: Final = "host[::]"
"""Any name and address: `normalise` takes them out."""

_ORDER: Final = tuple(Phase)
_WHILE: Final[Mapping[Phase, str]] = {
    Phase.GREETING: "receiving the initial server greeting",
    Phase.EHLO: "performing the EHLO handshake",
    Phase.STARTTLS: "receiving the STARTTLS response",
    Phase.EHLO_IN_TLS: "performing the EHLO handshake",
}
_ERRNO: Final[Mapping[FailureKind, str]] = {
    FailureKind.REFUSED: "Connection refused",
    FailureKind.TIMEOUT: "Connection timed out",
    FailureKind.CLOSED: "Connection reset by peer",
}
_UNREACHABLE: Final = "Network is unreachable"

_CLOSES: Final = 421
"""The reply after which a host closes the connection."""
_OLD_TLS: Final = frozenset({"SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1"})
"""OpenSSL 3 refuses them at its security level 1, which Postfix sets to check a certificate."""
_STATUS: Final = re.compile(r"([45])\.[0-9]{1,3}\.[0-9]{1,3}")
_TRUSTED_SINCE: Final = (3, 10, 4)
"""Versions that call a session trusted if nothing but the name is wrong with the certificate."""

_HANDSHAKE: Final = say("4.7.5", "Cannot start TLS: handshake failure")
_NOT_VERIFIED: Final = say("4.7.5", "Server certificate not verified")
_HUNG_UP: Final = say("4.4.2", f"lost connection with {_PEER} while sending MAIL FROM")
NO_ENGINE: Final = say("4.7.5", "TLS is required, but our TLS engine is unavailable")
_NOT_OFFERED: Final = say("4.7.4", f"TLS is required, but was not offered by host {_PEER}")


class Judgement(Value, frozen=True):
    """What smtp(8) does after the conversation."""

    words: Words | None = None
    """Why it gives up on this host; None: it sends the message."""
    tls: str | None = None
    identity: Identity | None = None
    tries_plain: bool = False
    """It tries again without TLS if the message is older than minimal_backoff_time."""
    is_known: bool = True
    """False: the probe does not show what smtp(8) would see."""


def judge(found: ProbeResult, wanted: Demand, main_cf: MainCf, *, is_best: bool) -> Judgement:
    """What smtp(8) does if it sees what the probe has seen.

    `is_best`: no other host is preferred to this one.
    """
    failure = found.failure
    if failure and not _is_past(failure, Phase.EHLO):
        return _before_tls(failure)
    if found.target.port == SMTP_PORT and _is_me(found.greeted_as, main_cf):
        status = "5.4.6" if is_best else "4.4.6"
        return Judgement(say(status, "mail for x loops back to myself"))
    return Judgement() if wanted.level is Level.NONE else _with_tls(found, wanted, main_cf)


def _with_tls(found: ProbeResult, wanted: Demand, main_cf: MainCf) -> Judgement:
    """The host has answered EHLO, and TLS is wanted."""
    failure = found.failure
    if not found.offers_starttls:
        is_known = found.offers_starttls is not None
        words = _NOT_OFFERED if wanted.level is not Level.MAY else None
        return Judgement(words, is_known=is_known)
    if not main_cf.tls_is_available:
        return Judgement(NO_ENGINE if wanted.level is not Level.MAY else None)
    if failure and not _is_past(failure, Phase.HANDSHAKE):
        return _no_tls(failure, wanted.level)
    if found.tls is None:
        return Judgement(_HANDSHAKE, is_known=False)
    return _in_tls(found.tls, failure, wanted, main_cf)


def _is_past(failure: SmtpFailure, phase: Phase) -> bool:
    return _ORDER.index(failure.phase) > _ORDER.index(phase)


def _is_me(name: str | None, main_cf: MainCf) -> bool:
    return name is not None and name.lower() == main_cf.myhostname.lower()


def _before_tls(failure: SmtpFailure) -> Judgement:
    if failure.phase is Phase.CONNECT:
        text = _ERRNO.get(failure.kind) or failure.reason or _UNREACHABLE
        return Judgement(say("4.4.1", f"connect to {_PEER}:25: {text}"))
    if failure.reply:
        words = _refuses_to_talk(failure.reply)
        if failure.phase is Phase.GREETING and 500 <= failure.reply.code < 600:
            words = replace(words, dsn=f"4{words.dsn[1:]}")
        return Judgement(words)
    return _interrupted(failure)


def _interrupted(failure: SmtpFailure) -> Judgement:
    """smtp_stream_except(). To what is not SMTP, it listens until time is up."""
    doing = _WHILE.get(failure.phase, _WHILE[Phase.EHLO])
    is_known = failure.kind in {FailureKind.CLOSED, FailureKind.TIMEOUT, FailureKind.NO_SMTP}
    if failure.kind is FailureKind.CLOSED:
        words = say("4.4.2", f"lost connection with {_PEER} while {doing}")
    else:
        words = say("4.4.2", f"conversation with {_PEER} timed out while {doing}")
    return Judgement(words, is_known=is_known)


def _refuses_to_talk(reply: SmtpReply) -> Words:
    return say(_status(reply), f"host {_PEER} refused to talk to me: {reply.text}")


def _status(reply: SmtpReply) -> str:
    """smtp_chat_resp(): a status that does not fit the reply code does not count."""
    first = str(reply.code)[:1]
    status = _STATUS.fullmatch(reply.status)
    if first not in {"4", "5"}:
        return "5.5.0"
    return reply.status if status and status[1] == first else f"{first}.0.0"


def _no_tls(failure: SmtpFailure, level: Level) -> Judgement:
    """The host offers STARTTLS, but no TLS session comes of it."""
    if failure.phase is Phase.HANDSHAKE:
        return Judgement(_HANDSHAKE, tries_plain=level is Level.MAY)
    if not failure.reply:
        return _interrupted(failure)
    if level is Level.MAY:  # it continues in plain text, if the host does (RFC 5321 §3.8)
        return Judgement(_HUNG_UP if failure.reply.code == _CLOSES else None)
    text = f"TLS is required, but host {_PEER} refused to start TLS: {failure.reply.text}"
    return Judgement(say(_status(failure.reply), text))


def _in_tls(
    session: TlsSession, failure: SmtpFailure | None, wanted: Demand, main_cf: MainCf
) -> Judgement:
    if wanted.level in MATCHED and session.version in _OLD_TLS:
        return Judgement(_HANDSHAKE)
    judgement = _authenticated(session, wanted, main_cf)
    if judgement.words or not failure:
        return judgement
    if failure.reply:
        return replace(judgement, words=_refuses_to_talk(failure.reply))
    end = _interrupted(failure)
    is_known = judgement.is_known and end.is_known
    plain = wanted.level is Level.MAY
    return replace(judgement, words=end.words, tries_plain=plain, is_known=is_known)


def _authenticated(session: TlsSession, wanted: Demand, main_cf: MainCf) -> Judgement:
    """tls_client_post_connect(), and what smtp_start_tls() makes of it."""
    leaf = session.chain[0] if session.chain else None
    trusted = session.error is None
    if not leaf:
        return Judgement(_NOT_VERIFIED if wanted.level in MATCHED else None, tls="Anonymous")
    if wanted.level in NAMED:
        return _named(wanted, leaf, main_cf, trusted=trusted)
    if wanted.level not in MATCHED:
        return Judgement(tls="Trusted" if trusted else "Untrusted")
    if wanted.level is Level.FINGERPRINT:  # the fingerprints are not part of the model
        return Judgement(tls="Verified", is_known=False)
    fits = session.tlsa is not None and session.tlsa.record is not None
    if not fits:
        return Judgement(_NOT_VERIFIED, tls="Untrusted", is_known=session.tlsa is not None)
    return Judgement(tls="Trusted" if wanted.is_half_dane else "Verified")


def _named(wanted: Demand, leaf: Certificate, main_cf: MainCf, *, trusted: bool) -> Judgement:
    found = identity(wanted.names, leaf)
    if trusted and found is not Identity.DIFFERS:
        return Judgement(tls="Verified", identity=found)
    is_called_trusted = trusted and is_since(main_cf.version, _TRUSTED_SINCE)
    tls = "Trusted" if is_called_trusted else "Untrusted"
    return Judgement(_NOT_VERIFIED, tls=tls, identity=found)
