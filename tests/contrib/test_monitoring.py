"""The alert rules, the dashboard and their page say what the daemon really shows."""

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
from postfix_mta_sts.network.dns import FAILURES_TOLD
from postfix_mta_sts.stats import Counters, Snapshot, Stage
from postfix_mta_sts.store import Overview
from tests.support.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "contrib/prometheus"
RULES = PROMETHEUS / "postfix-mta-sts.rules.yml"
DASHBOARD = ROOT / "contrib/grafana/postfix-mta-sts.json"
PAGE = (ROOT / "docs/metrics.md").read_text("utf-8")
JOB = "postfix-mta-sts"
PREFIX = "postfix_mta_sts_"

# PromQL, as far as we use it: a metric's name, with matchers or without.
METRIC = re.compile(r"\b(up|ALERTS|process_\w+|postfix_mta_sts_\w+)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")


class Shown(NamedTuple):
    """A series, as Prometheus has it after a scrape."""

    name: str
    labels: dict[str, str]


def samples() -> Iterator[Sample]:
    """All that a daemon can show."""
    counters = Counters()
    counters.attempts[Stage.DANE, "success"] = 1
    snapshot = Snapshot.taken(counters, os.getpid())
    text = render({0: snapshot, 1: snapshot}, Overview({}, 1.0)).decode()
    for family in text_string_to_metric_families(text):
        yield from family.samples


def shown() -> Iterator[Shown]:
    """The same as Prometheus has it, with what it adds by itself."""
    target = {"job": JOB, "instance": "relay"}
    yield Shown("up", target)
    for sample in samples():
        yield Shown(sample.name, sample.labels | target)


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    return list(json.loads(DASHBOARD.read_text("utf-8"))["panels"])


