"""Domain names in one normal form, in which they are compared, looked up and stored.

The normal form: A-labels, lower case, no final dot. `parse_domain` accepts what people and Postfix
write, including U-labels; `parse_host` accepts only what a policy may contain. No other code turns
text of unknown origin into a `Domain`.
"""

import re
from typing import NewType

from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable
from postfix_mta_sts.mtasts.idn import to_a_labels

Domain = NewType("Domain", str)

MAX_LENGTH = 253
"""Maximum length of a name without its final dot (RFC 1035 §3.1: 255 octets on the wire)."""

# RFC 5321 §4.1.2:
#   Domain     = sub-domain *("." sub-domain)
#   sub-domain = Let-dig [Ldh-str]
#   Ldh-str    = *( ALPHA / DIGIT / "-" ) Let-dig
# and RFC 1035 §2.3.4: a label has at most 63 octets.
_SUB_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*", re.ASCII)


def parse_host(text: str) -> Domain:
    """Return the host name `text` in lower case.

    Raises `InvalidDomainError` for anything but ASCII letters, digits, inner hyphens and dots
    (RFC 5321 §4.1.2, Domain; a U-label is not one: RFC 8461 §3.2).
    """
    if len(text) > MAX_LENGTH:
        raise InvalidDomainError(f"longer than {MAX_LENGTH} characters")
    if not _DOMAIN.fullmatch(text):
        raise InvalidDomainError(f"not a domain name: '{printable(text)}'")
    # All ASCII here, so that lower() maps A-Z and nothing else (not U+212A, the Kelvin sign).
    return Domain(text.lower())


def parse_domain(text: str) -> Domain:
    """Return the domain `text` in normal form; U-labels become A-labels as in Postfix (`idn`).

    One final dot is removed. Raises `InvalidDomainError`, also if the last label is a number:
    such a name is an IP address, although the grammar allows it.
    """
    host = parse_host(to_a_labels(text).removesuffix("."))
    if ends_in_number(host):
        raise InvalidDomainError(f"an IP address, not a domain name: {host!r}")
    return host


def ends_in_number(host: str) -> bool:
    """Whether the last label is a number: an IP address, or a name that cannot exist.

    No top-level domain is a number (RFC 1123 §2.1), although the grammar allows it.
    """
    return host.rpartition(".")[2].isdigit()
