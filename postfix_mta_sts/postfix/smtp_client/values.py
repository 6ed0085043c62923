"""What the model of smtp(8) is told, and what it concludes; part of the JSON of `query`."""

import enum

from postfix_mta_sts.network.smtp.values import Identity
from postfix_mta_sts.values import Value


class Level(enum.StrEnum):
    """TLS security levels (postconf(5), smtp_tls_security_level), the weakest first."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    DANE = "dane"
    DANE_ONLY = "dane-only"
    FINGERPRINT = "fingerprint"
    VERIFY = "verify"
    SECURE = "secure"


class MainCf(Value, frozen=True):
    """The parameters of smtp(8) that a prediction depends on, with the defaults of Postfix.

    `version` is that of Postfix, such as (3, 7, 11); empty if it is not known.
    """

    version: tuple[int, ...] = ()
    myhostname: str = "localhost"
    smtp_helo_name: str = "localhost"
    smtp_tls_security_level: str = ""
    smtp_dns_support_level: str = ""
    smtp_tls_policy_maps: str = ""
    smtp_tls_CAfile: str = ""  # noqa: N815 (the parameter's name)
    smtp_tls_CApath: str = ""  # noqa: N815 (the same)
    tls_append_default_CA: bool = False  # noqa: N815 (the same)
    smtp_tls_secure_cert_match: str = "nexthop, dot-nexthop"
    smtp_tls_servername: str = ""
    smtp_tls_enforce_sts_mx_patterns: bool = True
    smtp_tls_insecure_mx_policy: str = "dane"
    smtp_mx_address_limit: int = 5
    smtp_address_preference: str = "any"
    smtp_balance_inet_protocols: bool = True
    inet_protocols: str = "all"
    relayhost: str = ""
    default_transport: str = "smtp"
    transport_maps: str = ""
    sender_dependent_relayhost_maps: str = ""
    queue_directory: str = "/var/spool/postfix"
    maillog_file: str = ""
    smtp_is_chrooted: bool = False
    """Column `chroot` of smtp/unix in master.cf."""
    tls_is_available: bool = True
    """False: smtp(8) cannot load its CA file, and goes on without TLS."""
    own_addresses: tuple[str, ...] = ()
    """The addresses on which this Postfix receives mail: mail for them loops back."""


class TlsPolicy(Value, frozen=True):
    """One entry of smtp_tls_policy_maps, as this version of Postfix reads it."""

    level: Level
    match: tuple[str, ...] = ()
    """The names for a certificate, as in `match=`; empty: those of main.cf."""
    servername: str = ""
    patterns: tuple[str, ...] = ()
    """mx_host_pattern of a policy with policy_type=sts; empty: MX host names are not compared."""


class InvalidTlsPolicy(Value, frozen=True):
    """An entry that this version of Postfix does not understand, or no answer: mail is deferred."""

    reason: str


class NextHop(Value, frozen=True):
    """A destination as Postfix writes it: `example.com`, `[mx.example.com]:587`."""

    text: str
    host: str
    """The name or address in it; names as A-labels in lower case."""
    port: int = 25
    has_mx: bool = True
    """Whether MX records are looked up: the name has no brackets."""


class Outcome(enum.StrEnum):
    """What smtp(8) does with a message at its first attempt."""

    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"


class HostOutcome(Value, frozen=True):
    """What smtp(8) does at one address, if it comes to that."""

    host: str
    address: str
    is_tried: bool
    """False: an earlier address takes the message, or smtp_mx_address_limit comes first."""
    accepts: bool
    """Whether a message could be sent there, as far as it is known without sending one."""
    level: Level
    """The TLS level that is required there."""
    tls: str | None = None
    """How Postfix calls the session: Verified, Trusted, Untrusted, Anonymous; None: plain text."""
    dsn: str = ""
    text: str = ""
    """Why it is not accepted, in the words of Postfix without host and address; empty: skipped."""
    skipped: bool = False
    """Its name fits no mx pattern, and this Postfix does not connect to it."""
    identity: Identity | None = None
    """Whether the certificate fits; None: no certificate, or none is required."""
    conforms: bool | None = None
    """Whether RFC 8461 §4.1 and §4.2 allow this host; None: no policy, or it was not probed."""
    breach: str = ""
    """Why it does not conform."""


class Delivery(Value, frozen=True):
    """What smtp(8) does with a message for the next-hop."""

    outcome: Outcome
    dsn: str
    """The enhanced status code in the log, such as 4.7.5; 2.0.0 if the message is sent."""
    text: str
    """Postfix's own words for the outcome, without host, address, port; empty if it is sent."""
    level: Level
    """The TLS level that the next-hop requires."""
    host: str | None = None
    """The host that takes the message, or the last one that was tried."""
    tls: str | None = None
    """As `HostOutcome.tls` for the host that takes it."""
    hosts: tuple[HostOutcome, ...] = ()
    """In the order in which Postfix tries them."""
    plain_later: bool = False
    """Deferred now, but sent without TLS once the message is older than minimal_backoff_time."""
    is_certain: bool = True
    """False: it depends on the order of hosts with the same preference, or not all were probed."""
