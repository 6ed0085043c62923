"""Values that never change, and entries that do, of which there may be hundreds of thousands.

Border: how their classes are made, and written as JSON, by msgspec; what they say is the matter of
the files that have them. Python's collector of cycles does not look at them, which held all else up
for 10 to 50 ms each time. So none may ever be part of a cycle: a value holds nothing but values
made before it.
"""

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

__all__ = ["Entry", "Value", "replace", "to_json"]


class Value(Struct, frozen=True, gc=False):
    """Equal to those that say the same; `replace` makes one that says something else besides."""


class Entry(Struct, eq=False, gc=False):
    """May change; equal to nothing but itself."""


def to_json(of: object) -> str:
    """Values, and what is made of them, as JSON; a tenth of what it takes `json.dumps`."""
    return encode(of).decode()
