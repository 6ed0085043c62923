"""Clients that speak something else than their listener, recognized by their first bytes.

The two protocols of Postfix are easily confused, because `main.cf` names the one and the daemon's
configuration the other. Postfix defers all mail then, so the reply says what is wrong, in a form
that Postfix writes to its log.
"""

import re
from typing import Final

from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import TryAgain

MAP_PROTOCOLS: Final = (socketmap.NAME, tcp_table.NAME)

_SHAPES: Final = (
    (socketmap.NAME, re.compile(rb"[0-9]{1,5}:")),
    (tcp_table.NAME, re.compile(rb"get ")),
    ("TLS", re.compile(rb"\x16\x03")),  # a ClientHello (RFC 8446 §5.1)
    ("HTTP", re.compile(rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH|PRI) ")),
    ("SMTP", re.compile(rb"(EHLO|HELO)\b", re.IGNORECASE)),
)


def recognize(head: bytes) -> str | None:
    """The protocol of a stream that begins with these bytes; None: none that is known."""
    return next((name for name, shape in _SHAPES if shape.match(head)), None)


def refusal(protocol: str, reason: str) -> bytes:
    """Tell a client that speaks the other protocol of Postfix why it is disconnected.

    Postfix logs the reason of TEMP. For tcp_table it logs only replies that are no replies, so this
    is one; an end of the connection would make it connect ten times, a second apart.
    """
    if protocol == socketmap.NAME:
        return socketmap.encode_reply(TryAgain(reason))
    return reason.encode("ascii") + b"\n"
