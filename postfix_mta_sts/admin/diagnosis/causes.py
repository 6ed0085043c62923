"""Why an MX host does not take mail, in words that an administrator can act on.

Pure. The words of Postfix are in `HostOutcome.text`; this module says what is behind them, whose
fault it is, and what helps.
"""

from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.admin.diagnosis.values import Fault
from postfix_mta_sts.admin.times import day, in_words
from postfix_mta_sts.mtasts.errors import printable
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
from postfix_mta_sts.postfix.smtp_client.values import HostOutcome
from postfix_mta_sts.values import Value

_NAMES_SHOWN: Final = 3

_RENEW: Final = "its owner renews the certificate"
_PUBLIC: Final = "its owner installs a certificate of a public CA"
_CHAIN: Final = "its owner sends the intermediate certificates too, or installs one of a public CA"
_CLOCK: Final = "its owner installs a valid one; if the clock of this machine is wrong, set it"
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
        return Cause(
            "mx-not-in-policy",
            "name fits no mx pattern of the policy",
            Fault.THEIRS,
            "its owner adds the name of the MX host to the policy file, then changes the id",
        )
    if probe and probe.failure:
        return _of_failure(probe.failure)
    if probe and probe.offers_starttls is False and outcome.tls is None:
        return Cause(
            "no-starttls",
            "no STARTTLS",
            Fault.THEIRS,
            "its owner enables STARTTLS; if other domains have the same trouble, a firewall on the "
            "way removes it",
        )
    if probe and probe.tls:
        return _of_session(outcome, probe, probe.tls, now, has_ca=has_ca)
    return Cause("postfix", outcome.text or "not tried", Fault.NETWORK, "see the log of Postfix")


def _of_failure(failure: SmtpFailure) -> Cause:
    if failure.phase is Phase.CONNECT:
        return _of_connection(failure)
    if failure.phase is Phase.HANDSHAKE:
        return Cause(
            "tls-handshake",
            f"TLS handshake failed: {failure.reason}",
            Fault.THEIRS,
            "its owner looks at the TLS settings and the log of the mail server",
        )
    if failure.kind is FailureKind.REPLY and failure.phase is Phase.STARTTLS:
        return Cause(
            "starttls-refused",
            f"STARTTLS refused: {failure.reason}",
            Fault.THEIRS,
            "its owner looks why the mail server cannot start TLS; its certificate may be missing",
        )
    if failure.kind is FailureKind.REPLY:
        return Cause(
            "refused-to-talk",
            f"does not talk to this machine: {failure.reason}",
            Fault.THEIRS,
            "read its reply; it may have this machine's address on a block list",
        )
    verb = "no answer" if failure.kind is FailureKind.TIMEOUT else "connection closed"
    return Cause(
        "conversation",
        f"{verb} in the conversation ({failure.phase}): {failure.reason}",
        Fault.THEIRS,
        "its owner looks at the log of the mail server",
    )


def _of_connection(failure: SmtpFailure) -> Cause:
    match failure.kind:
        case FailureKind.REFUSED:
            advice = "its owner starts the mail server, or opens port 25"
            return Cause("connection-refused", "connection refused", Fault.THEIRS, advice)
        case FailureKind.UNREACHABLE:
            advice = "look at the routes and the firewall of this machine"
            words = f"not reachable from this machine: {failure.reason}"
            return Cause("unreachable", words, Fault.NETWORK, advice)
    advice = (
        "if the mail servers of other domains do not answer either, port 25 is closed on the way "
        "out of this machine; else it is theirs"
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
            "its owner publishes TLSA records of the certificate that the mail server sends",
        )
    if tls.error:
        return _of_chain(tls.error, leaf, now, has_ca=has_ca)
    if outcome.identity is Identity.DIFFERS and leaf:
        return Cause(
            "certificate-wrong-name",
            f"certificate is for {_names(leaf)}, not for {probe.target.host}",
            Fault.THEIRS,
            f"its owner installs a certificate for {probe.target.host}",
        )
    return Cause("postfix", outcome.text or "not verified", Fault.THEIRS, "see the log of Postfix")


def _of_chain(error: VerifyError, leaf: Certificate | None, now: float, *, has_ca: bool) -> Cause:
    if not has_ca:
        words = "not verified: Postfix has no CA certificates"
        advice = "set smtp_tls_CAfile in main.cf, such as /etc/ssl/certs/ca-certificates.crt"
        return Cause("no-ca", words, Fault.YOURS, advice)
    other = ("certificate", f"certificate is not valid: {error.reason}", _RENEW)
    code, words, advice = _CHAIN_ERRORS.get(error.code, other)
    is_leaf = leaf is not None and error.depth == 0
    said = words.format(
        issuer=f": {leaf.issuer}" if leaf else "",
        begin=f"from {day(leaf.not_before)} on" if leaf and is_leaf else "later",
        since=f" {in_words(now - leaf.not_after)} ago" if leaf and is_leaf else " at its CA",
    )
    return Cause(code, said, Fault.THEIRS, advice)


def _names(leaf: Certificate) -> str:
    names = leaf.dns_names or ((leaf.common_name,) if leaf.common_name else ())
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return printable(", ".join(names[:_NAMES_SHOWN]) or "no name") + more
