"""What the two protocols share: their interface, their error, and the splitting of a stream."""

from typing import Protocol

from postfix_mta_sts.postfix.protocol.reply import Reply


class WireError(Exception):
    """The bytes do not follow the protocol. `str()` is the reason, without any of the bytes."""


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
    def CLOSED_WHEN_IDLE(self) -> bool:  # noqa: N802 (a constant of the module)
        """Whether an idle connection may be closed."""

    def split(self, stream: bytes) -> tuple[list[bytes], bytes]:
        """The complete requests at the start of a stream, with their frames, and the rest."""

    def parse_request(self, frame: bytes) -> Request:
        """The request in a frame."""

    def encode_reply(self, reply: Reply) -> bytes:
        """The reply as bytes."""


class Frames:
    """Splits a stream into complete requests and keeps the incomplete rest."""

    __slots__ = ("_rest", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rest = b""

    @property
    def partial(self) -> bool:
        """Whether an incomplete request is buffered."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are complete now, each with its frame.

        Raises `WireError` if the bytes cannot be a request. The requests before it are lost, as is
        the connection.
        """
        frames, self._rest = self._wire.split(self._rest + data)
        return frames
