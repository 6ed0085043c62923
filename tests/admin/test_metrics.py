"""The text for Prometheus, checked by its own parser and by promtool."""

import os
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.metrics import CONTENT_TYPE, render
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import Counters, FleetNumbers, Snapshot
from postfix_mta_sts.stats.labels import (
    SUCCESS,
    Answer,
    FleetClaim,
    FleetLook,
    FleetOutcome,
    FleetRequest,
    Part,
    Source,
    Stage,
)
from postfix_mta_sts.store import Overview
from tests.support.programs import program

NOTHING = Overview({}, None)
PID = os.getpid()


def scraped(snapshot: Snapshot, stored: Overview = NOTHING) -> dict[str, float]:
    """Rendered values by `name{label="value",…}`, with sorted labels and without empty ones."""
    families = text_string_to_metric_families(render(snapshot, stored).decode())
    found = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = sorted((name, value) for name, value in sample.labels.items() if value)
        labeled = ",".join(f'{name}="{value}"' for name, value in labels)
        series = f"{sample.name}{{{labeled}}}" if labeled else sample.name
        assert series not in found
        found[series] = sample.value
    return found


def busy() -> Snapshot:
    """Counters and gauges that are not 0."""
    counters = Counters()
    counters.answers[Answer.FOUND, Source.MEMORY] = 11
    counters.attempts[Stage.DNS, SUCCESS] = 12
    counters.attempts[Stage.DNS, "no-record"] = 13
    counters.attempts[Stage.HTTPS, "certificate"] = 14
    counters.attempts[Stage.HTTPS, "dns-failure"] = 29
    counters.attempts[Stage.DANE, "dns-failure"] = 25
    for seconds in (0.0002, 0.3, 200.0):
        counters.count_wait(seconds)
    counters.evicted, counters.refused = 15, 16
    return Snapshot.take(
        counters,
        PID,
        failing=frozenset([Part.STORE_WRITING]),
        store_failures=17,
        policies_lost=18,
        asked_lost=19,
        records_lost=32,
        domains=20,
        replies=21,
        under_way=22,
        connections=23,
        unwritten=24,
        tasks=26,
        log_lines_unwritten=27,
        log_lines_left_out=28,
    )


@pytest.mark.parametrize(
    ("series", "value"),
    [
        ('lookups_total{answer="found",source="memory"}', 11),
        ('attempts_total{outcome="success",stage="dns"}', 12),
        ('attempts_total{outcome="absent",reason="no-record",stage="dns"}', 13),
        ('attempts_total{outcome="failure",reason="certificate",stage="https"}', 14),
        ('attempts_total{outcome="failure",reason="dns-failure",stage="https"}', 29),
        ('attempts_total{outcome="failure",reason="dns-failure",stage="dane"}', 25),
        ('attempts_total{outcome="success",stage="dane"}', 0),
        ("memory_evictions_total", 15),
        ("malformed_requests_total", 16),
        ("store_failures_total", 17),
        ('store_lost_total{kind="policy"}', 18),
        ('store_lost_total{kind="asked"}', 19),
        ('store_lost_total{kind="record"}', 32),
        ('memory_entries{kind="domain"}', 20),
        ('memory_entries{kind="reply"}', 21),
        ("attempts_under_way", 22),
        ("connections", 23),
        ("tasks", 26),
        ("store_unwritten_policies", 24),
        ('log_lines_dropped_total{kind="unwritten"}', 27),
        ('log_lines_dropped_total{kind="left_out"}', 28),
        ('working{part="store_writing"}', 0),
        ('working{part="store_reading"}', 1),
        ('working{part="dns"}', 1),
    ],
)
def test_values(series: str, value: float) -> None:
    """Each counter and gauge has its series."""
    assert scraped(busy())[f"postfix_mta_sts_{series}"] == value


