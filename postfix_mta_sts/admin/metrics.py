"""Render counters and gauges in the text format of Prometheus.

This module defines the names, units and labels of the metrics. `docs/metrics.md` explains them;
`contrib/prometheus` and `contrib/grafana` use them. The values of labels come from fixed sets: no
domain, no address and no text from the network is ever one.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, product
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    MtaStsError,
    NoRecordError,
    OwnFaultError,
)
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import SUCCESS, WAITED_BOUNDS, Answer, Part, Snapshot, Source, Stage
from postfix_mta_sts.store import Overview

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_PREFIX: Final = "postfix_mta_sts_"
_BOUNDS: Final = [*(f"{float(bound):g}" for bound in WAITED_BOUNDS), "+Inf"]


def render(snapshot: Snapshot, stored: Overview) -> bytes:
    """Render all metrics as text of type `CONTENT_TYPE`.

    This reads /proc of the process `snapshot.pid`.
    """
    return generate_latest(_Families(snapshot, stored))


class _Families(NamedTuple):
    """A collector of `prometheus_client`."""

    snapshot: Snapshot
    stored: Overview

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        yield _build_info()
        for spec in _METRICS:
            yield spec.family(self.snapshot)
        yield _waits(self.snapshot)
        yield from _policies(self.stored)
        yield from ProcessCollector(pid=lambda: self.snapshot.pid, registry=None).collect()


_Values = Iterable[tuple[tuple[str, ...], float]]
"""The label values and the value of each series."""


class _MetricSpec(NamedTuple):
    """The definition of a counter or gauge."""

    metric: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    help: str
    labels: tuple[str, ...]
    values: Callable[[Snapshot], _Values]

    def family(self, snapshot: Snapshot) -> Metric:
        """Return the metric family for `prometheus_client`."""
        family = self.metric(_PREFIX + self.name, self.help, labels=self.labels)
        for labels, number in self.values(snapshot):
            family.add_metric(labels, number)
        return family


def _single(number: float) -> _Values:
    return [((), number)]


def _answers(snapshot: Snapshot) -> _Values:
    # Each series exists from the start: `rate` and `increase` do not see the first event otherwise.
    return [(pair, snapshot.answers[pair]) for pair in product(Answer, Source)]


def _attempts(snapshot: Snapshot) -> _Values:
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

_METRICS: Final = (
    _MetricSpec(
        CounterMetricFamily,
        "lookups",
        "Look-ups that were answered.",
        ("answer", "source"),
        _answers,
    ),
    _MetricSpec(
        CounterMetricFamily,
        "attempts",
        "Steps of attempts that ended.",
        ("stage", "outcome", "reason"),
        _attempts,
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "attempts_under_way",
        "Attempts that have started and not ended.",
        (),
        lambda snapshot: _single(snapshot.under_way),
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "tasks",
        "Tasks of the event loop, including the one that counts them.",
        (),
        lambda snapshot: _single(snapshot.tasks),
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "connections",
        "Open connections of Postfix.",
        (),
        lambda snapshot: _single(snapshot.connections),
    ),
    _MetricSpec(
        CounterMetricFamily,
        "malformed_requests",
        "Malformed requests; their connections were closed.",
        (),
        lambda snapshot: _single(snapshot.refused),
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "memory_entries",
        "Entries in memory: states of domains, and replies.",
        ("kind",),
        lambda snapshot: [(("domain",), snapshot.domains), (("reply",), snapshot.replies)],
    ),
    _MetricSpec(
        CounterMetricFamily,
        "memory_evictions",
        "Domains evicted from memory because it was full.",
        (),
        lambda snapshot: _single(snapshot.evicted),
    ),
    _MetricSpec(
        CounterMetricFamily,
        "store_failures",
        "Operations that the store failed to carry out.",
        (),
        lambda snapshot: _single(snapshot.store_failures),
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "store_unwritten_policies",
        "Policies that are in memory and not, or not yet, in the store.",
        (),
        lambda snapshot: _single(snapshot.unwritten),
    ),
    _MetricSpec(
        CounterMetricFamily,
        "store_lost",
        "Entries never written to the store, because it failed for too long.",
        ("kind",),
        lambda snapshot: [(("policy",), snapshot.policies_lost), (("asked",), snapshot.asked_lost)],
    ),
    _MetricSpec(
        CounterMetricFamily,
        "log_lines_dropped",
        "Lines of the daemon's process that are missing in the log.",
        ("kind",),
        lambda snapshot: [
            (("unwritten",), snapshot.log_lines_unwritten),
            (("left_out",), snapshot.log_lines_left_out),
        ],
    ),
    _MetricSpec(
        CounterMetricFamily,
        "network_process_restarts",
        "Starts of the network process because the one before had ended or was not usable.",
        (),
        lambda snapshot: _single(snapshot.network_restarts),
    ),
    _MetricSpec(
        GaugeMetricFamily,
        "working",
        "Whether a part worked when it was last needed: 1 or 0.",
        ("part",),
        lambda snapshot: [((part,), float(part not in snapshot.failing)) for part in Part],
    ),
)


def _build_info() -> Metric:
    info = {"version": __version__, "python": platform.python_version()}
    return InfoMetricFamily(_PREFIX + "build", "Version of the daemon and of Python.", info)


def _waits(snapshot: Snapshot) -> Metric:
    family = HistogramMetricFamily(
        _PREFIX + "lookup_wait_seconds",
        "Waiting time of look-ups for the store or the network; those from memory do not count.",
        labels=(),
    )
    buckets = list(zip(_BOUNDS, accumulate(snapshot.waited), strict=True))
    family.add_metric((), buckets, snapshot.waited_seconds)
    return family


def _policies(stored: Overview) -> Iterator[Metric]:
    by_mode = GaugeMetricFamily(
        _PREFIX + "policies", "Stored policies that have not expired.", labels=("mode",)
    )
    for mode in Mode:
        by_mode.add_metric((mode,), stored.by_mode.get(mode, 0))
    yield by_mode
    oldest = GaugeMetricFamily(
        _PREFIX + "oldest_fetch_timestamp_seconds",
        "Fetch time of the policy in use that is due for renewal first.",
    )
    if stored.oldest_fetched_at is not None:
        oldest.add_metric((), stored.oldest_fetched_at)
    yield oldest
