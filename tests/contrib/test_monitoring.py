"""Alert rules, dashboard and docs/metrics.md use the metrics that the daemon really has."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from postfix_mta_sts.admin.metrics import render
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import parse
from postfix_mta_sts.network.dns import FAILURES_LIMIT
from postfix_mta_sts.stats import Counters, FleetNumbers, Snapshot
from postfix_mta_sts.stats.labels import Stage
from postfix_mta_sts.store import Overview
from tests.support.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "contrib/prometheus"
RULES = PROMETHEUS / "postfix-mta-sts.rules.yml"
DASHBOARD = ROOT / "contrib/grafana/postfix-mta-sts.json"
PAGE = (ROOT / "docs/metrics.md").read_text("utf-8")
JOB = "postfix-mta-sts"
PREFIX = "postfix_mta_sts_"

# The part of PromQL that we use: the name of a metric, with or without matchers.
METRIC = re.compile(r"\b(up|ALERTS|process_\w+|postfix_mta_sts_\w+)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")


class Series(NamedTuple):
    """A series as Prometheus stores it after a scrape."""

    name: str
    labels: dict[str, str]


def samples() -> Iterator[Sample]:
    """All samples of a daemon."""
    counters = Counters()
    counters.attempts[Stage.DANE, "success"] = 1
    snapshot = Snapshot.take(counters, os.getpid(), fleet=FleetNumbers(is_on=True))
    text = render(snapshot, Overview({}, 1.0)).decode()
    for family in text_string_to_metric_families(text):
        yield from family.samples


def stored_series() -> Iterator[Series]:
    """The series that Prometheus stores, including those that it adds itself."""
    target = {"job": JOB, "instance": "relay"}
    yield Series("up", target)
    for sample in samples():
        yield Series(sample.name, sample.labels | target)


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    return list(json.loads(DASHBOARD.read_text("utf-8"))["panels"])


def panel_queries() -> list[str]:
    """The queries of the panels, with Grafana's variables replaced."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [e.replace("$__rate_interval", "1m").replace("$instance", ".*") for e in asked]


def page_queries() -> list[str]:
    """The queries that the page suggests."""
    return re.findall(r"^    ((?:sum|histogram_quantile)\b.*)$", PAGE, re.MULTILINE)


QUERIES = [*(rule["expr"] for rule in rules()), *panel_queries(), *page_queries()]