def test_waits() -> None:
    """Waiting times are a histogram with cumulative buckets."""
    found = scraped(busy())
    name = "postfix_mta_sts_lookup_wait_seconds"
    expected = {"0.001": 1, "0.25": 1, "0.5": 2, "90": 2, "+Inf": 3}
    assert {le: found[f'{name}_bucket{{le="{le}"}}'] for le in expected} == expected
    assert found[f"{name}_count"] == 3
    assert found[f"{name}_sum"] == pytest.approx(200.3002)


def test_series_at_the_start() -> None:
    """All series exist at the start, so that the first event is an increase."""
    new, old = (set(scraped(snapshot)) for snapshot in (Snapshot(pid=PID), busy()))
    assert new == old
    assert sum(series.startswith("postfix_mta_sts_lookups_total{") for series in new) == 15


def test_reasons_are_codes() -> None:
    """Every reason is an error code, so nothing from the network can become a label value."""

    def codes(root: type[MtaStsError]) -> set[str]:
        return {root.__dict__.get("code", "")}.union(*map(codes, root.__subclasses__()))

    families = text_string_to_metric_families(render(busy(), NOTHING).decode())
    samples = [sample for family in families for sample in family.samples]
    reasons = {sample.labels["reason"] for sample in samples if "reason" in sample.labels}
    assert reasons <= codes(MtaStsError)
    assert "timeout" in reasons


class TestFleet:
    """What a relay with a shared store counts."""

    def test_values(self) -> None:
        """Each counter and gauge has its series."""
        counters = Counters()
        counters.fleet_requests[FleetRequest.LOOK, FleetOutcome.ANSWERED] = 3
        counters.fleet_requests[FleetRequest.CLAIM, FleetOutcome.SKIPPED] = 2
        counters.fleet_looks[FleetLook.ADOPTED] = 1
        counters.fleet_claims[FleetClaim.IN_VAIN] = 4
        counters.fleet_seconds = 0.5
        numbers = FleetNumbers(
            is_on=True, problem="refused", is_asked=False, waiting=7, exceptions_version=9
        )
        found = scraped(Snapshot.take(counters, PID, fleet=numbers))
        expected = {
            "up": 0,
            "breaker_open": 1,
            'requests_total{outcome="answered",request="look"}': 3,
            'requests_total{outcome="skipped",request="claim"}': 2,
            'requests_total{outcome="failed",request="find_due"}': 0,
            'looks_total{result="adopted"}': 1,
            'claims_total{result="in_vain"}': 4,
            "look_seconds_sum": 0.5,
            "look_seconds_count": 3,
            "waiting_policies": 7,
            "exceptions_version": 9,
        }
        assert {name: found[f"postfix_mta_sts_fleet_{name}"] for name in expected} == expected

    def test_none(self) -> None:
        """A relay without a shared store has no series of one; the part counts as working."""
        found = scraped(Snapshot(pid=PID))
        assert not any("_fleet_" in series for series in found)
        assert found['postfix_mta_sts_working{part="fleet"}'] == 1


def test_process() -> None:
    """The process has the metrics that Prometheus clients agree on."""
    assert scraped(busy())["process_resident_memory_bytes"] > 0


def test_stored() -> None:
    """Stored policies by mode, and the fetch time of the one that is due first."""
    found = scraped(busy(), Overview({Mode.ENFORCE: 5, Mode.NONE: 1}, 1234567890.5))
    expected = {"enforce": 5, "testing": 0, "none": 1}
    for mode, number in expected.items():
        assert found[f'postfix_mta_sts_policies{{mode="{mode}"}}'] == number
    assert found["postfix_mta_sts_oldest_fetch_timestamp_seconds"] == 1234567890.5


def test_no_policy() -> None:
    """Without a stored policy there is no oldest one."""
    assert not any("oldest" in series for series in scraped(busy()))


def test_build() -> None:
    """The version of the daemon."""
    (series,) = (name for name in scraped(busy()) if "build_info" in name)
    assert f'version="{__version__}"' in series


def test_content_type() -> None:
    """The media type is one that every version of Prometheus reads."""
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_promtool() -> None:
    """Promtool has no objection to names, units and help texts."""
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=render(busy(), Overview({}, 1e9)),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
