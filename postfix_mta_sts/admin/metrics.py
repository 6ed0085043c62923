"""Figures → what Prometheus scrapes.

Border: names, units and labels of the metrics, which `docs/metrics.md` explains and
`contrib/prometheus` and `contrib/grafana` use; the one place that knows `prometheus_client`. The
values of labels come from fixed sets: no domain, no address, no text from the network is ever one.

Each worker has series of its own: were they added up, one worker that begins anew would look as
though all counters had.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
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


def render(workers: Mapping[int, Snapshot], on_file: Overview) -> bytes:
    """All metrics in the text format of Prometheus, with which `CONTENT_TYPE` goes.

    `workers`: the figures of each process by its index; one that serves alone is 0. Those that
    do not answer are left out. Reads /proc: some system calls for each process.
    """
    return generate_latest(_Families(dict(sorted(workers.items())), on_file))


class _Families(NamedTuple):
    """What `prometheus_client` calls a collector."""

    workers: Mapping[int, Snapshot]
    on_file: Overview

    def collect(self) -> Iterator[Metric]:
        """All families, one after the other."""
        yield _build_info()
        for kind in _KINDS:
            yield kind.family(self.workers)
        yield _waits(self.workers)
        yield from _policies(self.on_file)
        yield from _processes(self.workers)


_Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of a kind's labels, and the number that stands there."""


class _Kind(NamedTuple):
    """A family in which each worker has its series."""

    metric: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    meaning: str
    labels: tuple[str, ...]
    values: Callable[[Snapshot], _Values]

    def family(self, workers: Mapping[int, Snapshot]) -> Metric:
        """The family, for `prometheus_client`."""
        family = self.metric(_PREFIX + self.name, self.meaning, labels=("worker", *self.labels))
        for index, snapshot in workers.items():
            for labels, number in self.values(snapshot):
                family.add_metric((str(index), *labels), number)
        return family


def _one(number: float) -> _Values:
    return [((), number)]


def _answers(snapshot: Snapshot) -> _Values:
    # A series is there from the beginning, else its first event would be no increase of it.
    return [(pair, snapshot.answers[pair]) for pair in product(Answer, Source)]


def _attempts(snapshot: Snapshot) -> _Values:
    steps = dict.fromkeys(_STEPS, 0) | snapshot.attempts
    return [((stage, *_outcome(code)), number) for (stage, code), number in steps.items()]


def _outcome(code: str) -> tuple[str, str]:
    """Outcome and reason: that there is no record is an answer, and no failure."""
    if code == SUCCESS:
        return "success", ""
    return "absent" if code == NoRecordError.code else "failure", code


def _codes(root: type[MtaStsError]) -> Iterator[str]:
    """The codes of the leaves of a tree of errors."""
    for error in root.__subclasses__():
        yield error.code
        yield from _codes(error)


_OWN: Final = (Stage.OWN, OwnFaultError.code)
_STEPS: Final = (
    *((Stage.DNS, code) for code in (SUCCESS, *_codes(DiscoveryError)) if code != _OWN[1]),
    *((Stage.HTTPS, code) for code in (SUCCESS, *_codes(FetchError))),
    *((Stage.DANE, code) for code in (SUCCESS, DnsFailureError.code)),
    _OWN,
)

_KINDS: Final = (
    _Kind(
        CounterMetricFamily,
        "lookups",
        "Look-ups that were answered.",
        ("answer", "source"),
        _answers,
    ),
    _Kind(
        CounterMetricFamily,
        "attempts",
        "Steps of attempts to find a policy that ended.",
        ("stage", "outcome", "reason"),
        _attempts,
    ),
    _Kind(
        GaugeMetricFamily,
        "attempts_under_way",
        "Attempts that have begun and not ended.",
        (),
        lambda snapshot: _one(snapshot.under_way),
    ),
    _Kind(
        GaugeMetricFamily,
        "tasks",
        "Tasks of the event loop, with the one that counts them.",
        (),
        lambda snapshot: _one(snapshot.tasks),
    ),
    _Kind(
        GaugeMetricFamily,
        "connections",
        "Connections of Postfix that are open.",
        (),
        lambda snapshot: _one(snapshot.connections),
    ),
    _Kind(
        CounterMetricFamily,
        "malformed_requests",
        "Requests that were none; their connections were closed.",
        (),
        lambda snapshot: _one(snapshot.refused),
    ),
    _Kind(
        GaugeMetricFamily,
        "memory_entries",
        "What is kept in memory: the states of domains, and replies.",
        ("kind",),
        lambda snapshot: [(("domain",), snapshot.domains), (("reply",), snapshot.replies)],
    ),
    _Kind(
        CounterMetricFamily,
        "memory_evictions",
        "Domains that memory had no more room for.",
        (),
        lambda snapshot: _one(snapshot.evicted),
    ),
    _Kind(
        CounterMetricFamily,
        "store_failures",
        "Requests that the store failed to carry out.",
        (),
        lambda snapshot: _one(snapshot.store_failures),
    ),
    _Kind(
        GaugeMetricFamily,
        "store_unwritten_policies",
        "Policies that are in memory and not, or not yet, on file.",
        (),
        lambda snapshot: _one(snapshot.unwritten),
    ),
    _Kind(
        CounterMetricFamily,
        "store_lost",
        "What was never put on file, for the store failed too long.",
        ("kind",),
        lambda snapshot: [(("policy",), snapshot.policies_lost), (("asked",), snapshot.asked_lost)],
    ),
    _Kind(
        GaugeMetricFamily,
        "working",
        "Whether a part worked when it was last needed: 1 or 0.",
        ("part",),
        lambda snapshot: [((part,), float(not snapshot.failing[part])) for part in Part],
    ),
)


def _build_info() -> Metric:
    info = {"version": __version__, "python": platform.python_version()}
    return InfoMetricFamily(_PREFIX + "build", "What runs.", info)


def _waits(workers: Mapping[int, Snapshot]) -> Metric:
    family = HistogramMetricFamily(
        _PREFIX + "lookup_wait_seconds",
        "How long look-ups waited for the store or the network; those from memory do not.",
        labels=("worker",),
    )
    for index, snapshot in workers.items():
        buckets = list(zip(_BOUNDS, accumulate(snapshot.waited), strict=True))
        family.add_metric((str(index),), buckets, snapshot.waited_seconds)
    return family


def _policies(on_file: Overview) -> Iterator[Metric]:
    """What all workers have in common."""
    by_mode = GaugeMetricFamily(
        _PREFIX + "policies", "Policies on file that have not expired.", labels=("mode",)
    )
    for mode in Mode:
        by_mode.add_metric((mode,), on_file.by_mode.get(mode, 0))
    yield by_mode
    oldest = GaugeMetricFamily(
        _PREFIX + "oldest_fetch_timestamp_seconds",
        "When the policy was fetched, of those in use, that is unrefreshed for longest.",
    )
    if on_file.oldest_fetched_at is not None:
        oldest.add_metric((), on_file.oldest_fetched_at)
    yield oldest


def _processes(workers: Mapping[int, Snapshot]) -> Iterable[Metric]:
    """What the kernel says of each process, under the names that Prometheus' clients agree on."""
    families: dict[str, Metric] = {}
    for index, pid in ((index, pid) for index, f in workers.items() for pid in f.pids):
        collector = ProcessCollector(pid=partial(int, pid), registry=None)
        for found in collector.collect():
            plain = Metric(found.name, found.documentation, found.type)
            family = families.setdefault(found.name, plain)
            for sample in found.samples:
                family.add_sample(sample.name, {"worker": str(index)}, sample.value)
    return families.values()
