"""Limit how much the log says about each kind of event.

Pure: the caller passes the time. Domains that an attacker owns, or names that a client makes up,
can cause any event of a domain; the log of a thousand names must not fill the disk.
"""

from typing import Final, NamedTuple

PER_MINUTE: Final = 8 * 1024
"""Bytes of one kind in a minute, and at once: some 50 lines of ordinary length. There are 12 kinds
that clients and remote hosts can cause at will: less than 100 KiB a minute."""
ACTS_PER_MINUTE: Final = 512 * 1024
"""The same for a kind of `_ACTS`: some 3,000 lines, more than the exceptions of a daemon."""

_ACTS: Final = frozenset(
    {
        "exception added",
        "exception replaced",
        "exception removed",
        "exception ends soon",
        "exception ended",
    }
)
"""What administrators have decided, and its end. Nobody else can cause these, and each has its
line, also if a program adds a thousand."""


class Kind(NamedTuple):
    """What shares a budget."""

    text: str
    """The text of an event, or the logger of another library: a fixed set, whatever is logged."""
    important: bool
    """WARNING or above: never left out for the sake of the others."""


class Budget:
    """Each kind has a bucket of bytes, which a minute refills.

    A line is admitted while its bucket is not empty, then takes its bytes out, which may leave a
    debt. So a line costs nothing before it is admitted, and long lines are fewer.
    """

    def __init__(self) -> None:
        self._buckets: dict[Kind, _Bucket] = {}

    def admits(self, kind: Kind, now: float) -> bool:
        """Whether a line of this kind may be written; counts it if not. `now`: monotonic."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            size = ACTS_PER_MINUTE if kind.text in _ACTS else PER_MINUTE
            bucket = self._buckets[kind] = _Bucket(size, now)
        bucket.fill(now)
        if bucket.bytes > 0:
            return True
        bucket.left_out += 1
        return False

    def charge(self, kind: Kind, size: int) -> None:
        """Take the bytes of an admitted line."""
        self._buckets[kind].bytes -= size

    @property
    def left_out(self) -> int:
        """Lines that were left out since the start."""
        return sum(bucket.left_out for bucket in list(self._buckets.values()))

    def report(self) -> dict[Kind, int]:
        """Return how many lines of each kind were left out since the last report.

        Another thread may call this: it alone writes `reported`, and never `left_out`.
        """
        counts = {}
        for kind, bucket in list(self._buckets.items()):
            if count := bucket.left_out - bucket.reported:
                bucket.reported += count
                counts[kind] = count
        return counts


class _Bucket:
    """The budget of one kind, and its lines that were left out."""

    __slots__ = ("bytes", "filled_at", "left_out", "reported", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.bytes: float = size
        self.filled_at = now
        self.left_out = 0
        self.reported = 0

    def fill(self, now: float) -> None:
        more = (now - self.filled_at) * self.size / 60
        self.bytes = min(self.bytes + more, self.size)
        self.filled_at = now
