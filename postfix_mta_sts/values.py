"""Base classes of immutable values and mutable entries that exist by the hundred thousand.

`Value` and `Entry` are msgspec structs that Python's cyclic garbage collector does not track: each
of its passes over them blocked everything else for 10 to 50 ms. An instance must therefore never be
part of a reference cycle: a value holds only values that were created before it. A `TrackedValue`
may be part of one; it is a struct because a frozen dataclass takes five times as long to make.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct, convert, json, msgpack, to_builtins
from msgspec.structs import replace

__all__ = [
    "Entry",
    "TrackedValue",
    "Value",
    "from_plain",
    "json_decoder",
    "json_schema",
    "msgpack_decoder",
    "replace",
    "to_json",
    "to_msgpack",
    "to_plain",
]

T = TypeVar("T")


class Value(Struct, frozen=True, gc=False):
    """An immutable struct, compared by its attributes; `replace` makes a changed copy."""


class TrackedValue(Struct, frozen=True):
    """An immutable struct that may be part of a reference cycle, because it holds a future."""


class Entry(Struct, eq=False, gc=False):
    """A mutable struct, compared by identity."""


def to_json(value: object) -> str:
    """Encode values, and collections of values, as JSON; ten times as fast as `json.dumps`."""
    return json.encode(value).decode()


def to_plain(value: object) -> Any:  # noqa: ANN401 (what JSON can be)
    """Convert values to dictionaries, lists and texts, as `to_json` would write them."""
    return to_builtins(value)


def from_plain(value: object, form: type[T]) -> T:
    """Convert what `to_plain` made to a value of the class `form`; other keys are ignored.

    Raises `ValueError` for what is not such a value.
    """
    return convert(value, form)


def json_schema(form: type[Value]) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of what `to_json` makes of the class.

    It is the same with every version of msgspec, which write alternatives in different orders.
    """
    schema: dict[str, Any] = _in_order(json.schema(form))
    return schema


def _in_order(schema: Any) -> Any:  # noqa: ANN401 (what JSON can be)
    """A part of a schema with its alternatives sorted."""
    if isinstance(schema, list):
        return [_in_order(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    sorted_ = {key: _in_order(value) for key, value in schema.items()}
    if "anyOf" in sorted_:
        sorted_["anyOf"].sort(key=str)
    return sorted_


def json_decoder(form: type[T]) -> Callable[[str | bytes], T]:
    """Make the function that decodes JSON as a value of the class `form`.

    The function raises `ValueError` for a text that is not such a value.
    """
    return json.Decoder(form).decode


def to_msgpack(value: object) -> bytes:
    """Encode values, or sequences of them, as msgpack."""
    return _TO_MSGPACK(value)


def msgpack_decoder(form: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 (no type for a union)
    """Make the function that decodes msgpack as `form`, a type or a union of types.

    The function raises `ValueError` for bytes that are not such a value.
    """
    return msgpack.Decoder(form).decode


_TO_MSGPACK = msgpack.Encoder().encode
