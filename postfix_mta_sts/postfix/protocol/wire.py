"""What the two wires have in common: the shape of a wire, and the error of one."""

from typing import Protocol

from postfix_mta_sts.postfix.protocol.reply import Reply


class WireError(Exception):
    """The bytes are not the protocol's. `str()` is the reason, without a byte of theirs."""


class Request(Protocol):
    """One look-up, whichever wire it came on."""

    @property
    def map_name(self) -> str:
        """The map that was asked for; empty on a wire that knows none."""

    @property
    def key(self) -> bytes:
        """The next-hop, as Postfix wrote it."""


class Wire(Protocol):
    """`socketmap` or `tcp_table`: both modules have this shape."""

    @property
    def CLOSED_WHEN_IDLE(self) -> bool:  # noqa: N802 (a module's constant is its attribute)
        """Whether an idle connection may be closed."""

    @property
    def END(self) -> bytes:  # noqa: N802 (the same)
        """The byte with which every frame ends; a key may hold it as well."""

    def cut(self, stream: bytes) -> tuple[list[bytes], bytes]:
        """The requests that a stream begins with, frames and all, and the rest of it."""

    def parse_request(self, frame: bytes) -> Request:
        """The request in a frame."""

    def encode_reply(self, reply: Reply) -> bytes:
        """The bytes that tell Postfix."""


class Frames:
    """Cuts a stream into whole requests, however it comes in; keeps what is not yet whole."""

    __slots__ = ("_rest", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rest = b""

    @property
    def partial(self) -> bool:
        """Whether a request has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are whole by now, each with its frame.

        Raises `WireError` where the bytes cannot be a request. The requests before it are lost
        with it: so is their sender.
        """
        frames, self._rest = self._wire.cut(self._rest + data)
        return frames
