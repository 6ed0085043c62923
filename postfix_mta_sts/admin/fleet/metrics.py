"""The counters and gauges of a relay that shares a store; see `metric_specs`."""

from collections.abc import Callable
from itertools import product
from typing import Final

from postfix_mta_sts.admin.metric_specs import MetricKind, MetricSpec, Values, single
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import FleetClaim, FleetLook, FleetOutcome, FleetRequest


def _in_fleet(values: Callable[[Snapshot], Values]) -> Callable[[Snapshot], Values]:
    """The values of a metric that only a relay with a shared store has."""
    return lambda snapshot: values(snapshot) if snapshot.fleet.is_on else ()


FLEET_METRICS: Final = (
    MetricSpec(
        MetricKind.GAUGE,
        "fleet_up",
        "Whether the shared store works, and takes what is written: 1 or 0.",
        (),
        _in_fleet(lambda snapshot: single(not snapshot.fleet.problem)),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "fleet_breaker_open",
        "Whether the breaker is open, so that the shared store is not asked: 1 or 0.",
        (),
        _in_fleet(lambda snapshot: single(not snapshot.fleet.is_asked)),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "fleet_requests",
        "Requests to the shared store.",
        ("request", "outcome"),
        _in_fleet(
            lambda snapshot: [
                (pair, snapshot.fleet_requests[pair])
                for pair in product(FleetRequest, FleetOutcome)
            ]
        ),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "fleet_looks",
        "What attempts found in the shared store.",
        ("result",),
        _in_fleet(lambda snapshot: [((each,), snapshot.fleet_looks[each]) for each in FleetLook]),
    ),
    MetricSpec(
        MetricKind.COUNTER,
        "fleet_claims",
        "How waits for the lease of a domain ended.",
        ("result",),
        _in_fleet(lambda snapshot: [((each,), snapshot.fleet_claims[each]) for each in FleetClaim]),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "fleet_waiting_policies",
        "Policies that were not given to the shared store yet.",
        (),
        _in_fleet(lambda snapshot: single(snapshot.fleet.waiting)),
    ),
    MetricSpec(
        MetricKind.GAUGE,
        "fleet_exceptions_version",
        "Version of the document of exceptions that this relay has; 0: none.",
        (),
        _in_fleet(lambda snapshot: single(snapshot.fleet.exceptions_version)),
    ),
)
