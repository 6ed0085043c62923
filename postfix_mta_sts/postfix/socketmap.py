"""The socketmap protocol, sans I/O: bytes → requests, reply → bytes (socketmap_table(5)).

A request is the netstring of `<map name> SP <key>`; a reply the netstring of a status word, a
space and text. After a `WireError` nothing more can be understood: close the connection.
"""

from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.postfix.reply import TOO_LONG, Found, Reply, TryAgain
from postfix_mta_sts.postfix.wire import WireError

REQUEST_LIMIT: Final = 10_000
"""Bytes of a request, without its frame: the longest that Postfix sends (3.12)."""
REPLY_LIMIT: Final = 100_000
"""Bytes of a reply, without its frame: the longest that Postfix takes."""

_DIGITS_LIMIT: Final = len(str(REQUEST_LIMIT))

CLOSED_WHEN_IDLE: Final = True
"""Whether an idle connection may be closed. Postfix closes one itself after
10 s, and opens another when it next asks."""


@dataclass(frozen=True, slots=True)
class Request:
    """One look-up: the map's name chooses the dress, the key names the next-hop."""

    map_name: str
    key: bytes


class Frames:
    """Cuts a stream of bytes into whole requests; keeps at most one that is not yet whole."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def partial(self) -> bool:
        """Whether a request has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are whole by now, each with its frame.

        Raises `WireError` where the bytes cannot be a request, or not one within
        `REQUEST_LIMIT`. The requests before it are lost with it: so is their sender.
        """
        buffer = self._buffer + data if self._buffer else data
        frames = []
        start = 0
        while (end := _frame_end(buffer, start)) is not None:
            frames.append(buffer[start:end])
            start = end
        self._buffer = buffer[start:]
        return frames


def _frame_end(buffer: bytes, start: int) -> int | None:
    """Where the netstring that begins at `start` ends; None if it is not yet whole."""
    colon = buffer.find(b":", start, start + _DIGITS_LIMIT + 1)
    digits = buffer[start:colon] if colon >= 0 else buffer[start : start + _DIGITS_LIMIT + 1]
    if digits and not digits.isdigit():
        raise WireError("not a netstring")
    if colon < 0:
        if len(digits) > _DIGITS_LIMIT:
            raise WireError("a netstring's length has too many digits")
        return None
    # A length of no digits, or with a leading zero, is none (Bernstein, "Netstrings").
    if not digits or (digits[0] == 0x30 and len(digits) > 1):
        raise WireError("not a netstring")
    if int(digits) > REQUEST_LIMIT:
        raise WireError(f"a request of {int(digits)} bytes; the limit is {REQUEST_LIMIT}")
    comma = colon + 1 + int(digits)
    if comma >= len(buffer):
        return None
    if buffer[comma] != 0x2C:
        raise WireError("a netstring without its comma")
    return comma + 1


def parse_request(frame: bytes) -> Request:
    """The request in one of the frames that `Frames.feed` gave; `WireError` if there is none."""
    name, space, key = frame[frame.index(b":") + 1 : -1].partition(b" ")
    if not space:
        raise WireError("a request without a map name")
    return Request(name.decode("utf-8", "replace"), key)


def encode_reply(reply: Reply) -> bytes:
    """The bytes that tell Postfix: the first of the reply's variants within `REPLY_LIMIT`."""
    if isinstance(reply, Found):
        datas = (b"OK " + text.encode() for text in reply.variants)
        data = next((d for d in datas if len(d) <= REPLY_LIMIT), None)
        return encode_reply(TOO_LONG) if data is None else _netstring(data)
    if isinstance(reply, TryAgain):
        return _netstring(b"TEMP " + reply.reason.encode("ascii"))
    return _netstring(b"NOTFOUND ")


def _netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)
