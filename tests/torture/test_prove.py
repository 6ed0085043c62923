"""The faults put in on purpose: each patch says how it is found, and fits the package."""

from pathlib import Path

import pytest

from tests.torture import prove, schedule
from tests.torture.prove import Patch

PATCHES = prove.patches()


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_fits_the_package(patch: Patch, tmp_path: Path) -> None:
    """It applies, changes the code, and names an episode that comes within its minutes."""
    patch.apply(tmp_path)
    actions = schedule.build(patch.seed, 60 * patch.minutes, [patch.episode])
    assert any(action.what == "episode" for action in actions)
    for path in (tmp_path / prove.PACKAGE).rglob("*.py"):
        compile(path.read_text("utf-8"), str(path), "exec")
