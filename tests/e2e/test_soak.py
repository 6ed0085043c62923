"""Half a minute of the bench's soak: mixed traffic with faults leaves nothing behind.

Border: what shows so soon. Memory that grows takes an hour to be seen; see bench/README.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.obstacles import cannot
from tests.support.programs import program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[2]
GROWTH: Final = {"descriptors that grew": 50, "threads that grew": 0, "tasks that grew": 50}
"""At most: one lost by each look-up of the rarest kind would be 150."""


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Descriptors, threads and tasks do not grow, and the table has them and the memory."""
    program("cc")
    results = tmp_path / "results.json"
    words = [sys.executable, "-m", "bench.run", "--quick", "--only", "soak"]
    words += ["--results", str(results)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        cannot(done.stderr)
    curves = {cell["figure"]: cell["values"] for cell in json.loads(results.read_text())}
    assert {name: most for name, most in GROWTH.items() if curves[name][0] > most} == {}
    assert min(curves["attempts"][20:]) > 10, "the faults were not met"
    for figure in (*GROWTH, "memory that grew, MiB"):
        assert f"| {figure} | " in done.stdout
