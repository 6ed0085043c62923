"""What the run changes inside the daemon: its clock and its disk, through a shared file.

The launcher maps the file; the run writes to it. So a change is in force at once, also while the
daemon is stopped or busy.
"""

import enum
import mmap
import struct
import time
from pathlib import Path
from typing import Final, Self

_FORM: Final = struct.Struct("=dId")


class Disk(enum.IntEnum):
    """What the disk of the store does."""

    GOOD = 0
    FULL = 1
    READ_ONLY = 2
    BROKEN = 3
    SLOW = 4


class Control:
    """The shared file; `create` makes it, `open` maps an existing one."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORM.size)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the file: the right clock and a good disk."""
        path.write_bytes(_FORM.pack(0.0, Disk.GOOD, 0.0))
        return cls(path)

    def clock(self) -> float:
        """The time that the daemon sees."""
        return time.time() + self.offset

    @property
    def offset(self) -> float:
        """Seconds by which the daemon's clock is ahead."""
        return self._read()[0]

    @property
    def disk(self) -> Disk:
        """What the disk does."""
        return Disk(self._read()[1])

    @property
    def delay(self) -> float:
        """Seconds that a slow disk takes for one statement."""
        return self._read()[2]

    def set_clock(self, offset: float) -> None:
        """Set the daemon's clock."""
        self._map[:] = _FORM.pack(offset, self.disk, self.delay)

    def set_disk(self, disk: Disk, delay: float = 0.0) -> None:
        """Change the disk."""
        self._map[:] = _FORM.pack(self.offset, disk, delay)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def _read(self) -> tuple[float, int, float]:
        offset, disk, delay = _FORM.unpack(self._map[:])
        return offset, disk, delay
