"""Run the bench's soak for half a minute: mixed traffic with faults leaks nothing.

Half a minute shows leaks of descriptors, threads and tasks. A leak of memory needs an hour to show;
see bench/README.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.obstacles import cannot
from tests.support.programs import program

pytestmark = pytest.mark.timeout(300)

ROOT: Final = Path(__file__).parents[2]
GROWTH: Final = {"growth of descriptors": 50, "growth of threads": 0, "growth of tasks": 50}
"""Upper limits. One leak in each look-up of the rarest kind would be 150."""


def test_mixed_traffic_leaks_nothing(tmp_path: Path) -> None:
    """Descriptors, threads and tasks do not grow; the table shows them and the memory."""
    program("cc")
    results = tmp_path / "results.json"
    words = [sys.executable, "-m", "bench.run", "--quick", "--only", "soak"]
    words += ["--results", str(results)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        cannot(done.stderr)
    curves = {cell["figure"]: cell["values"] for cell in json.loads(results.read_text())}
    assert {name: limit for name, limit in GROWTH.items() if curves[name][0] > limit} == {}
    assert min(curves["attempts"][20:]) > 10, "the load reached no faults"
    for figure in (*GROWTH, "growth of memory, MiB"):
        assert f"| {figure} | " in done.stdout
