"""What this process has done since it began, in numbers that only grow.

Border: whoever does something counts it here, by plain addition; who reads it, and in which form,
`metrics` and `control` know. The sets of labels are fixed, so that no name from the network is
ever one.
"""

from bisect import bisect_left
from collections import Counter
from enum import StrEnum
from typing import Final


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
