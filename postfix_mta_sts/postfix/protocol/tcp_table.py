"""The tcp_table protocol without I/O: bytes → requests, reply → bytes (tcp_table(5)).

A request is `get SP <key> LF`; a reply a status number, a space, text and LF; keys and texts are
%XX-encoded. After a `WireError` the stream is out of step: close the connection.
"""

from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from postfix_mta_sts.postfix.protocol.reply import TOO_LONG, Found, Reply, TryAgain
from postfix_mta_sts.postfix.protocol.wire import WireError, WireName
from postfix_mta_sts.values import Value

NAME: Final[WireName] = "tcp_table"
REQUEST_LIMIT: Final = 4096
REPLY_LIMIT: Final = 4096
"""Bytes of a line with its line end (tcp_table(5))."""

NOT_A_REQUEST: Final = "not a get request"

_GET: Final = b"get "

# Characters that stay as they are in encoded text: printable ASCII without "%" and space. Letters,
# digits and "_.-~" are always safe in quote_from_bytes.
_SAFE: Final = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"

CLOSED_WHEN_IDLE: Final = False
"""Whether an idle connection may be closed. Postfix never closes one, and takes a second or more to
reconnect."""


class Request(Value, frozen=True):
    """One look-up; the protocol has no map name, the listener selects the reply format."""

    key: bytes
    map_name: str = ""


def split(stream: bytes, number: int) -> tuple[list[bytes], bytes]:
    """At most `number` complete requests at the start of a stream, with line ends, and the rest.

    Raises `WireError` for a line longer than `REQUEST_LIMIT`, and for an incomplete line that
    cannot become a request: a client of another protocol may never send a line end.
    """
    *lines, rest = stream.split(b"\n", number)
    last = rest.partition(b"\n")[0]
    if max(map(len, [*lines, last])) >= REQUEST_LIMIT:
        raise WireError(f"a line of more than {REQUEST_LIMIT} bytes")
    if not _GET.startswith(rest[: len(_GET)]):
        raise WireError(NOT_A_REQUEST)
    return [line + b"\n" for line in lines], rest


def parse_request(frame: bytes) -> Request:
    """The request in a frame of `split`; raises `WireError` if it holds none."""
    if not frame.startswith(_GET):
        raise WireError(NOT_A_REQUEST)
    return Request(unquote_to_bytes(frame[len(_GET) : -1]))


def encode_reply(reply: Reply) -> bytes:
    """The reply as bytes, with the first variant that fits `REPLY_LIMIT`."""
    if isinstance(reply, Found):
        # Encoded text is never shorter, and to encode 400 KiB takes 50 ms.
        for text in (each for each in reply.variants if len(each) < REPLY_LIMIT):
            line = _line(b"200 ", text)
            if len(line) <= REPLY_LIMIT:
                return line
        return encode_reply(TOO_LONG)
    if isinstance(reply, TryAgain):
        return _line(b"400 ", reply.reason)
    return _line(b"500 ", "not found")


def _line(status: bytes, text: str) -> bytes:
    return status + quote_from_bytes(text.encode(), safe=_SAFE).encode("ascii") + b"\n"
