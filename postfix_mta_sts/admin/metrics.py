"""Render all metrics in the text format of Prometheus.

`metric_specs` and `fleet.metrics` define counters and gauges; what is neither is here.
"""

import platform
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.fleet.metrics import FLEET_METRICS
from postfix_mta_sts.admin.metric_specs import METRICS, MetricKind, MetricSpec
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import WAITED_BOUNDS, Snapshot
from postfix_mta_sts.stats.labels import FleetOutcome, FleetRequest
from postfix_mta_sts.store import Overview

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_PREFIX: Final = "postfix_mta_sts_"
_FAMILIES: Final[Mapping[MetricKind, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
}
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
        for spec in (*METRICS, *FLEET_METRICS):
            yield _family(spec, self.snapshot)
        yield _waits(self.snapshot)
        yield _fleet_looks(self.snapshot)
        yield from _policies(self.stored)
        yield from ProcessCollector(pid=lambda: self.snapshot.pid, registry=None).collect()


def _family(spec: MetricSpec, snapshot: Snapshot) -> Metric:
    family = _FAMILIES[spec.kind](_PREFIX + spec.name, spec.help, labels=spec.labels)
    for labels, number in spec.values(snapshot):
        family.add_metric(labels, number)
    return family


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


def _fleet_looks(snapshot: Snapshot) -> Metric:
    family = SummaryMetricFamily(
        _PREFIX + "fleet_look_seconds",
        "Time that the shared store took to answer looks at a policy.",
        labels=(),
    )
    if snapshot.fleet.is_on:
        answered = snapshot.fleet_requests[FleetRequest.LOOK, FleetOutcome.ANSWERED]
        family.add_metric((), answered, snapshot.fleet_seconds)
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
