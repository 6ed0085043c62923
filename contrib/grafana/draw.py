"""Draws the panels of the dashboard with data of a Prometheus, without Grafana.

    python3 -m venv /tmp/draw && /tmp/draw/bin/pip install matplotlib
    /tmp/draw/bin/python contrib/grafana/draw.py 127.0.0.1:9090 300 dashboard.png

Queries, positions and titles come from the dashboard. Only the simplest features of Grafana are
drawn. No other file needs matplotlib.
"""  # noqa: INP001 (a script, not part of a package)

import argparse
import http.client
import json
import math
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

DASHBOARD = Path(__file__).with_name("postfix-mta-sts.json")
COLUMNS = 24
CELL = 0.55
"""Inches per column and per row of the dashboard."""
RATE_INTERVAL = "15s"
"""Grafana would use 4s if Prometheus scrapes every second; a longer interval is smoother."""
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Prometheus:
    """A Prometheus server and a time range."""

    def __init__(self, address: str, begin: float, end: float) -> None:
        self._address = address
        self._begin, self._end = begin, end

    def series(self, panel: dict[str, Any]) -> list[tuple[str, list[float], list[float]]]:
        """Return legend, times and values of each series of a panel."""
        return [
            (_legend(target["legendFormat"], found["metric"]), *_points(found["values"]))
            for target in panel["targets"]
            for found in self._query(target["expr"])
        ]

    def _query(self, query: str) -> list[dict[str, Any]]:
        filled = query.replace("$__rate_interval", RATE_INTERVAL).replace("$instance", ".*")
        parameters = {"query": filled, "start": self._begin, "end": self._end, "step": 1}
        connection = http.client.HTTPConnection(self._address)
        connection.request("GET", "/api/v1/query_range?" + urlencode(parameters))
        answer = json.load(connection.getresponse())
        if answer["status"] != "success":
            raise SystemExit(f"{filled}: {answer['error']}")
        return list(answer["data"]["result"])


def _points(values: list[list[Any]]) -> tuple[list[float], list[float]]:
    return [float(when) for when, _ in values], [float(number) for _, number in values]


def _legend(pattern: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        pattern = pattern.replace(f"{{{{{name}}}}}", value)
    return pattern


def _number(value: float, unit: str) -> str:
    """Format a value as Grafana does for a unit."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    scale, letter = next((each for each in _SCALES if abs(value) >= each[0]), (1, ""))
    ending = {"reqps": " req/s", "ops": " ops/s", "bytes": "B"}.get(unit, "")
    return f"{value / scale:.3g}{' ' if unit == 'bytes' else ''}{letter}{ending}"


def _stat(axes: Axes, panel: dict[str, Any], series: list[Any]) -> None:
    """Draw the last value in large type."""
    legend, _, values = series[0] if series else ("no data", [], [math.nan])
    defaults = panel["fieldConfig"]["defaults"]
    mapped = next((m["options"] for m in defaults.get("mappings", [])), {})
    named = panel["options"].get("textMode") == "name"
    text = legend if named else _number(values[-1], defaults["unit"])
    found = mapped.get(f"{values[-1]:g}", {"text": text, "color": "tab:blue"})
    axes.text(0.0, 0.55, found["text"], ha="left", va="center", size=20, color=found["color"])
    axes.set_axis_off()


def _lines(axes: Axes, panel: dict[str, Any], series: list[Any]) -> None:
    """Draw values over time, as lines or as stacked areas."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    if "stacking" in custom and series:
        axes.stackplot(series[0][1], *_aligned(series), labels=[s[0] for s in series], alpha=0.6)
    else:
        style = "steps-post" if "lineInterpolation" in custom else "default"
        for legend, times, values in series:
            axes.plot(times, values, label=legend, linewidth=1.2, drawstyle=style)
    if "scaleDistribution" in custom:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _number(y, defaults["unit"])))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: time.strftime("%H:%M:%S", time.localtime(x)))
    )
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    if series:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, fontsize=7, frameon=False
        )


def _aligned(series: list[Any]) -> list[list[float]]:
    """Return the values of several series at the times of the first one."""
    return [
        [dict(zip(times, values, strict=True)).get(when, 0.0) for when in series[0][1]]
        for _, times, values in series
    ]


def _room(place: dict[str, int], height: int) -> tuple[float, float, float, float]:
    """Return the place of the axes of a panel; title, numbers and legend need the rest."""
    x, y, width, high = (place[name] for name in "xywh")
    bottom = y + high - (0.4 if high < 8 else 1.4)
    return (
        (x + 1.2) / COLUMNS,
        1 - bottom / height,
        (width - 1.6) / COLUMNS,
        (bottom - y - 0.8) / height,
    )


def draw(prometheus: Prometheus, target: Path) -> None:
    """Draw the whole dashboard into a file."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(COLUMNS * CELL, height * CELL), layout="none", facecolor="#f4f5f5")
    for panel in panels:
        axes = figure.add_axes(_room(panel["gridPos"], height))
        axes.set_title(panel["title"], size=10, loc="left", fontweight="bold")
        kind = _stat if panel["type"] == "stat" else _lines
        kind(axes, panel, prometheus.series(panel))
    figure.savefig(target, dpi=80)


def main() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="HOST:PORT of a Prometheus")
    parser.add_argument("seconds", type=float, help="how far to look back from its end")
    parser.add_argument("target", type=Path, help="a .png or .svg file")
    parser.add_argument("--end", type=float, help="in epoch seconds, instead of now")
    given = parser.parse_args()
    end = given.end or time.time()
    mpl.rcParams["font.size"] = 8
    draw(Prometheus(given.address, end - given.seconds, end), given.target)


if __name__ == "__main__":
    main()
