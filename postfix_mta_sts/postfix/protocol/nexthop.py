"""Turn a `smtp_tls_policy_maps` key, as bytes, into the Policy Domain that it names.

Keys for which there can be no policy cause no look-up of any kind. `dane_applies` tells
whether a DANE verdict applies to a key.
"""

import re

from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import MAX_LENGTH, Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.idn import to_a_labels

# host, host:port, [host], [host]:port; a port is a number or a service name (RFC 6335 §5.1).
_NEXTHOP = re.compile(
    r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]+))(?::(?P<port>[A-Za-z0-9-]+))?"
)
_SMTP_PORTS = (None, "25", "smtp")

_LENGTH_LIMIT = MAX_LENGTH - len("_mta-sts.")


class UnmappedKeyError(ValueError):
    """The key names a domain whose A-labels are not known; `str()` is one printable line."""


def policy_domain(key: bytes) -> Domain | None:
    """The Policy Domain that a next-hop names (RFC 8461 §3.4); None if there can be none.

    There is none for parent domains (a leading dot: §3.4 forbids the parent's policy), address
    literals (§3.4), single labels (local names are not published), names too long for their
    `_mta-sts` record, and malformed keys.

    Raises `UnmappedKeyError` for U-labels that this program cannot map. Postfix can, or it would
    not ask: so the domain may have a policy.
    """
    if key.startswith(b"."):
        return None
    try:
        nexthop = _NEXTHOP.fullmatch(key.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    host = (nexthop["bracketed"] or nexthop["plain"]) if nexthop else None
    return _policy_domain(_to_a_labels(host)) if host else None


def _to_a_labels(host: str) -> str:
    try:
        return to_a_labels(host)
    except InvalidDomainError as error:
        raise UnmappedKeyError(str(error)) from error


def _policy_domain(host: str) -> Domain | None:
    try:
        domain = parse_domain(host)
    except InvalidDomainError:
        return None
    return domain if "." in domain and len(domain) <= _LENGTH_LIMIT else None


def dane_applies(key: bytes, domain: Domain, outcome: DaneOutcome | None) -> bool:
    """Whether DANE has a say in the hosts and the port of this next-hop.

    A verdict applies to the MX hosts and port 25. Postfix takes a name in brackets for the host
    itself, and queries TLSA records at the port in the key: `dane-only` for such a key would defer
    mail for lack of records that the domain need not publish. While nothing is known (`outcome` is
    None), a name in brackets may be its own MX host.
    """
    nexthop = _NEXTHOP.fullmatch(key.decode("utf-8", "replace"))
    if not nexthop or nexthop["port"] not in _SMTP_PORTS:
        return False
    is_own_mx = outcome is None or [host.name for host in outcome.hosts] == [domain]
    return nexthop["bracketed"] is None or is_own_mx
