"""Counters and gauges of the daemon.

`Counters` only grow: each part of the daemon increments them. A `Snapshot` is the state of the
counters and gauges at one moment. The sets of label values are fixed: no name from the network is
ever one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Label(StrEnum):
    """Base of the label values. Each look-up counts some, and `Enum` hashes by a Python call."""

    __hash__ = str.__hash__


class Answer(Label):
    """The kinds of reply to Postfix."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    TRY_AGAIN = "try_again"


class Source(Label):
    """Where an answer came from."""

    MEMORY = "memory"
    STORE = "store"
    NETWORK = "network"
    NONE = "none"
    """No look-up was needed or none was possible: the key names no domain, the lookup timeout
    expired, or a limit was reached."""


class Stage(Label):
    """The steps of an attempt that end in success or in an error of `mtasts.errors`."""

    DNS = "dns"
    HTTPS = "https"
    DANE = "dane"
    OWN = "own"
    """Not a step: a fault of this program ended the attempt."""


SUCCESS: Final = "success"
"""Takes the place of an error code."""

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
"""Upper bounds, in seconds, of the histogram buckets for look-ups that waited."""


class Counters:
    """The counters of the process; none ever decreases."""

    __slots__ = ("answers", "attempts", "evicted", "refused", "waited", "waited_seconds")

    def __init__(self) -> None:
        self.answers: Counter[tuple[Answer, Source]] = Counter()
        """Look-ups that were answered."""
        self.attempts: Counter[tuple[Stage, str]] = Counter()
        """Steps of attempts, by `SUCCESS` or the code of the error."""
        self.waited = [0] * (len(WAITED_BOUNDS) + 1)
        """Look-ups that waited for the store or the network, by histogram bucket."""
        self.waited_seconds = 0.0
        self.evicted = 0
        """Domains evicted because the cache was full."""
        self.refused = 0
        """Malformed requests."""

    def count_wait(self, seconds: float) -> None:
        """Count a look-up that waited this long."""
        self.waited[bisect_left(WAITED_BOUNDS, seconds)] += 1
        self.waited_seconds += seconds


class Part(StrEnum):
    """What can fail while Postfix is still answered."""

    DNS = "dns"
    """A name server replies, even if only that there is no record."""
    NETWORK_PROCESS = "network_process"
    """It answers pings, and the last reload could start another one."""
    CA_CERTIFICATES = "ca_certificates"
    """There are some to check Policy Hosts against."""
    STORE_READING = "store_reading"
    STORE_WRITING = "store_writing"


_BUCKETS: Final = len(WAITED_BOUNDS) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters and gauges at one moment; see `Counters` for the fields that only grow."""

    pid: int

    answers: Counter[tuple[Answer, Source]] = field(default_factory=Counter)
    attempts: Counter[tuple[Stage, str]] = field(default_factory=Counter)
    waited: tuple[int, ...] = (0,) * _BUCKETS
    waited_seconds: float = 0.0
    evicted: int = 0
    refused: int = 0
    store_failures: int = 0
    """Operations that the store failed to carry out."""
    policies_lost: int = 0
    """Policies that were never written to the store, because too many were waiting."""
    asked_lost: int = 0
    """Last-asked times that were never written to the store."""

    log_lines_unwritten: int = 0
    """Log lines that nobody took in time, or that could not be written."""
    log_lines_left_out: int = 0
    """Log lines that were left out because there were too many of one kind."""

    domains: int = 0
    """Domains whose state is in memory."""
    replies: int = 0
    """Replies in memory."""
    under_way: int = 0
    """Attempts that have started and not ended."""
    tasks: int = 0
    """Tasks of the event loop, including the one that counts them."""
    connections: int = 0
    unwritten: int = 0
    """Policies that are in memory and not, or not yet, in the store."""
    failing: AbstractSet[Part] = frozenset()
    """The parts that did not work when they were last needed."""
    reasons: Mapping[Part, str] = field(default_factory=dict)
    """Why, for those of `failing` that know more than that."""
    network_restarts: int = 0
    """See `Supervisor.restarts`."""

    def __post_init__(self) -> None:
        if len(self.waited) != _BUCKETS:
            raise ValueError(f"the histogram of waiting times has {_BUCKETS} buckets")

    @classmethod
    def take(cls, counters: Counters, pid: int, **others: Any) -> "Snapshot":  # noqa: ANN401 (the fields above)
        """Copy the counters of the process `pid`; `others` are the remaining fields by name."""
        return cls(
            pid=pid,
            answers=Counter(counters.answers),
            attempts=Counter(counters.attempts),
            waited=tuple(counters.waited),
            waited_seconds=counters.waited_seconds,
            evicted=counters.evicted,
            refused=counters.refused,
            **others,
        )
