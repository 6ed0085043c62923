"""What probes and the DNS found, for the model of smtp(8); each with as few words as possible."""

from typing import Final

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.network.mail_hosts_values import HostDane, MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import (
    Certificate,
    FailureKind,
    Phase,
    ProbeResult,
    ProbeTarget,
    SmtpFailure,
    SmtpReply,
    TlsaMatch,
    TlsaRecord,
    TlsSession,
    VerifyError,
)
from postfix_mta_sts.postfix.smtp_client.values import MainCf, NextHop

OLD: Final = MainCf(
    version=(3, 7, 11), smtp_tls_security_level="may", smtp_tls_enforce_sts_mx_patterns=False
)
"""Debian 12."""
NEW: Final = MainCf(version=(3, 10, 13), smtp_tls_security_level="may")
"""Debian 13."""
VERSIONS: Final = (OLD, NEW)

NEXT_HOP: Final = NextHop("x.test", "x.test")
NAME: Final = "mx.x.test"
ADDRESS: Final = "127.0.0.11"
TARGET: Final = ProbeTarget(NAME, ADDRESS)
RECORD: Final = TlsaRecord(3, 1, 1, "ab" * 32)
EXPIRED: Final = VerifyError(10, 0, "certificate has expired")


def host(name: str = NAME, *addresses: str, preference: int = 10) -> MxHost:
    """Return an MX host; without addresses it has `ADDRESS`."""
    return MxHost(name, preference, addresses or (ADDRESS,))


def numbered(*addresses: str) -> MailHosts:
    """Return the MX hosts mx1.x.test and so on, one for each address."""
    return MailHosts(
        tuple(host(f"mx{n}.x.test", each, preference=n) for n, each in enumerate(addresses, 1))
    )


def dane(state: HostState, *records: TlsaRecord, base: str = NAME) -> HostDane:
    """Return the DANE of an MX host."""
    return HostDane(state, "TLSA of it", base, records)


def certificate(*names: str, common_name: str | None = None) -> Certificate:
    """Return a certificate with these DNS names."""
    return Certificate("CN=it", "CN=CA", common_name, names, 0, 1, "00")


def session(
    *names: str,
    common_name: str | None = None,
    error: VerifyError | None = None,
    version: str = "TLSv1.3",
    tlsa: TlsaMatch | None = None,
) -> TlsSession:
    """Return a TLS session with a certificate of these DNS names, by default `NAME`."""
    leaf = certificate(*(names if names or common_name else (NAME,)), common_name=common_name)
    return TlsSession(version, "AES", (leaf,), error, tlsa)


def matched(*, fits: bool) -> TlsaMatch:
    """Return how TLSA records fit a chain."""
    return TlsaMatch(RECORD, 0, "") if fits else TlsaMatch(None, None, "no record fits")


def talked(tls: TlsSession | None = None, target: ProbeTarget = TARGET) -> ProbeResult:
    """Return a conversation that ends well: with STARTTLS if there is a session."""
    return ProbeResult(target, (), offers_starttls=tls is not None, tls=tls)


def failed(
    phase: Phase,
    kind: FailureKind = FailureKind.REPLY,
    reply: str = "",
    *,
    tls: TlsSession | None = None,
    reason: str = "",
    target: ProbeTarget = TARGET,
) -> ProbeResult:
    """Return a conversation that ends early; `reply` is such as `554 5.7.1 go away`."""
    words = reply.split()
    status = words[1] if len(words) > 1 and words[1].count(".") == 2 else ""
    given = SmtpReply(int(words[0]), reply, status) if words else None
    began = phase not in {Phase.CONNECT, Phase.GREETING, Phase.EHLO}
    failure = SmtpFailure(phase, kind, reason, given)
    return ProbeResult(target, (), failure, offers_starttls=True if began else None, tls=tls)


def at(number: int, found: ProbeResult) -> ProbeResult:
    """Return the same conversation with the n-th host of `numbered`."""
    target = ProbeTarget(f"mx{number}.x.test", f"127.0.1.{number}")
    return ProbeResult(
        target,
        found.steps,
        found.failure,
        found.greeted_as,
        found.offers_starttls,
        found.tls,
    )
