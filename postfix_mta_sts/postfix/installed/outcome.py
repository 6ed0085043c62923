"""What `asking` has `inside` ask, and what is made of its outcome; pure."""

import re
from typing import Final

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.inside import DATAGRAM
from postfix_mta_sts.postfix.installed.values import MALFORMED, TRY_AGAIN, Reach, Standpoint
from postfix_mta_sts.postfix.policy_maps import Server
from postfix_mta_sts.postfix.probe import (
    HEALTH_KEY,
    ProbeError,
    TryAgainError,
    socketmap_reply,
    tcp_table_reply,
)
from postfix_mta_sts.values import Value, json_decoder

_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,5}):")


class NotAskedError(UserError):
    """The server was not asked; `str()` says why, as printable ASCII."""


class _Outcome(Value, frozen=True):
    """`inside.Outcome`."""

    unasked: str = ""
    error: tuple[str, str] = ("", "")
    data: str = ""


_decode: Final = json_decoder(_Outcome)


def request_for(server: Server) -> bytes:
    """The bytes by which Postfix asks for `probe.HEALTH_KEY`, in the map that the table names."""
    if server.wire == "tcp_table":
        return f"get {HEALTH_KEY}\n".encode()
    data = f"{server.map_name} {HEALTH_KEY}".encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(data), data)


def parse_output(text: str, wire: str, standpoint: Standpoint) -> Reach:
    """What `inside` has printed; raises `NotAskedError` if it has not asked, or printed no outcome.

    `wire` is that of its task.
    """
    try:
        outcome = _decode(text)
    except ValueError:
        raise NotAskedError("its process printed no outcome") from None
    if outcome.unasked:
        raise NotAskedError(printable(outcome.unasked))
    symbol, reason = map(printable, outcome.error)
    if symbol or wire == DATAGRAM:
        return Reach(standpoint, symbol, reason)
    return _reach(wire, outcome.data.encode("latin-1", "replace"), standpoint)


def _reach(wire: str, data: bytes, standpoint: Standpoint) -> Reach:
    """By the bytes that the server has sent."""
    if not data:
        return Reach(standpoint, MALFORMED, "closed without a reply")
    try:
        return Reach(standpoint, reply=_reply(wire, data))
    except TryAgainError as error:
        return Reach(standpoint, TRY_AGAIN, str(error))
    except ProbeError as error:
        # A server of another protocol often says what it speaks.
        return Reach(standpoint, MALFORMED, f'{error}: "{printable(data.rstrip())}"')


def _reply(wire: str, data: bytes) -> str | None:
    """The entry, or None for "not found"; raises `ProbeError`."""
    if wire != "tcp_table":
        return socketmap_reply(_text_of_netstring(data))
    line, end, _ = data.partition(b"\n")
    if not end:
        raise ProbeError("not a reply of tcp_table")
    return tcp_table_reply(line)


def _text_of_netstring(data: bytes) -> bytes:
    """The text of the first netstring; raises `ProbeError`."""
    head = _LENGTH.match(data)
    text = data[head.end() :] if head else b""
    length = int(head[1]) if head else 0
    if text[length : length + 1] != b",":
        raise ProbeError("not a reply of socketmap")
    return text[:length]
