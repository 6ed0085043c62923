"""A `smtp_tls_policy_maps` key → the Policy Domain, or none; and whether DANE's verdict is on it.

Border: what Postfix asks, as bytes. Keys for which there can be no policy end here: they cause
no look-up of any kind.
"""

import re

from postfix_mta_sts.mtasts.dane import Verdict
from postfix_mta_sts.mtasts.domain import MAX_LENGTH, Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError

# host, host:port, [host], [host]:port; a port is a number or a service's name (RFC 6335 §5.1).
_NEXTHOP = re.compile(
    r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]+))(?::(?P<port>[A-Za-z0-9-]+))?"
)
_SMTP = (None, "25", "smtp")

_LONGEST = MAX_LENGTH - len("_mta-sts.")


def policy_domain(key: bytes) -> Domain | None:
    """The Policy Domain that a next-hop names (RFC 8461 §3.4); None where there can be none.

    None for parent domains (a leading dot: §3.4 forbids the parent's policy), address literals
    (§3.4), single labels (a local name is nobody else's business), names too long for their
    `_mta-sts` record, and whatever is malformed.
    """
    if key.startswith(b"."):
        return None
    try:
        nexthop = _NEXTHOP.fullmatch(key.decode("utf-8"))
        if not nexthop:
            return None
        domain = parse_domain(nexthop["bracketed"] or nexthop["plain"] or "")
    except (UnicodeDecodeError, InvalidDomainError):
        return None
    return domain if "." in domain and len(domain) <= _LONGEST else None


def verdict_on(key: bytes, domain: Domain, verdict: Verdict) -> Verdict | None:
    """A domain's verdict, if it is about the hosts and the port to which this next-hop leads.

    It is about the MX hosts and port 25. Postfix takes a name in brackets for the host itself, and
    asks for TLSA records at the port in the key: to be told `dane-only` for those would hold mail
    back for want of records that nobody has to publish.
    """
    nexthop = _NEXTHOP.fullmatch(key.decode("utf-8", "replace"))
    if not nexthop or nexthop["port"] not in _SMTP:
        return None
    itself = [host.name for host in verdict.outcome.hosts] == [domain]
    return verdict if nexthop["bracketed"] is None or itself else None
