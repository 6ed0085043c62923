"""What a probe of one address of an MX host is told, and what it finds.

Values only; they are part of the JSON of `query`. All text in them is one line of printable ASCII:
the probe passes what a server sends through `printable`.
"""

import enum
from collections.abc import Iterable

from postfix_mta_sts.values import Value

SMTP_PORT = 25


class Phase(enum.StrEnum):
    """The part of the conversation that a step belongs to, in their order."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    EHLO_IN_TLS = "ehlo-in-tls"


class FailureKind(enum.StrEnum):
    """How a conversation ended early."""

    REFUSED = "refused"
    """The host refused the connection (ECONNREFUSED)."""
    UNREACHABLE = "unreachable"
    """The system has no way there, or may not use it: no route, no permission, no such family."""
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """The host closed or reset the connection."""
    REPLY = "reply"
    """The host sent a reply that ends the conversation; see `SmtpFailure.reply`."""
    NO_SMTP = "no-smtp"
    """What the host sent is not SMTP, or too long."""
    TLS = "tls"
    """TLS failed, for another reason than a certificate."""


class SmtpReply(Value, frozen=True):
    """A reply of the server."""

    code: int
    text: str
    """All lines, joined with spaces, codes included, as Postfix writes them to its log."""
    status: str
    """The enhanced status code of the last line (RFC 3463), such as 5.7.1; empty without one."""


class SmtpFailure(Value, frozen=True):
    """Why the conversation ended before the mail client could send a message."""

    phase: Phase
    kind: FailureKind
    reason: str
    reply: SmtpReply | None = None


class SmtpStep(Value, frozen=True):
    """One finished part of the conversation."""

    phase: Phase
    seconds: float
    text: str
    """What the host sent, or what was agreed on: a reply, or the version and cipher of TLS."""


class Certificate(Value, frozen=True):
    """One certificate of the chain that the host sent."""

    subject: str
    issuer: str
    common_name: str | None
    """The last common name of the subject; None: none, or the certificate has DNS names, even ones
    that are not valid, so that OpenSSL does not look at it."""
    dns_names: tuple[str, ...]
    """The DNS names among the subject alternative names, in lower case; only those that may fit:
    printable ASCII."""
    not_before: int
    """Epoch seconds."""
    not_after: int
    sha256: str
    """The digest of the whole certificate, as hexadecimal digits."""


class Identity(enum.StrEnum):
    """How a certificate fits the names that it must have."""

    FITS = "fits"
    COMMON_NAME = "common-name"
    """Only its common name fits: Postfix accepts that, RFC 8461 §4.2 does not."""
    DIFFERS = "differs"


class VerifyError(Value, frozen=True):
    """Why OpenSSL does not trust the chain; host names are not part of it."""

    code: int
    """X509_V_ERR_…, as Postfix logs it (`num=`): 10 expired, 18 self-signed, 20 unknown issuer."""
    depth: int
    """The position in the chain; 0 is the host's own certificate."""
    reason: str


class TlsaRecord(Value, frozen=True):
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: str
    """Hexadecimal digits."""


class TlsaMatch(Value, frozen=True):
    """The first usable TLSA record that fits the chain, or why none does (RFC 7672 §3)."""

    record: TlsaRecord | None
    depth: int | None
    """The position of the certificate that it fits."""
    reason: str


class TlsSession(Value, frozen=True):
    """An established TLS session. The probe accepts each certificate, and says what is wrong."""

    version: str
    cipher: str
    chain: tuple[Certificate, ...]
    """As the host sent it, its own certificate first."""
    error: VerifyError | None
    """None: the chain leads to a CA that Postfix trusts."""
    tlsa: TlsaMatch | None = None
    """None: no TLSA records were passed to the probe."""


class TrustFiles(Value, frozen=True):
    """The CAs that Postfix trusts, as `tls.Trust` takes them; empty: none."""

    ca_file: str = ""
    ca_path: str = ""
    append_default_ca: bool = False
    content: bytes = b""
    """Of file and folder, if the process that probes need not open them; see `trust_content`."""


class ProbeTarget(Value, frozen=True):
    """The address to probe, and how."""

    host: str
    """The name of the MX host."""
    address: str
    port: int = SMTP_PORT
    sni: str | None = None
    """The name in the TLS handshake; None: none."""
    starttls: bool = True
    """Whether to use STARTTLS if the host offers it."""
    tlsa: tuple[TlsaRecord, ...] = ()
    tlsa_names: tuple[str, ...] = ()
    """The names one of which a certificate must have that DANE-TA(2) records vouch for."""
    is_verified: bool = True
    """Whether Postfix checks the certificate; if not, it takes weak keys and TLS 1.0, too."""


class ProbePlan(Value, frozen=True):
    """The addresses of one domain to probe, and how."""

    domain: str
    """Whose mail it is about."""
    targets: tuple[ProbeTarget, ...]
    trust: TrustFiles
    ehlo: str
    """The name of this client."""
    names: tuple[str, ...]
    """Those that a certificate may have beside the name of its host, as references of
    `names.matches_dns_name`; others may be left out of the results."""
    seconds: float
    """For all of them together."""


class ProbeResult(Value, frozen=True):
    """What the conversation with one address showed."""

    target: ProbeTarget
    steps: tuple[SmtpStep, ...]
    failure: SmtpFailure | None = None
    """None: the client could now send a message."""
    greeted_as: str | None = None
    """The first word of the reply to EHLO: the name by which the server knows itself."""
    offers_starttls: bool | None = None
    """None: the conversation did not come so far."""
    tls: TlsSession | None = None


def by_address(results: Iterable[ProbeResult]) -> dict[tuple[str, str], ProbeResult]:
    """Host and address → what the probe of it found."""
    return {(each.target.host, each.target.address): each for each in results}
