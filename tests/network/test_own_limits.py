"""How many look-ups ask the DNS at a time, by the limit of open files."""

import errno

import pytest

from postfix_mta_sts.network import own_limits
from postfix_mta_sts.network.own_limits import own_fault, queries_limit

SOCKETS = 3
"""Of one look-up while the name servers are silent, or more in its last seconds."""


@pytest.mark.parametrize("files", [256, 1024, 4096, 65_536])
def test_room_for_connections(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """While the name servers are silent, half of the descriptors are left for connections."""
    monkeypatch.setattr(own_limits, "files_limit", lambda: files)
    kinds = 2  # of the policy id or DANE, and of addresses
    assert kinds * SOCKETS * queries_limit() <= files / 2


@pytest.mark.parametrize(("files", "at_once"), [(65_536, 5_000), (1024, 200 / 3)])
def test_turns(monkeypatch: pytest.MonkeyPatch, files: int, at_once: float) -> None:
    """With a usual limit thousands ask at once; with 1,024, 200 new domains ask in three turns."""
    monkeypatch.setattr(own_limits, "files_limit", lambda: files)
    assert queries_limit() >= at_once


def test_very_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up is always allowed."""
    monkeypatch.setattr(own_limits, "files_limit", lambda: 8)
    assert queries_limit() == 1


def test_faults() -> None:
    """A limit that is reached is our own fault; a host that cannot be reached is not."""
    assert str(own_fault(OSError(errno.EMFILE, ""))) == "no socket: Too many open files"
    assert own_fault(OSError(errno.EHOSTUNREACH, "")) is None
