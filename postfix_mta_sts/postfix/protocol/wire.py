"""What the two protocols share: their interface, their error, and the splitting of a stream."""

from collections import deque
from typing import Final, Literal, Protocol, TypeAlias

from postfix_mta_sts.postfix.protocol.reply import Reply

WireName: TypeAlias = Literal["socketmap", "tcp_table"]
"""A protocol, as the configuration writes it."""

SPLIT_AT_ONCE: Final = 64
"""Requests that are split off a stream at a time: objects take more memory than their bytes."""


class WireError(Exception):
    """The bytes do not follow the protocol. `str()` is the reason, without any of the bytes.

    `kind`: the reason without numbers, one of few, for the log's rate limit.
    """

    def __init__(self, reason: str, *, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind or reason


class Request(Protocol):
    """One look-up, in either protocol."""

    @property
    def map_name(self) -> str:
        """The map name in the request; empty in a protocol that has none."""

    @property
    def key(self) -> bytes:
        """The next-hop, as Postfix wrote it."""


class Wire(Protocol):
    """A protocol; the modules `socketmap` and `tcp_table` implement it."""

    @property
    def NAME(self) -> WireName:  # noqa: N802 (a constant of the module)
        """The protocol."""

    @property
    def CLOSED_WHEN_IDLE(self) -> bool:  # noqa: N802 (a constant of the module)
        """Whether an idle connection may be closed."""

    def split(self, stream: bytes, number: int) -> tuple[list[bytes], bytes]:
        """At most `number` complete requests at the start of a stream, and the rest."""

    def parse_request(self, frame: bytes) -> Request:
        """The request in a frame."""

    def encode_reply(self, reply: Reply) -> bytes:
        """The reply as bytes."""


class Frames:
    """Splits a stream into complete requests as they are taken, and keeps the rest."""

    __slots__ = ("_is_split", "_ready", "_rest", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ready: deque[bytes] = deque()
        self._rest = b""
        self._is_split = True  # the rest holds no complete request

    @property
    def waiting(self) -> bool:
        """Whether there may be a complete request."""
        return bool(self._ready) or not self._is_split

    @property
    def partial(self) -> bool:
        """Whether the stream ends with an incomplete request, or may do so."""
        return bool(self._rest)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        size = len(self._rest)
        return size + sum(map(len, self._ready)) if self._ready else size

    @property
    def head(self) -> bytes:
        """The first bytes of what is kept: after a `WireError` those that caused it."""
        return self._rest[:16]

    def feed(self, data: bytes) -> None:
        """Add received bytes to the stream."""
        self._rest += data
        self._is_split = False

    def take(self) -> bytes | None:
        """The next request with its frame; None: it is not complete.

        Raises `WireError` if the next bytes cannot be a request. The stream cannot be used then.
        """
        if not self._ready and not self._is_split:
            frames, self._rest = self._wire.split(self._rest, SPLIT_AT_ONCE)
            self._is_split = len(frames) < SPLIT_AT_ONCE
            self._ready.extend(frames)
        return self._ready.popleft() if self._ready else None

    def clear(self) -> None:
        """Drop everything that was received."""
        self._ready.clear()
        self._rest, self._is_split = b"", True