def panel_questions() -> list[str]:
    """What the panels ask, with Grafana's variables filled in."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [e.replace("$__rate_interval", "1m").replace("$instance", ".*") for e in asked]


def page_questions() -> list[str]:
    """What the page suggests to ask."""
    return re.findall(r"^    ((?:sum|histogram_quantile)\b.*)$", PAGE, re.MULTILINE)


QUESTIONS = [*(rule["expr"] for rule in rules()), *panel_questions(), *page_questions()]


def fits(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    """Whether a series is one that a selector selects; without a label it is not."""
    for name, operator, value in matchers:
        pattern = value if "~" in operator else re.escape(value)
        found = re.fullmatch(pattern, labels[name]) if name in labels else None
        if bool(found) == operator.startswith("!"):
            return False
    return True


def test_questions() -> None:
    """There is something to judge, of each kind."""
    assert len(rules()) > 10
    assert len(panel_questions()) > 20
    assert len(page_questions()) > 3


@pytest.mark.parametrize("question", QUESTIONS)
def test_selects_something(question: str) -> None:
    """Each selector finds series of the daemon, by name, labels and their values."""
    selectors = METRIC.findall(question)
    assert selectors
    for name, matchers in selectors:
        matching = MATCHER.findall(matchers)
        assert [s for s in shown() if s.name == name and fits(s.labels, matching)], name


@pytest.mark.parametrize("question", QUESTIONS)
def test_groups_by_what_is_there(question: str) -> None:
    """What a question groups by are labels of what it asks for."""
    names = {name for name, _ in METRIC.findall(question)}
    labels = {label for s in shown() if s.name in names for label in s.labels}
    grouped = {name.strip() for group in GROUPING.findall(question) for name in group.split(",")}
    assert grouped <= labels


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_legends(panel: dict[str, Any]) -> None:
    """What a legend names is a label of what the panel asks for."""
    for target in panel["targets"]:
        names = {name for name, _ in METRIC.findall(target["expr"])}
        labels = {label for s in shown() if s.name in names for label in s.labels}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_panels_have_their_places() -> None:
    """No panel lies over another, and none has another's number."""
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
    """Each alert has its place on the page, and the page says how bad it is."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/metrics.md"
    assert anchor == rule["alert"].lower()
    found = re.search(rf"^### {rule['alert']}\n(.*)", PAGE, re.MULTILINE)
    assert found
    assert (rule["labels"]["severity"] == "critical") == found[1].startswith("Critical. ")


def test_page_has_no_other_alerts() -> None:
    """What the page explains is an alert."""
    explained = re.findall(r"^### (Postfix\w+)$", PAGE, re.MULTILINE)
    assert explained == [rule["alert"] for rule in rules()]


def test_page_has_all_metrics_and_no_others() -> None:
    """Each metric stands on the page with its type and labels, and nothing else does."""
    documented = {
        (row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3])))
        for row in re.finditer(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    text = render({0: Snapshot(pids=frozenset([os.getpid()]))}, Overview({}, 1.0)).decode()
    rendered = set()
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        name = family.name.removeprefix(PREFIX) + suffix
        rendered.add((name, family.type, frozenset(labels)))
    assert documented == rendered


def test_page_has_all_values() -> None:
    """Each value that a label can have is explained, but for numbers and versions."""
    free = {"worker", "le", "version", "python"}
    values = {v for s in samples() for name, v in s.labels.items() if name not in free and v}
    assert values
    assert {value for value in values if f"`{value}`" not in PAGE} == set()


def test_page_has_all_reasons() -> None:
    """The table of reasons has those that are shown, each with its stage."""
    stage, documented = "", set()
    section = PAGE.partition("### Reasons")[2].partition("## Alerts")[0]
    for row in re.finditer(r"^\| (?:`(\w+)`)? ?\| `([\w-]+)` \|", section, re.MULTILINE):
        stage = row[1] or stage
        documented.add((stage, row[2]))
    labels = [sample.labels for sample in samples()]
    rendered = {(found["stage"], found["reason"]) for found in labels if found.get("reason")}
    assert documented == rendered


def test_page_says_when_the_dns_is_silent() -> None:
    """The page has the number of queries after which the DNS is called silent."""
    assert f"the last {FAILURES_TOLD} queries" in PAGE


def test_addresses() -> None:
    """The page's configuration is valid, and its address the one that Prometheus scrapes."""
    written = re.search(r"^    metrics:\n      listen: .*$", PAGE, re.MULTILINE)
    assert written
    address = parse(written[0].replace("\n    ", "\n").lstrip(), "page").metrics.listen
    assert isinstance(address, TcpAddress)
    assert PAGE.count(f"curl http://{address}/") == 3
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == JOB
    assert job["static_configs"] == [{"targets": [str(address)]}]


def promtool(*words: str | Path, folder: Path = PROMETHEUS) -> str:
    """What promtool says to that; it must find no fault."""
    asked = [program("promtool"), *words]
    judged = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    return judged.stdout


def test_promtool_takes_the_configuration() -> None:
    """Prometheus takes the example, and the rules that it names."""
    assert f"{len(rules())} rules found" in promtool("check", "config", "prometheus.yml")


def test_promtool_fires_the_alerts() -> None:
    """Each alert fires when it should, and none when nothing is wrong."""
    tests = yaml.safe_load((PROMETHEUS / "postfix-mta-sts.test.yml").read_text("utf-8"))["tests"]
    tested = {case["alertname"] for test in tests for case in test.get("alert_rule_test", [])}
    assert tested == {rule["alert"] for rule in rules()}
    assert "SUCCESS" in promtool("test", "rules", "postfix-mta-sts.test.yml")


def test_promtool_takes_the_panels(tmp_path: Path) -> None:
    """What the dashboard and the page ask is PromQL."""
    asked = [*panel_questions(), *page_questions()]
    recorded = [{"record": f"question:{n}", "expr": expr} for n, expr in enumerate(asked)]
    group = {"groups": [{"name": "questions", "rules": recorded}]}
    (tmp_path / "rules.yml").write_text(json.dumps(group))  # JSON is YAML
    assert f"{len(asked)} rules found" in promtool("check", "rules", "rules.yml", folder=tmp_path)
