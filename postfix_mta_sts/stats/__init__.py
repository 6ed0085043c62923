"""Counters and gauges of the daemon.

`Counters` only grow: each part of the daemon increments them. A `Snapshot` is the state of the
counters and gauges at one moment. `labels` has what they are counted by.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from postfix_mta_sts.mtasts.check import CheckResult
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.mtasts.weakening import WeakeningKind
from postfix_mta_sts.stats.labels import (
    AlertResult,
    Answer,
    FleetClaim,
    FleetLook,
    FleetOutcome,
    FleetRequest,
    Part,
    Purpose,
    Source,
    Stage,
    TlsrptResult,
)

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

    __slots__ = (
        "alerts",
        "answers",
        "attempts",
        "checks",
        "evicted",
        "fleet_claims",
        "fleet_looks",
        "fleet_requests",
        "fleet_seconds",
        "refused",
        "tlsrpt",
        "waited",
        "waited_seconds",
        "weakenings",
    )

    def __init__(self) -> None:
        self.answers: Counter[tuple[Answer, Source]] = Counter()
        """Look-ups that were answered."""
        self.attempts: Counter[tuple[Stage, str]] = Counter()
        """Steps of attempts, by `SUCCESS` or the code of the error."""
        self.checks: Counter[tuple[Purpose, CheckResult]] = Counter()
        """Checks of domains that were made."""
        self.waited = [0] * (len(WAITED_BOUNDS) + 1)
        """Look-ups that waited for the store or the network, by histogram bucket."""
        self.waited_seconds = 0.0
        self.evicted = 0
        """Domains evicted because the cache was full."""
        self.refused = 0
        """Malformed requests."""
        self.weakenings: Counter[WeakeningKind] = Counter()
        """Events: the protection of a domain became weaker."""
        self.alerts: Counter[AlertResult] = Counter()
        """Events that were for `alerts.command`."""
        self.tlsrpt: Counter[TlsrptResult] = Counter()
        """Look-ups that were to be reported to the collector of TLS reports."""
        self.fleet_requests: Counter[tuple[FleetRequest, FleetOutcome]] = Counter()
        self.fleet_seconds = 0.0
        """That the store took to answer requests of the kind `LOOK`, all together."""
        self.fleet_looks: Counter[FleetLook] = Counter()
        self.fleet_claims: Counter[FleetClaim] = Counter()

    def count_wait(self, seconds: float) -> None:
        """Count a look-up that waited this long."""
        self.waited[bisect_left(WAITED_BOUNDS, seconds)] += 1
        self.waited_seconds += seconds


_BUCKETS: Final = len(WAITED_BOUNDS) + 1


@dataclass(frozen=True, slots=True)
class ExceptionCounts:
    """Numbers of the exceptions in force."""

    by_use: Mapping[Use, int] = field(default_factory=lambda: dict.fromkeys(Use, 0))
    """Every use is a key, also with 0 exceptions."""
    ending_in_a_week: int = 0
    """Without those that were added for less than that; the same for `ending_in_a_day`."""
    ending_in_a_day: int = 0
    next_end: float | None = None
    """Epoch seconds; None: none of them ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNumbers:
    """What this relay has to do with the shared store; times are epoch seconds."""

    is_on: bool = False
    """Whether there is one; else the other fields say nothing."""
    problem: str = ""
    """Why it is not asked, or not written; empty: it works, or was not asked yet."""
    since: float | None = None
    """When it began to work, or not to; None: it was not asked yet."""
    is_asked: bool = True
    """Whether it is asked at present."""
    is_slow: bool = False
    """Whether look-ups do not ask it, because it takes too long for them."""
    waiting: int = 0
    """Policies that were not given to it yet."""
    exceptions_version: int = 0
    """Of the document of exceptions that this relay has; 0: none."""


_NO_FLEET: Final = FleetNumbers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters and gauges at one moment; see `Counters` for the fields that only grow."""

    pid: int

    answers: Counter[tuple[Answer, Source]] = field(default_factory=Counter)
    attempts: Counter[tuple[Stage, str]] = field(default_factory=Counter)
    checks: Counter[tuple[Purpose, CheckResult]] = field(default_factory=Counter)
    waited: tuple[int, ...] = (0,) * _BUCKETS
    waited_seconds: float = 0.0
    evicted: int = 0
    refused: int = 0
    weakenings: Counter[WeakeningKind] = field(default_factory=Counter)
    alerts: Counter[AlertResult] = field(default_factory=Counter)
    tlsrpt: Counter[TlsrptResult] = field(default_factory=Counter)
    fleet_requests: Counter[tuple[FleetRequest, FleetOutcome]] = field(default_factory=Counter)
    fleet_seconds: float = 0.0
    fleet_looks: Counter[FleetLook] = field(default_factory=Counter)
    fleet_claims: Counter[FleetClaim] = field(default_factory=Counter)
    store_failures: int = 0
    """Operations that the store failed to carry out."""
    policies_lost: int = 0
    """Policies that were never written to the store, because too many were waiting."""
    asked_lost: int = 0
    """Last-asked times that were never written to the store."""
    records_lost: int = 0
    """Checks and weakenings that were never written to the store."""

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
    checks_waiting: int = 0
    """Domains that wait for their check."""
    checks_left_out: int = 0
    """Checks that were due and not queued, because of a limit."""
    exceptions: ExceptionCounts = field(default_factory=ExceptionCounts)
    fleet: FleetNumbers = _NO_FLEET

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
            checks=Counter(counters.checks),
            waited=tuple(counters.waited),
            waited_seconds=counters.waited_seconds,
            evicted=counters.evicted,
            refused=counters.refused,
            weakenings=Counter(counters.weakenings),
            alerts=Counter(counters.alerts),
            tlsrpt=Counter(counters.tlsrpt),
            fleet_requests=Counter(counters.fleet_requests),
            fleet_seconds=counters.fleet_seconds,
            fleet_looks=Counter(counters.fleet_looks),
            fleet_claims=Counter(counters.fleet_claims),
            **others,
        )
