"""What this process has done and how it is, in numbers.

`Counters` only grow: each part of the daemon increments them. A `Snapshot` is the state of the
counters and gauges at one moment. The sets of labels are fixed: no name from the network is one.
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

_T = TypeVar("_T")


class Answer(StrEnum):
    """What Postfix was told."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    TRY_AGAIN = "try_again"


class Source(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    STORE = "store"
    NETWORK = "network"
    NONE = "none"
    """No look-up was needed or none was possible: the key names no domain, time or room ran out."""


class Stage(StrEnum):
    """The steps of an attempt that end in success or in an error of `mtasts.errors`."""

    DNS = "dns"
    HTTPS = "https"
    DANE = "dane"
    OWN = "own"
    """No step: a fault of this program broke the attempt off."""


SUCCESS: Final = "success"
"""Stands where an error's code would."""

WAITED_BOUNDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    90,
)
"""Upper bounds, in seconds, of the classes into which look-ups that waited fall."""


class Counters:
    """One of it for a process; nothing here ever goes down."""

    __slots__ = ("answers", "attempts", "evicted", "refused", "waited", "waited_seconds")

    def __init__(self) -> None:
        self.answers: Counter[tuple[Answer, Source]] = Counter()
        """Look-ups that were answered."""
        self.attempts: Counter[tuple[Stage, str]] = Counter()
        """Steps of attempts, by `SUCCESS` or the code of the error."""
        self.waited = [0] * (len(WAITED_BOUNDS) + 1)
        """Look-ups that waited for the store or the network, by the class of their time."""
        self.waited_seconds = 0.0
        self.evicted = 0
        """Domains forgotten because memory was full."""
        self.refused = 0
        """Malformed requests."""

    def wait(self, seconds: float) -> None:
        """Count a look-up that waited so long."""
        self.waited[bisect_left(WAITED_BOUNDS, seconds)] += 1
        self.waited_seconds += seconds


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
