"""The tcp_table protocol, sans I/O: bytes → requests, reply → bytes (tcp_table(5)).

A request is `get SP <key> LF`; a reply a status number, a space, text and LF; keys and texts are
%XX-encoded. After a `WireError` nothing more can be understood: close the connection.
"""

from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from postfix_mta_sts.postfix.protocol.reply import TOO_LONG, Found, Reply, TryAgain
from postfix_mta_sts.postfix.protocol.wire import WireError
from postfix_mta_sts.values import Value

REQUEST_LIMIT: Final = 4096
REPLY_LIMIT: Final = 4096
"""Bytes of a line, its end included (tcp_table(5))."""

_GET: Final = b"get "

# What an encoded text may hold unchanged: printable ASCII but "%" and space. Letters, digits and
# "_.-~" are safe in quote_from_bytes anyway.
_SAFE: Final = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"

END: Final = b"\n"

CLOSED_WHEN_IDLE: Final = False
"""Whether an idle connection may be closed. Its client never closes one, and
takes a second and more to come back."""


class Request(Value, frozen=True):
    """One look-up; this wire knows no map name, its listener chooses the dress."""

    key: bytes
    map_name: str = ""


def cut(stream: bytes) -> tuple[list[bytes], bytes]:
    """The requests that a stream begins with, line ends and all, and the rest of it.

    Raises `WireError` for a line longer than `REQUEST_LIMIT`.
    """
    *lines, rest = stream.split(b"\n")
    if max(map(len, [*lines, rest])) >= REQUEST_LIMIT:
        raise WireError(f"a line of more than {REQUEST_LIMIT} bytes")
    return [line + b"\n" for line in lines], rest


def parse_request(frame: bytes) -> Request:
    """The request in one of the frames that `cut` gave; `WireError` if there is none."""
    if not frame.startswith(_GET):
        raise WireError("not a get request")
    return Request(unquote_to_bytes(frame[len(_GET) : -1]))


def encode_reply(reply: Reply) -> bytes:
    """The bytes that tell Postfix: the first of the reply's variants within `REPLY_LIMIT`."""
    if isinstance(reply, Found):
        for text in reply.variants:
            line = _line(b"200 ", text)
            if len(line) <= REPLY_LIMIT:
                return line
        return encode_reply(TOO_LONG)
    if isinstance(reply, TryAgain):
        return _line(b"400 ", reply.reason)
    return _line(b"500 ", "not found")


def _line(status: bytes, text: str) -> bytes:
    return status + quote_from_bytes(text.encode(), safe=_SAFE).encode("ascii") + b"\n"
