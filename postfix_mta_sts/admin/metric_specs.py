"""The counters and gauges of the daemon: names, labels, and where their values are.

`docs/metrics.md` explains them; `contrib/prometheus` and `contrib/grafana` use them. The values of
labels come from fixed sets: no domain, no address and no text from the network is ever one.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Final, NamedTuple, TypeAlias

from postfix_mta_sts.mtasts.check import CheckResult
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    MtaStsError,
    NoRecordError,
    OwnFaultError,
)
from postfix_mta_sts.mtasts.weakening import WeakeningKind
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import (
    SUCCESS,
    AlertResult,
    Answer,
    Part,
    Purpose,
    Source,
    Stage,
    TlsrptResult,
)

Values: TypeAlias = Iterable[tuple[tuple[str, ...], float]]
"""The label values and the value of each series."""


class MetricKind(enum.Enum):
    """What a metric is for Prometheus."""

    COUNTER = enum.auto()
    GAUGE = enum.auto()


class MetricSpec(NamedTuple):
    """The definition of a counter or gauge."""

    kind: MetricKind
    name: str
    help: str
    labels: tuple[str, ...]
    values: Callable[[Snapshot], Values]


def single(number: float) -> Values:
    """Return the value of a metric without labels."""
    return [((), number)]


def _known(number: float | None) -> Values:
    return () if number is None else single(number)


def _answers(snapshot: Snapshot) -> Values:
    # Each series exists from the start: `rate` and `increase` do not see the first event otherwise.
    return [(pair, snapshot.answers[pair]) for pair in product(Answer, Source)]


def _attempts(snapshot: Snapshot) -> Values:
    steps = dict.fromkeys(_STEPS, 0) | snapshot.attempts
    return [((stage, *_outcome(code)), number) for (stage, code), number in steps.items()]


def _outcome(code: str) -> tuple[str, str]:
    """Return outcome and reason. A missing record is an answer, not a failure."""
    if code == SUCCESS:
        return "success", ""
    return "absent" if code == NoRecordError.code else "failure", code


def _codes(root: type[MtaStsError]) -> Iterator[str]:
    """Yield the error codes of all subclasses."""
    for error in root.__subclasses__():
        yield error.code
        yield from _codes(error)


_OWN: Final = (Stage.OWN, OwnFaultError.code)
_STEPS: Final = (
    *((Stage.DNS, code) for code in (SUCCESS, *_codes(DiscoveryError)) if code != _OWN[1]),
    *((Stage.HTTPS, code) for code in (SUCCESS, DnsFailureError.code, *_codes(FetchError))),
    *((Stage.DANE, code) for code in (SUCCESS, DnsFailureError.code)),
    _OWN,
)

METRICS: Final = (
    MetricSpec(
        MetricKind.COUNTER,
        "lookups",
        "Look-ups that were answered.",
        ("answer", "source"),
        _answers,
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "attempts",
        "Steps of attempts that ended.",
        ("stage", "outcome", "reason"),
        _attempts,
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "attempts_under_way",
        "Attempts that have started and not ended.",
        (),
        lambda snapshot: single(snapshot.under_way),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "tasks",
        "Tasks of the event loop, including the one that counts them.",
        (),
        lambda snapshot: single(snapshot.tasks),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "connections",
        "Open connections of Postfix.",
        (),
        lambda snapshot: single(snapshot.connections),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "malformed_requests",
        "Malformed requests; their connections were closed.",
        (),
        lambda snapshot: single(snapshot.refused),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "weakenings",
        "Events: the protection of a domain became weaker.",
        ("kind",),
        lambda snapshot: [((kind,), snapshot.weakenings[kind]) for kind in WeakeningKind],
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "alerts",
        "Events that were for alerts.command.",
        ("result",),
        lambda snapshot: [((result,), snapshot.alerts[result]) for result in AlertResult],
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "tlsrpt_sessions",
        "Look-ups that were to be told to the collector of TLS reports.",
        ("result",),
        lambda snapshot: [((result,), snapshot.tlsrpt[result]) for result in TlsrptResult],
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "memory_entries",
        "Entries in memory: states of domains, and replies.",
        ("kind",),
        lambda snapshot: [(("domain",), snapshot.domains), (("reply",), snapshot.replies)],
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "memory_evictions",
        "Domains evicted from memory because it was full.",
        (),
        lambda snapshot: single(snapshot.evicted),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "store_failures",
        "Operations that the store failed to carry out.",
        (),
        lambda snapshot: single(snapshot.store_failures),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "store_unwritten_policies",
        "Policies that are in memory and not, or not yet, in the store.",
        (),
        lambda snapshot: single(snapshot.unwritten),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "store_lost",
        "Entries never written to the store, because it failed for too long.",
        ("kind",),
        lambda snapshot: [
            (("policy",), snapshot.policies_lost),
            (("asked",), snapshot.asked_lost),
            (("record",), snapshot.records_lost),
        ],
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "log_lines_dropped",
        "Lines of the daemon's process that are missing in the log.",
        ("kind",),
        lambda snapshot: [
            (("unwritten",), snapshot.log_lines_unwritten),
            (("left_out",), snapshot.log_lines_left_out),
        ],
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "network_process_restarts",
        "Starts of the network process because the one before had ended or was not usable.",
        (),
        lambda snapshot: single(snapshot.network_restarts),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "checks",
        "Checks of the mail servers of domains that were made.",
        ("purpose", "result"),
        lambda snapshot: [(pair, snapshot.checks[pair]) for pair in product(Purpose, CheckResult)],
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "checks_waiting",
        "Domains that wait for a check of their mail servers.",
        (),
        lambda snapshot: single(snapshot.checks_waiting),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "checks_left_out",
        "Checks that were due and not queued, because of a limit.",
        (),
        lambda snapshot: single(snapshot.checks_left_out),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "exceptions",
        "Exceptions in force.",
        ("use",),
        lambda snapshot: [((use,), n) for use, n in snapshot.exceptions.by_use.items()],
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "exceptions_ending",
        "Exceptions in force that end within this time, without those added within it.",
        ("within",),
        lambda snapshot: [
            (("7d",), snapshot.exceptions.ending_in_a_week),
            (("1d",), snapshot.exceptions.ending_in_a_day),
        ],
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "exceptions_next_end_timestamp_seconds",
        "When the next exception ends; missing if none does.",
        (),
        lambda snapshot: _known(snapshot.exceptions.next_end),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "working",
        "Whether a part worked when it was last needed: 1 or 0.",
        ("part",),
        lambda snapshot: [((part,), float(part not in snapshot.failing)) for part in Part],
    ),
)
