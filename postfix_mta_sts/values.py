"""Base classes of immutable values and mutable entries that exist by the hundred thousand.

Both are msgspec structs that Python's cyclic garbage collector does not track: each of its passes
over them blocked everything else for 10 to 50 ms. An instance must therefore never be part of a
reference cycle: a value holds only values that were created before it.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, msgpack
from msgspec.json import encode
from msgspec.structs import replace

__all__ = ["Entry", "Value", "msgpack_decoder", "replace", "to_json", "to_msgpack"]


class Value(Struct, frozen=True, gc=False):
    """An immutable struct, compared by its attributes; `replace` makes a changed copy."""


class Entry(Struct, eq=False, gc=False):
    """A mutable struct, compared by identity."""


def to_json(value: object) -> str:
    """Encode values, and collections of values, as JSON; ten times as fast as `json.dumps`."""
    return encode(value).decode()


def to_msgpack(value: object) -> bytes:
    """Encode values, or sequences of them, as msgpack."""
    return _TO_MSGPACK(value)


def msgpack_decoder(form: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 (no type for a union)
    """Make the function that decodes msgpack as `form`, a type or a union of types.

    The function raises `ValueError` for bytes that are not such a value.
    """
    return msgpack.Decoder(form).decode


_TO_MSGPACK = msgpack.Encoder().encode