def fits(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    """Whether a selector selects a series; a missing label does not match."""
    for name, operator, value in matchers:
        pattern = value if "~" in operator else re.escape(value)
        found = re.fullmatch(pattern, labels[name]) if name in labels else None
        if bool(found) == operator.startswith("!"):
            return False
    return True


def test_queries() -> None:
    """There are queries of each kind."""
    assert len(rules()) > 10
    assert len(panel_queries()) > 20
    assert len(page_queries()) > 3


@pytest.mark.parametrize("query", QUERIES)
def test_selects_something(query: str) -> None:
    """Each selector matches series of the daemon by name, labels and values."""
    selectors = METRIC.findall(query)
    assert selectors
    for name, matchers in selectors:
        matching = MATCHER.findall(matchers)
        assert [s for s in stored_series() if s.name == name and fits(s.labels, matching)], name


@pytest.mark.parametrize("query", QUERIES)
def test_grouping_labels_exist(query: str) -> None:
    """A query groups only by labels of its metrics."""
    names = {name for name, _ in METRIC.findall(query)}
    labels = {label for s in stored_series() if s.name in names for label in s.labels}
    grouped = {name.strip() for group in GROUPING.findall(query) for name in group.split(",")}
    assert grouped <= labels


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_legends(panel: dict[str, Any]) -> None:
    """A legend names only labels of the metrics of its panel."""
    for target in panel["targets"]:
        names = {name for name, _ in METRIC.findall(target["expr"])}
        labels = {label for s in stored_series() if s.name in names for label in s.labels}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_panels_have_their_places() -> None:
    """No panel overlaps another one; ids are unique."""
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels())
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares))
    assert all(x < 24 for x, _ in squares)
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_runbook(rule: dict[str, Any]) -> None:
    """Each alert has a section on the page, which says if it is critical."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/metrics.md"
    assert anchor == rule["alert"].lower()
    found = re.search(rf"^### {rule['alert']}\n(.*)", PAGE, re.MULTILINE)
    assert found
    assert (rule["labels"]["severity"] == "critical") == found[1].startswith("Critical. ")


def test_page_has_no_other_alerts() -> None:
    """Every section about an alert has its rule."""
    explained = re.findall(r"^### (Postfix\w+)$", PAGE, re.MULTILINE)
    assert explained == [rule["alert"] for rule in rules()]


def test_page_has_all_metrics_and_no_others() -> None:
    """The page lists each metric with its type and labels, and no others."""
    documented = {
        (row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3])))
        for row in re.finditer(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    snapshot = Snapshot(pid=os.getpid(), fleet=FleetNumbers(is_on=True))
    text = render(snapshot, Overview({}, 1.0)).decode()
    rendered = set()
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        name = family.name.removeprefix(PREFIX) + suffix
        rendered.add((name, family.type, frozenset(labels)))
    assert documented == rendered


def test_page_has_all_values() -> None:
    """The page explains each label value, except numbers and versions."""
    free = {"le", "version", "python"}
    values = {v for s in samples() for name, v in s.labels.items() if name not in free and v}
    assert values
    assert {value for value in values if f"`{value}`" not in PAGE} == set()


def test_page_has_all_reasons() -> None:
    """The table of reasons lists all reasons with their stages."""
    stage, documented = "", set()
    section = PAGE.partition("### Reasons")[2].partition("## Alerts")[0]
    for row in re.finditer(r"^\| (?:`(\w+)`)? ?\| `([\w-]+)` \|", section, re.MULTILINE):
        stage = row[1] or stage
        documented.add((stage, row[2]))
    labels = [sample.labels for sample in samples()]
    rendered = {(found["stage"], found["reason"]) for found in labels if found.get("reason")}
    assert documented == rendered


def test_page_has_the_limit_of_unanswered_queries() -> None:
    """The page has the number of unanswered queries after which the DNS is failing."""
    assert f"the last {FAILURES_LIMIT} queries" in PAGE


def test_addresses() -> None:
    """The configuration on the page is valid; Prometheus scrapes its address."""
    written = re.search(r"^    metrics:\n      listen: .*$", PAGE, re.MULTILINE)
    assert written
    address = parse(written[0].replace("\n    ", "\n").lstrip(), "page").metrics.listen
    assert isinstance(address, TcpAddress)
    assert PAGE.count(f"curl http://{address}/") == 3
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == JOB
    assert job["static_configs"] == [{"targets": [str(address)]}]


def promtool(*words: str | Path, folder: Path = PROMETHEUS) -> str:
    """Run promtool, which must succeed, and return its output."""
    asked = [program("promtool"), *words]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_configuration() -> None:
    """Promtool accepts the example configuration and its rules."""
    assert f"{len(rules())} rules found" in promtool("check", "config", "prometheus.yml")


def test_promtool_fires_the_alerts() -> None:
    """Each alert fires when it should, and none fires when everything works."""
    tests = yaml.safe_load((PROMETHEUS / "postfix-mta-sts.test.yml").read_text("utf-8"))["tests"]
    tested = {case["alertname"] for test in tests for case in test.get("alert_rule_test", [])}
    assert tested == {rule["alert"] for rule in rules()}
    assert "SUCCESS" in promtool("test", "rules", "postfix-mta-sts.test.yml")


def test_promtool_takes_the_panels(tmp_path: Path) -> None:
    """The queries of the dashboard and the page are valid PromQL."""
    asked = [*panel_queries(), *page_queries()]
    recorded = [{"record": f"query:{n}", "expr": expr} for n, expr in enumerate(asked)]
    group = {"groups": [{"name": "queries", "rules": recorded}]}
    (tmp_path / "rules.yml").write_text(json.dumps(group))  # JSON is YAML
    assert f"{len(asked)} rules found" in promtool("check", "rules", "rules.yml", folder=tmp_path)
