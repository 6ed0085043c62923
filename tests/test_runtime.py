"""Memory that is free again and kept by the C library."""

import platform
from pathlib import Path

import pytest

from postfix_mta_sts.runtime import release_free_memory

SIZE = 20_000
NUMBER = 2_000


def own_memory() -> int:
    """KiB of memory that is this process's alone."""
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_what_is_between_pieces_in_use_is_given_back() -> None:
    """The end of the heap falls by itself; holes amid what is in use do not."""
    pieces = [b"x" * (SIZE + n % 7) for n in range(NUMBER)]  # 40 MB, each touched
    kept = pieces[::100]
    full = own_memory()
    del pieces
    assert release_free_memory()
    assert full - own_memory() > SIZE * NUMBER / 1024 / 2
    assert all(kept)
