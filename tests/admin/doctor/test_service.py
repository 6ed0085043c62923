"""What the rules about the daemon share."""

from dataclasses import replace

import pytest

from postfix_mta_sts.admin.doctor import service
from postfix_mta_sts.admin.doctor.commands import RELOAD, START
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, Snapshot
from postfix_mta_sts.stats.labels import Part
from tests.support.snapshots import good, with_status

STOPPED = replace(good(), daemon=Daemon(DaemonState.NOT_RUNNING))
OTHER_PROCESS = replace(good(), daemon=replace(good().daemon, command_line=("sshd",)))
DENIED = replace(good(), daemon=Daemon(DaemonState.DENIED))


@pytest.mark.parametrize(
    ("snapshot", "command"),
    [
        (good(), RELOAD),
        (DENIED, RELOAD),
        (STOPPED, START),
        (replace(STOPPED, unit=None), ""),
        (replace(good(), unit=None), "kill -HUP 100"),
        (replace(DENIED, unit=None), ""),
        (replace(OTHER_PROCESS, unit=None), ""),
    ],
)
def test_apply(snapshot: Snapshot, command: str) -> None:
    """A changed configuration is put in force by the one that runs the daemon."""
    assert service.apply(snapshot) == command


@pytest.mark.parametrize(
    ("part", "reason", "expected"),
    [
        (Part.DNS, None, "no name server answers"),
        (Part.STORE_READING, None, "the daemon does not say why"),
        (Part.STORE_READING, "damaged", "damaged"),
    ],
)
def test_trouble(part: Part, reason: str | None, expected: str) -> None:
    """A part that does not work has the reason that the daemon gives, or words in its place."""
    snapshot = with_status(good(), not_working=[part.value], reasons={part.value: reason})
    assert service.trouble(snapshot, part) == expected
    assert service.trouble(snapshot, Part.NETWORK_PROCESS) == ""


def test_no_trouble_is_known() -> None:
    """A daemon that does not answer says nothing of its parts."""
    assert service.trouble(STOPPED, Part.DNS) == ""
