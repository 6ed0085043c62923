"""A dict as a memory of bounded size: least recently used, first forgotten.

Border: a plain dict keeps the order in which its keys were put in; whoever uses an entry takes
it out and puts it in again. That takes half the room of an OrderedDict, and no more time.
"""

from itertools import islice
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SHARE: Final = 64
"""One in so many is dropped at once: to find the oldest, a dict passes over those taken out."""


def drop_oldest(memory: dict[K, V], most: int) -> list[V]:
    """What was taken out, the oldest first, of a memory that has more than `most` entries."""
    if len(memory) <= most:
        return []
    keys = list(islice(memory, len(memory) - most + most // _SHARE))
    return [memory.pop(key) for key in keys]
