"""Why an MX host does not take mail, in words that an administrator can act on.

Pure. The words of Postfix are in `HostOutcome.text`; this module says what is behind them, whose
fault it is, and what helps.
"""

from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.admin.diagnosis.values import Fault
from postfix_mta_sts.admin.diagnosis.words import names_of
from postfix_mta_sts.admin.times import day, in_words
from postfix_mta_sts.network.smtp.names import identity
from postfix_mta_sts.network.smtp.values import (
    Certificate,
    FailureKind,
    Identity,
    Phase,
    ProbeResult,
    SmtpFailure,
    TlsSession,
    VerifyError,
)
from postfix_mta_sts.postfix.smtp_client.conversation import NO_ENGINE
from postfix_mta_sts.postfix.smtp_client.values import HostOutcome
from postfix_mta_sts.values import Value

_NOT_NAMED: Final = "name fits no mx pattern of the policy"
_ADD_HOST: Final = (
    "its postmaster has to add the name of the MX host to the policy file, then change the id"
)
_RENEW: Final = "its postmaster has to renew the certificate"
_PUBLIC: Final = "its postmaster has to install a certificate of a public CA"
_CHAIN: Final = (
    "its postmaster has to let the server send the intermediate certificates too, or to install a "
    "certificate of a public CA"
)
_CLOCK: Final = (
    "check the clock of this machine; if it is right, its postmaster has to install a certificate "
    "that is valid now"
)
_CHAIN_ERRORS: Final[Mapping[int, tuple[str, str, str]]] = {
    2: ("certificate-unknown-issuer", "certificate is of an unknown issuer{issuer}", _CHAIN),
    9: ("certificate-not-yet-valid", "certificate is valid only {begin}", _CLOCK),
    10: ("certificate-expired", "certificate expired{since}", _RENEW),
    18: ("certificate-self-signed", "certificate is self-signed", _PUBLIC),
    19: ("certificate-self-signed", "certificate is of a CA that nobody else trusts", _PUBLIC),
    20: ("certificate-unknown-issuer", "certificate is of an unknown issuer{issuer}", _CHAIN),
    21: ("certificate-unknown-issuer", "certificate is of an unknown issuer{issuer}", _CHAIN),
    26: ("certificate-purpose", "certificate is not one for servers", _PUBLIC),
    66: ("certificate-weak", "certificate has a weak key", _RENEW),
    67: ("certificate-weak", "certificate of its CA has a weak key", _RENEW),
    68: ("certificate-weak", "certificate has a weak signature", _RENEW),
}
"""X509_V_ERR_… (openssl-verification-options(1)): code, words, and what helps."""

_PERMANENT: Final = 500
"""The first reply code that is not temporary (RFC 5321 §4.2.1)."""
_WAIT: Final = (
    "wait: Postfix tries again, and a greylist lets it through then; if it stays so, read the reply"
)
_BLOCKED: Final = (
    "read its reply: the address of this machine may be on a block list, or lack a name in the DNS"
)
_PATIENCE: Final = (
    "ask again with --timeout 5m: Postfix waits five minutes for each reply, so mail may get "
    "through; if nothing comes, its postmaster has to look into the log of the mail server"
)

_ENDS: Final = {
    FailureKind.TIMEOUT: "no answer",
    FailureKind.CLOSED: "connection closed",
}
_WHEN: Final = {
    Phase.CONNECT: "at the connection",
    Phase.GREETING: "before its greeting",
    Phase.EHLO: "after EHLO",
    Phase.STARTTLS: "after STARTTLS",
    Phase.HANDSHAKE: "in the TLS handshake",
    Phase.EHLO_IN_TLS: "after EHLO in TLS",
}


class Cause(Value, frozen=True):
    """Why a host does not take mail."""

    code: str
    words: str
    """What is wrong, such as `certificate expired 3 days ago`."""
    fault: Fault
    advice: str
    """What its owner, or this machine's administrator, does about it."""


def cause(outcome: HostOutcome, probe: ProbeResult | None, now: float, *, has_ca: bool) -> Cause:
    """Say why smtp(8) does not send a message to this address.

    `has_ca`: whether Postfix trusts any CA certificates.
    """
    if outcome.skipped:
        return Cause("mx-not-in-policy", _NOT_NAMED, Fault.THEIRS, _ADD_HOST)
    if probe and probe.failure:
        return _of_failure(probe.failure)
    if outcome.text == NO_ENGINE.text:
        return Cause(
            "no-tls-engine",
            "Postfix cannot load its CA certificates, and does without TLS",
            Fault.YOURS,
            "correct smtp_tls_CAfile in main.cf: the file must exist and have certificates",
        )
    if probe and probe.offers_starttls is False and outcome.tls is None:
        return Cause(
            "no-starttls",
            "no STARTTLS",
            Fault.THEIRS,
            "its postmaster has to enable STARTTLS; if other domains lack it too, a firewall "
            "on the way removes it",
        )
    if probe and probe.tls:
        return _of_session(outcome, probe, probe.tls, now, has_ca=has_ca)
    return Cause("postfix", outcome.text or "not tried", Fault.NETWORK, "see the log of Postfix")


