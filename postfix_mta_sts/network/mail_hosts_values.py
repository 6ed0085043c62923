"""Which hosts take mail for a next-hop, as the DNS says it; part of the JSON of `query`.

Values only; `mail_hosts` looks them up. All text in them is one line of printable ASCII.
"""

import enum

from postfix_mta_sts.mtasts.dane import DaneOutcome, HostState
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.values import Value


class HostDane(Value, frozen=True):
    """What the signed DNS says of one MX host."""

    state: HostState
    step: str
    base: str = ""
    """The name whose TLSA records count, the end of a CNAME chain or the host itself."""
    records: tuple[TlsaRecord, ...] = ()


class DnsProblem(enum.StrEnum):
    """Why a name led to no address."""

    NO_SUCH_NAME = "no-such-name"
    """NXDOMAIN."""
    NO_RECORDS = "no-records"
    NULL_MX = "null-mx"
    """The domain says that it takes no mail (RFC 7505)."""
    FAILURE = "failure"
    """The DNS did not answer, or SERVFAIL."""
    INVALID = "invalid"
    """Not a host name, or an IP address in place of one."""


class MxHost(Value, frozen=True):
    """One MX host and its addresses."""

    name: str
    preference: int
    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6, each family in the order of the DNS's answer."""
    aliases: tuple[str, ...] = ()
    """The CNAME chain from the name on, without the name itself."""
    problem: DnsProblem | None = None
    reason: str = ""
    """Why there is no address; beside addresses: the family that failed, or that an MX record has
    an address in place of a name."""
    dane: HostDane | None = None
    """None: DANE was not looked up."""


class MailHosts(Value, frozen=True):
    """The hosts that take mail for a next-hop, the most preferred first."""

    hosts: tuple[MxHost, ...]
    implicit: bool = False
    """The domain has no MX records, and is its own host (RFC 5321 §5.1), or it is in brackets."""
    mx_is_secure: bool = False
    """Whether DNSSEC proves the MX RRset, or that there is none."""
    aliases: tuple[str, ...] = ()
    """The CNAME chain of the MX query."""
    problem: DnsProblem | None = None
    """Why there are no hosts; a domain that is its own host has its problem in that host."""
    reason: str = ""


class FoundHosts(Value, frozen=True):
    """The mail hosts of a domain for a check, with what the signed DNS says of them."""

    hosts: MailHosts
    dane: DaneOutcome | None = None
    """None: DANE was not looked up."""
