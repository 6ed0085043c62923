"""Reads Postfix's mail log: the domains to which smtp(8) and lmtp(8) have delivered.

Pure. Only the domain of a recipient is taken out of a line; nothing else of it is kept. The time of
a line is not read, so that each form of it will do.
"""

import re
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError

LINE_LIMIT: Final = 3_072
"""Bytes of a line; Postfix writes at most 2,000 or so (`LINE_LIMIT` in its sources is 2,048). A
line of this length that is made to be matched in many ways takes 40 ms."""

# TIME HOST TAG[PID]: with a tag as `postfix/smtp`; with syslog_name there may be other words before
# the slash. Behind the first `]: ` strangers can imitate all of it, in a Message-ID, a HELO name or
# the reply of a server.
_END_OF_TAG: Final = b"]: "
_TAG: Final = re.compile(rb"/(?:smtp|lmtp)\[[0-9]+\Z")
# log_adhoc() in Postfix's sources, behind the queue id:
#   to=<ADDRESS>, [orig_to=<ADDRESS>, ]relay=NAME, [conn_use=NUMBER, ]delay=SECONDS, delays=…
# A local part may contain `>`, a comma, and also the text that follows the address: it is quoted
# then (RFC 5321 §4.1.2, Quoted-string), but not before Postfix 3.5 (info_log_address_format).
_ADDRESS: Final = rb'(?:"(?:[^"\\]|\\.)*"@[^<>]*|.*?)'
_DELIVERY: Final = re.compile(
    rb"[0-9A-Za-z]{5,30}: to=<(" + _ADDRESS + rb")>, (?:orig_to=<" + _ADDRESS + rb">, )?"
    rb"relay=([^,<>]+), (?:conn_use=[0-9]+, )?delay=[0-9.]+, delays="
)
_MARK: Final = b": to=<"
_NOT_SENT: Final = frozenset({b"none", b"local", b"virtual"})
"""Relays that are no host: nothing was tried, or another delivery agent took the mail."""
_HERE: Final = re.compile(rb"\[[^]]*/|\[(?:127\.[0-9.]+|::1)\]:(?!25$)")
"""A UNIX socket, or a port of this machine other than 25: a mailbox, or a content filter."""


def recipient_domain(line: bytes) -> Domain | None:
    """The domain of the recipient, if the line tells of a delivery to another host; else None.

    None also for an address literal, and for a line longer than `LINE_LIMIT`.
    """
    if _MARK not in line or len(line) > LINE_LIMIT:  # most lines of a log
        return None
    tag, _, message = line.partition(_END_OF_TAG)
    if b": " in tag or not _TAG.search(tag):
        return None
    delivery = _DELIVERY.match(message)
    if delivery is None or delivery[2] in _NOT_SENT or _HERE.search(delivery[2]):
        return None
    _, at, domain = delivery[1].rpartition(b"@")
    with suppress(InvalidDomainError, UnicodeDecodeError):
        return parse_domain(domain.decode()) if at and b"." in domain else None
    return None
