"""How the network process starts: its place when memory runs out; `test_messages` has the rest."""

from pathlib import Path

import pytest

from postfix_mta_sts.network.child import raise_oom_score


@pytest.mark.parametrize(
    ("before", "after"), [("0", "500"), ("-900", "-400"), ("800", "1000"), ("odd", "odd")]
)
def test_oom_score(before: str, after: str, tmp_path: Path) -> None:
    """It is raised, up to what the kernel admits."""
    file = tmp_path / "oom_score_adj"
    file.write_text(before)
    raise_oom_score(500, file)
    assert file.read_text() == after


def test_oom_score_in_a_sandbox(tmp_path: Path) -> None:
    """Where that is not allowed, nothing happens."""
    raise_oom_score(500, tmp_path / "missing")
