"""Values that never change, and entries that do, of which there may be hundreds of thousands.

Border: how their classes are made, and written as JSON, by msgspec; what they say is the matter of
the files that have them. Python's collector of cycles does not look at them, which held all else up
for 10 to 50 ms each time. So none may ever be part of a cycle: a value holds nothing but values
made before it.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, msgpack
from msgspec.json import encode
from msgspec.structs import replace

__all__ = ["Entry", "Value", "msgpack_decoder", "replace", "to_json", "to_msgpack"]


class Value(Struct, frozen=True, gc=False):
    """Equal to those that say the same; `replace` makes one that says something else besides."""


class Entry(Struct, eq=False, gc=False):
    """May change; equal to nothing but itself."""


def to_json(of: object) -> str:
    """Values, and what is made of them, as JSON; a tenth of what it takes `json.dumps`."""
    return encode(of).decode()


def to_msgpack(of: object) -> bytes:
    """Encode values, or sequences of them, as msgpack."""
    return _TO_MSGPACK(of)


def msgpack_decoder(form: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 (no type for a union)
    """Make the function that decodes msgpack as `form`, a type or a union of types.

    The function raises `ValueError` for bytes that are not such a value.
    """
    return msgpack.Decoder(form).decode


_TO_MSGPACK = msgpack.Encoder().encode
