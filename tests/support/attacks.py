"""What the tests of attacks check: the replies that Postfix gets, byte by byte."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from tests.support.daemons import RunningDaemon

NOT_FOUND: Final = [b"NOTFOUND ", b"NOTFOUND ", b"500 not found", b"500 not found"]
"""The result of `replies_to` for a domain without a policy."""
SECURE: Final = b"secure match=mx1.evil.test servername=hostname"
HOUR: Final = 3600.0

_SEPARATORS = b" \t\r\n,"


async def replies_to(running: RunningDaemon, key: str) -> list[bytes]:
    """The replies of socketmap and tcp_table, each without and with TLSRPT attributes."""
    return [
        await running.ask(key),
        await running.ask(key, "QUERYwithTLSRPT"),
        unquote_to_bytes(await running.get(key)),
        unquote_to_bytes(await running.get(key, tlsrpt=True)),
    ]


def attributes(text: bytes) -> list[tuple[bytes, bytes]]:
    """The attributes after the security level, split as Postfix does it (postfix.md)."""
    tokens, depth, token = [], 0, b""
    for octet in (text[i : i + 1] for i in range(len(text))):
        depth += (octet == b"{") - (octet == b"}" and depth > 0)
        if depth == 0 and octet in _SEPARATORS:
            tokens.append(token)
            token = b""
        else:
            token += octet
    assert depth == 0
    level, *rest = [t for t in [*tokens, token] if t]
    assert level == b"secure"
    pairs = (t.removeprefix(b"{").removesuffix(b"}").partition(b"=") for t in rest)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def check_attributes(text: bytes, domain: str) -> None:
    """Check that a reply with TLSRPT attributes has those of `domain` and no others."""
    host = f"mx1.{domain}".encode()
    said = attributes(text)
    assert [pair for pair in said if pair[0] != b"policy_string"] == [
        (b"match", host),
        (b"servername", b"hostname"),
        (b"policy_type", b"sts"),
        (b"policy_domain", domain.encode()),
        (b"mx_host_pattern", host),
    ]
    assert not re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", text)