def _of_failure(failure: SmtpFailure) -> Cause:
    if failure.phase is Phase.CONNECT:
        return _of_connection(failure)
    if is_impatience(failure):
        words = f"{_ENDS[failure.kind]} {_WHEN[failure.phase]}"
        return Cause("conversation", words, Fault.NETWORK, _PATIENCE)
    if failure.phase is Phase.HANDSHAKE:
        return Cause(
            "tls-handshake",
            f"TLS handshake failed: {failure.reason}",
            Fault.THEIRS,
            "its postmaster has to check the TLS settings and the log of the server",
        )
    if failure.kind is FailureKind.REPLY:
        return _of_reply(failure)
    what, when = _ENDS.get(failure.kind), _WHEN[failure.phase]
    return Cause(
        "conversation",
        f"{what} {when}" if what else f"conversation failed {when}: {failure.reason}",
        Fault.THEIRS,
        "its postmaster has to look into the log of the mail server",
    )


def is_impatience(failure: SmtpFailure) -> bool:
    """Whether this command gave up on a host that may only be slow, such as a tarpit."""
    return failure.kind is FailureKind.TIMEOUT and failure.phase is not Phase.CONNECT


def _of_reply(failure: SmtpFailure) -> Cause:
    if failure.phase is Phase.STARTTLS:
        return Cause(
            "starttls-refused",
            f"STARTTLS refused: {failure.reason}",
            Fault.THEIRS,
            "its postmaster has to find out why the mail server cannot start TLS; perhaps it has "
            "no certificate",
        )
    if failure.reply and failure.reply.code < _PERMANENT:
        words = f"refuses to talk to this machine for now: {failure.reason}"
        return Cause("refused-to-talk", words, Fault.NOBODY, _WAIT)
    words = f"refuses to talk to this machine: {failure.reason}"
    return Cause("refused-to-talk", words, Fault.YOURS, _BLOCKED)


def _of_connection(failure: SmtpFailure) -> Cause:
    match failure.kind:
        case FailureKind.REFUSED:
            advice = "its postmaster has to start the server, or to open port 25"
            return Cause("connection-refused", "connection refused", Fault.THEIRS, advice)
        case FailureKind.UNREACHABLE:
            advice = "check the routes and the firewall of this machine"
            words = f"not reachable from this machine: {failure.reason}"
            return Cause("unreachable", words, Fault.NETWORK, advice)
    advice = (
        "check whether the mail servers of other domains answer: if none does, port 25 is closed "
        "on the way out of this machine; if they do, this one is down or blocks this machine"
    )
    return Cause("connection-timeout", "no answer", Fault.NETWORK, advice)


def _of_session(
    outcome: HostOutcome, probe: ProbeResult, tls: TlsSession, now: float, *, has_ca: bool
) -> Cause:
    leaf = tls.chain[0] if tls.chain else None
    if tls.tlsa and tls.tlsa.record is None:
        return Cause(
            "dane-mismatch",
            f"certificate fits no TLSA record: {tls.tlsa.reason}",
            Fault.THEIRS,
            "its postmaster has to publish TLSA records for the certificate of the server",
        )
    if tls.error:
        return _of_chain(tls.error, leaf, now, has_ca=has_ca)
    if outcome.identity is Identity.DIFFERS and leaf:
        if identity((probe.target.host,), leaf) is not Identity.DIFFERS:
            return _of_other_names(outcome, leaf)
        return Cause(
            "certificate-wrong-name",
            f"certificate is for {names_of(leaf)}, not for {probe.target.host}",
            Fault.THEIRS,
            f"its postmaster has to install a certificate for {probe.target.host}",
        )
    return Cause("postfix", outcome.text or "not verified", Fault.THEIRS, "see the log of Postfix")


def _of_other_names(outcome: HostOutcome, leaf: Certificate) -> Cause:
    """The certificate is for the MX host, and the policy or this Postfix wants another name."""
    if outcome.conforms is False:
        return Cause("mx-not-in-policy", _NOT_NAMED, Fault.THEIRS, _ADD_HOST)
    return Cause(
        "certificate-other-match",
        f"certificate is for {names_of(leaf)}, and this Postfix is set to accept other names",
        Fault.YOURS,
        "compare `match=` in smtp_tls_policy_maps, or smtp_tls_secure_cert_match, with them",
    )


def _of_chain(error: VerifyError, leaf: Certificate | None, now: float, *, has_ca: bool) -> Cause:
    if not has_ca:
        words = "not verified: Postfix has no CA certificates"
        advice = "set smtp_tls_CAfile in main.cf, such as /etc/ssl/certs/ca-certificates.crt"
        return Cause("no-ca", words, Fault.YOURS, advice)
    if error.code not in _CHAIN_ERRORS:
        words = f"certificate is not valid: {error.reason}"
        return Cause("certificate", words, Fault.THEIRS, _RENEW)
    code, words, advice = _CHAIN_ERRORS[error.code]
    is_leaf = leaf is not None and error.depth == 0
    said = words.format(
        issuer=f": {leaf.issuer}" if leaf else "",
        begin=f"from {day(leaf.not_before)} on" if leaf and is_leaf else "later",
        since=f" {in_words(now - leaf.not_after)} ago" if leaf and is_leaf else " at its CA",
    )
    return Cause(code, said, Fault.THEIRS, advice)
