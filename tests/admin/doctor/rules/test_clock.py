"""Findings about the clock."""

from dataclasses import replace

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.clock import TOLERANCE, clock
from postfix_mta_sts.admin.doctor.snapshot import Outward, Snapshot
from tests.support.snapshots import NOW, good, with_status

DAY = 86_400.0


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (replace(good(), program_time=NOW + DAY + 1), "behind: this program was installed at 2027"),
        (with_status(good(), started_at=NOW + 61), "behind: the daemon was started at 2027"),
        (
            replace(good(), outward=Outward("x.test", clock_offset=-TOLERANCE - 1)),
            "301 s behind that of the Policy Host of x.test",
        ),
        (
            replace(good(), outward=Outward("x.test", clock_offset=3600.2)),
            "3600 s ahead of that of the Policy Host of x.test",
        ),
    ],
)
def test_wrong(snapshot: Snapshot, words: str) -> None:
    """What the clock contradicts is named."""
    [finding] = clock(snapshot)
    assert words in finding.what
    assert (finding.id, finding.effect) == ("clock", Effect.HELD)
    assert finding.mend == "timedatectl set-ntp true"


@pytest.mark.parametrize(
    "snapshot",
    [
        good(),
        replace(good(), program_time=NOW + DAY),
        with_status(good(), started_at=NOW + 60),
        replace(good(), outward=Outward("x.test")),
        replace(good(), outward=Outward("x.test", clock_offset=TOLERANCE)),
        replace(good(), daemon=replace(good().daemon, status=None)),
    ],
)
def test_right(snapshot: Snapshot) -> None:
    """Time zones of files, a rounded time and a slow answer are no findings."""
    assert list(clock(snapshot)) == []
