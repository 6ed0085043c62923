"""One minute of faults under load, with a fixed seed."""

from pathlib import Path
from typing import Final

import pytest

from tests.torture import schedule
from tests.torture.__main__ import report
from tests.torture.run import run

SEED: Final = 25
SECONDS: Final = 60.0


@pytest.mark.e2e
async def test_a_minute_of_faults_breaks_no_promise(tmp_path: Path) -> None:
    """Every answer is one that the checker allows; if not, the report says which is not."""
    actions = schedule.build(SEED, SECONDS)
    outcome = await run(actions, SECONDS, tmp_path, seed=SEED)
    assert not outcome.counts, "\n" + report(outcome, SEED)
    assert outcome.answers > 1_000
