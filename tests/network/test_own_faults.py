"""Which errors of socket(2) are faults of this process."""

import errno

from postfix_mta_sts.network.own_faults import own_fault


def test_faults() -> None:
    """A limit that is reached is our own fault; a host that cannot be reached is not."""
    assert str(own_fault(OSError(errno.EMFILE, ""))) == "no socket: Too many open files"
    assert own_fault(OSError(errno.EHOSTUNREACH, "")) is None
