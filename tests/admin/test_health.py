"""Whether the daemon lives, and whether all of its parts work."""

import json
from collections import Counter
from typing import Any

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.health import Health, alive, ready
from postfix_mta_sts.stats import Part, Snapshot


def snapshot(*failing: Part, pids: int = 1) -> Snapshot:
    """Those of so many processes, in one of which these parts fail."""
    return Snapshot(pids=frozenset(range(pids)), failing=Counter(failing))


def checks(health: Health) -> dict[str, Any]:
    """What is said of each check."""
    said = json.loads(health.body)
    assert said["ok"] is health.ok
    return dict(said["checks"])


def test_alive() -> None:
    """Who is answered is told which version answers."""
    assert alive().ok
    assert json.loads(alive().body) == {"ok": True, "version": __version__}


def test_ready() -> None:
    """Where everything works, each check says so."""
    health = ready(snapshot())
    assert health.ok
    assert checks(health) == {
        name: {"ok": True, "says": "ok"}
        for name in ("dns", "store_reading", "store_writing", "processes")
    }


@pytest.mark.parametrize("part", Part)
def test_a_part_fails(part: Part) -> None:
    """One part that fails is enough, and is named with what that means; the others are well."""
    health = ready(snapshot(part))
    assert not health.ok
    said = checks(health)
    assert [name for name, check in said.items() if not check["ok"]] == [part]
    assert "processes" not in said[part]["says"]


def test_one_of_several() -> None:
    """Where several serve, it is said in how many of them the part fails."""
    health = ready(snapshot(Part.DNS, pids=4), 4)
    assert not health.ok
    assert checks(health)["dns"]["says"].endswith("(in 1 of 4 processes)")


def test_one_does_not_answer() -> None:
    """A process of which nothing is heard is one that is not ready."""
    health = ready(snapshot(pids=3), 4)
    assert not health.ok
    assert checks(health)["processes"] == {"ok": False, "says": "1 of 4 do not answer"}


def test_one_too_many() -> None:
    """While a process ends and another takes its place, both may answer, and all is well."""
    assert ready(snapshot(pids=3), 2).ok
