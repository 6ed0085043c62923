"""What a process says of itself in numbers, at one moment; those of several can be added up.

Border: plain values, and their form in JSON for the way from one worker to another. Who takes
them knows the parts; who shows them (`metrics`, `health`) knows only these.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

from postfix_mta_sts.counts import WAITED_BOUNDS, Answer, Counters, Source, Stage

_T = TypeVar("_T")


class Part(StrEnum):
    """What can fail while Postfix is still answered."""

    DNS = "dns"
    """A name server says something, be it that there is no record."""
    STORE_READING = "store_reading"
    STORE_WRITING = "store_writing"


_CLASSES: Final = len(WAITED_BOUNDS) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The numbers of one process, or of several together; of what only grows, see `Counters`."""

    pids: frozenset[int]
    """Of the processes that speak here."""

    answers: Counter[tuple[Answer, Source]] = field(default_factory=Counter)
    attempts: Counter[tuple[Stage, str]] = field(default_factory=Counter)
    waited: tuple[int, ...] = (0,) * _CLASSES
    waited_seconds: float = 0.0
    evicted: int = 0
    refused: int = 0
    store_failures: int = 0
    """Requests that the store failed to carry out."""
    policies_lost: int = 0
    """Policies that were never put on file, for there were too many."""
    asked_lost: int = 0
    """Last-asked times that were never put on file."""

    domains: int = 0
    """Domains whose state is in memory."""
    replies: int = 0
    """Replies in memory."""
    under_way: int = 0
    """Attempts that have begun and not ended."""
    tasks: int = 0
    """Tasks of the event loop, with the one that counts them."""
    connections: int = 0
    unwritten: int = 0
    """Policies that are in memory and not, or not yet, on file."""
    failing: Counter[Part] = field(default_factory=Counter)
    """In how many of the processes a part did not work when it was last needed."""

    def __post_init__(self) -> None:
        if len(self.waited) != _CLASSES:
            raise ValueError(f"look-ups that waited fall into {_CLASSES} classes")

    @classmethod
    def taken(cls, counters: Counters, pid: int, **others: Any) -> "Snapshot":  # noqa: ANN401 (the fields above)
        """Those of one process: what was counted until now, and the `others` by name."""
        return cls(
            pids=frozenset([pid]),
            answers=Counter(counters.answers),
            attempts=Counter(counters.attempts),
            waited=tuple(counters.waited),
            waited_seconds=counters.waited_seconds,
            evicted=counters.evicted,
            refused=counters.refused,
            **others,
        )

    def __add__(self, other: "Snapshot") -> "Snapshot":
        names = [f.name for f in fields(self)]
        return Snapshot(**{n: _sum(getattr(self, n), getattr(other, n)) for n in names})

    def to_json(self) -> bytes:
        """What `from_json` takes."""
        return json.dumps({f.name: _plain(getattr(self, f.name)) for f in fields(self)}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Snapshot":
        """The figures that another process gave; `ValueError` where it gave something else."""
        try:
            given = json.loads(text)
            return cls(**{f.name: _READ.get(f.name, _whole)(given[f.name]) for f in fields(cls)})
        except (KeyError, TypeError) as error:
            raise ValueError("not the figures of a process") from error


def _sum(one: Any, other: Any) -> Any:  # noqa: ANN401 (two values of one field, of any type)
    match one:
        case frozenset():
            return one | other
        case tuple():
            return tuple(map(sum, zip(one, other, strict=True)))
    return one + other


def _plain(value: object) -> object:
    match value:
        case Counter():
            return list(value.items())
        case frozenset():
            return sorted(value)
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _counted(key: Callable[..., _T]) -> Callable[[Any], Counter[_T]]:
    return lambda pairs: Counter({key(named): _whole(number) for named, number in pairs})


def _answer(named: tuple[str, str]) -> tuple[Answer, Source]:
    answer, source = named
    return Answer(answer), Source(source)


def _attempt(named: tuple[str, str]) -> tuple[Stage, str]:
    stage, code = named
    return Stage(stage), str(code)


_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "pids": lambda pids: frozenset(map(_whole, pids)),
    "answers": _counted(_answer),
    "attempts": _counted(_attempt),
    "waited": lambda classes: tuple(map(_whole, classes)),
    "waited_seconds": float,
    "failing": _counted(Part),
}
"""How a field is read that is not a whole number."""
