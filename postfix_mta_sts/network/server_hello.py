"""Examine the first message of a TLS server before OpenSSL acts on it.

OpenSSL offers finite field groups (RFC 7919) in TLS 1.3, and `ssl` of Python 3.14 and earlier has
no documented way to leave them out of the offer. A server that selects ffdhe8192 costs the client
180 ms of CPU for a handshake; an elliptic curve costs 1 to 2 ms. The first message is not encrypted
and names the group (RFC 8446 §4.1.3, §4.1.4).
"""

from typing import Final

_ALERT: Final = 21
_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2
_KEY_SHARE: Final = 51
_FINITE_FIELDS: Final = range(0x100, 0x200)
"""The finite field groups (RFC 8446 §4.2.7)."""
_RECORD_HEAD: Final = 5
_MESSAGE_HEAD: Final = 4
_SESSION_ID: Final = 38
"""Offset of the first field of variable size."""
_MAX_SIZE: Final = 4_096
"""Bytes of the message; 90 to 200 are usual, and 1,200 with a post-quantum key."""


class ServerHelloError(Exception):
    """The server does not begin as a TLS server must, or selects a group that is not allowed."""


class ServerHello:
    """Holds back the record that completes the first message, until it is examined.

    `is_allowed` is true once it was. Until then OpenSSL does nothing that takes time.
    """

    def __init__(self) -> None:
        self.is_allowed = False
        self._held = bytearray()
        self._message = bytearray()

    def pass_on(self, data: bytes) -> bytes:
        """Take the next bytes of the server; return those that OpenSSL may have.

        Alerts are passed on: some servers send a warning first. Raises `ServerHelloError`.
        """
        self._held += data
        end = 0
        while not self.is_allowed and (record := self._record(end)):
            end += len(record)
            if record[0] == _HANDSHAKE:
                self._add(record[_RECORD_HEAD:])
        if self.is_allowed:
            end = len(self._held)
        passed = bytes(self._held[:end])
        del self._held[:end]
        return passed

    def _record(self, start: int) -> bytes:
        """The record at an offset (RFC 8446 §5.1), empty if it is not complete."""
        held = self._held[start:]
        if held and held[0] not in {_ALERT, _HANDSHAKE}:
            raise ServerHelloError("the server does not speak TLS")
        size = _RECORD_HEAD + int.from_bytes(held[3:_RECORD_HEAD], "big")
        return bytes(held[:size]) if len(held) >= max(size, _RECORD_HEAD) else b""

    def _add(self, fragment: bytes) -> None:
        message = self._message
        message += fragment
        size = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD], "big")
        if (message and message[0] != _SERVER_HELLO) or size > _MAX_SIZE:
            # Also a HelloRequest, which OpenSSL would pass over (RFC 5246 §7.4.1.1).
            raise ServerHelloError("the first message of the server is no ServerHello")
        if len(message) >= max(size, _MESSAGE_HEAD):
            if _selected_group(bytes(message[:size])) in _FINITE_FIELDS:
                raise ServerHelloError("the server selects a finite field group")
            self.is_allowed = True


def _selected_group(message: bytes) -> int:
    """The group of a ServerHello's key share, 0 if there is none, as in TLS 1.2."""
    session_id = message[_SESSION_ID : _SESSION_ID + 1]
    # After the session id: cipher suite, compression method, length of the extensions.
    start = _SESSION_ID + 1 + int.from_bytes(session_id, "big") + 2 + 1 + 2
    while start < len(message):
        kind = int.from_bytes(message[start : start + 2], "big")
        value = start + 4
        if kind == _KEY_SHARE:
            return int.from_bytes(message[value : value + 2], "big")
        start = value + int.from_bytes(message[start + 2 : value], "big")
    return 0
