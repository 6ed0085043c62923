"""Return freed memory that the C library still holds to the system."""

import platform
from pathlib import Path

import pytest

from postfix_mta_sts.runtime import release_free_memory

SIZE = 20_000
NUMBER = 2_000


def own_memory() -> int:
    """Return the KiB of private memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_between_blocks_in_use_is_returned() -> None:
    """The C library itself returns the end of the heap, but not holes between blocks in use."""
    blocks = [b"x" * (SIZE + n % 7) for n in range(NUMBER)]  # 40 MB, each touched
    in_use = blocks[::100]
    full = own_memory()
    del blocks
    assert release_free_memory()
    assert full - own_memory() > SIZE * NUMBER / 1024 / 2
    assert all(in_use)
