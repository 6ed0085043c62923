"""How many look-ups ask the DNS at a time, by the limit of open files, and own faults."""

import errno

import pytest

from postfix_mta_sts.network.own_limits import own_fault, shares


@pytest.mark.parametrize(("files", "at_once"), [(65_536, 5_000), (1024, 200 // 6)])
def test_turns(files: int, at_once: int) -> None:
    """With a usual limit thousands ask at once; with 1,024, 200 new domains ask in six turns."""
    assert shares(files).look_ups >= at_once


def test_faults() -> None:
    """A limit that is reached is our own fault; a host that cannot be reached is not."""
    assert str(own_fault(OSError(errno.EMFILE, ""))) == "no socket: Too many open files"
    assert own_fault(OSError(errno.EHOSTUNREACH, "")) is None
