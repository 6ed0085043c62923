"""What the two wires have in common: the shape of a wire, and the error of one."""

from typing import Protocol

from postfix_mta_sts.postfix.reply import Reply


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


class Frames(Protocol):
    """Cuts a stream of bytes into whole requests."""

    @property
    def partial(self) -> bool:
        """Whether a request has begun and not ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are whole by now, frames and all; `WireError` if there is none."""


class Wire(Protocol):
    """`socketmap` or `tcp_table`: both modules have this shape."""

    @property
    def CLOSED_WHEN_IDLE(self) -> bool:  # noqa: N802 (a module's constant is its attribute)
        """Whether an idle connection may be closed."""

    @property
    def Frames(self) -> type[Frames]:  # noqa: N802 (a module's class is its attribute)
        """What cuts its stream."""

    def parse_request(self, frame: bytes) -> Request:
        """The request in a frame."""

    def encode_reply(self, reply: Reply) -> bytes:
        """The bytes that tell Postfix."""
