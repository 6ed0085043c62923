"""The socketmap protocol without I/O: bytes → requests, reply → bytes (socketmap_table(5)).

A request is the netstring of `<map name> SP <key>`; a reply the netstring of a status word, a
space and text. After a `WireError` the stream is out of step: close the connection.
"""

from typing import Final

from postfix_mta_sts.postfix.protocol.reply import LONGEST, TOO_LONG, Found, Reply, TryAgain
from postfix_mta_sts.postfix.protocol.wire import WireError, WireName
from postfix_mta_sts.values import Value

NAME: Final[WireName] = "socketmap"
REQUEST_LIMIT: Final = 10_000
"""Bytes of a request without its frame: the longest that Postfix sends (3.12)."""
REPLY_LIMIT: Final = LONGEST

_DIGITS_LIMIT: Final = len(str(REQUEST_LIMIT))
_COMMA, _ZERO = b",0"
_LENGTHS: Final = {b"%d" % n: n for n in range(512)}
"""Length prefixes of usual requests, precomputed: this halves the cost of `split`."""

CLOSED_WHEN_IDLE: Final = True
"""Whether an idle connection may be closed. Postfix closes one itself after 10 s, and opens another
when it next asks."""


class Request(Value, frozen=True):
    """One look-up: the map name selects the reply format, the key names the next-hop."""

    map_name: str
    key: bytes


def split(stream: bytes, number: int) -> tuple[list[bytes], bytes]:
    """At most `number` complete requests at the start of a stream, with frames, and the rest.

    Raises `WireError` if the next bytes cannot be a request, or not one within `REQUEST_LIMIT`.
    """
    frames: list[bytes] = []
    start = 0
    while start < len(stream) and len(frames) < number:
        colon = stream.find(b":", start, start + _DIGITS_LIMIT + 1)
        length = _LENGTHS.get(stream[start:colon]) if colon > start else None
        if length is None:
            length = _length(stream[start : start + _DIGITS_LIMIT + 1])
        if length is None:
            break
        end = colon + length + 2
        if end > len(stream):
            break
        if stream[end - 1] != _COMMA:
            raise WireError("a netstring without its comma")
        frames.append(stream[start:end])
        start = end
    return frames, stream[start:]


def _length(head: bytes) -> int | None:
    """The length at the start of a netstring; None if the stream ends before the colon."""
    digits, colon, _ = head.partition(b":")
    if not colon and len(digits) <= _DIGITS_LIMIT and (digits.isdigit() or not digits):
        return None
    # A length has digits, and no leading zero (Bernstein, "Netstrings").
    if not colon or not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
        raise WireError("not a netstring")
    if int(digits) > REQUEST_LIMIT:
        reason = f"a request of {int(digits)} bytes; the limit is {REQUEST_LIMIT}"
        raise WireError(reason, kind="a long request")
    return int(digits)


def parse_request(frame: bytes) -> Request:
    """The request in a frame of `split`; raises `WireError` if it holds none."""
    name, space, key = frame[frame.index(b":") + 1 : -1].partition(b" ")
    if not space:
        raise WireError("a request without a map name")
    return Request(name.decode("utf-8", "replace"), key)


def encode_reply(reply: Reply) -> bytes:
    """The reply as bytes, with the first variant that fits `REPLY_LIMIT`."""
    if isinstance(reply, Found):
        for text in reply.variants:
            data = b"OK " + text.encode()
            if len(data) <= REPLY_LIMIT:
                return _netstring(data)
        return encode_reply(TOO_LONG)
    if isinstance(reply, TryAgain):
        return _netstring(b"TEMP " + reply.reason.encode("ascii"))
    return _netstring(b"NOTFOUND ")


def _netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)
