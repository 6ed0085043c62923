"""How many look-ups ask the DNS at a time, by the limit of open files."""

import pytest

from postfix_mta_sts.network.own_limits import shares


@pytest.mark.parametrize(("files", "at_once"), [(65_536, 4_000), (1024, 200 // 6)])
def test_turns(files: int, at_once: int) -> None:
    """With a usual limit thousands ask at once; with 1,024, 200 new domains ask in six turns."""
    assert shares(files).look_ups >= at_once
