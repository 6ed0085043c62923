"""What smtp(8) takes for a host name, and what for an address.

Pure. Follows valid_hostname.c in Postfix's sources, which takes more than RFC 5321 does and than
`mtasts.domain` for a policy.
"""

import ipaddress
import re
from typing import Final

# Not digits and dots alone; `_` is allowed, a hyphen at either end of a label is not.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(
    rf"(?![0-9.]+\Z)(?=.{{1,255}}\Z)(?P<first>\*|{_LABEL})(?:\.{_LABEL})*"
)


def is_host_name(name: str, *, wildcard: bool = False) -> bool:
    """Whether a name, with A-labels, is a host name.

    With `wildcard`, as for names in answers of the DNS, its first label may be `*` (DO_WILDCARD).
    """
    match = _HOST_NAME.fullmatch(name)
    return match is not None and (wildcard or match["first"] != "*")


def as_address(text: str) -> str | None:
    """The IP address that a text is, in its usual form; None: it is none, or has a zone."""
    try:
        return None if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Whether a text is an IP address without a zone."""
    return as_address(text) is not None
