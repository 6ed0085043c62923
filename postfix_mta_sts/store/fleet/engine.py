"""What a database must do to be a shared store.

An engine keeps records, bytes that it does not understand, by name. It compares `order`, a number
that the writer of a record gives and signs, so that an older record never replaces a newer one. It
also has a lease for each domain, and notes when domains were asked for and are due.

Times are microseconds since the epoch by the clock of the store, which is the only clock that all
relays share. Each method raises `FleetError`; none has a time limit of its own (`access` has), and
none tries twice.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.values import Value

SECOND: Final = 1_000_000
"""In the unit of times and orders."""
FUTURE: Final = 60 * SECOND
"""A policy whose order, the time of its fetch, is later than now by more than this is treated as
though it were not there."""
LEASE: Final = 3 * SECOND
"""Microseconds after which a lease ends that is not renewed."""


class Kind(enum.StrEnum):
    """What a record is about, and what its key is."""

    POLICY = "policy"
    """A policy; the key is its domain, the order the time of the fetch."""
    HISTORY = "history"
    """The policies that a domain has had; as `POLICY`."""
    CHECK = "check"
    """The last check of a domain; the order is its time."""
    EXCEPTIONS = "exceptions"
    """The document of exceptions (`DOCUMENT`); the order is its version."""
    RELAY = "relay"
    """What a relay says of itself; the key is its name, the order the time."""


LIMITS: Final[Mapping[Kind, int]] = {
    Kind.POLICY: 80 * 1024,
    Kind.HISTORY: 512 * 1024,
    Kind.CHECK: 16 * 1024,
    Kind.EXCEPTIONS: 2 * 1024 * 1024,
    Kind.RELAY: 4 * 1024,
}
"""Bytes of a record. Of a longer one an engine transfers one byte more, which is refused."""


def size_of(name: "Name", limit: int | None = None) -> int:
    """Bytes of a record that an engine transfers at most; see `LIMITS` and `Engine.read`."""
    longest = LIMITS[name.kind] + 1
    return longest if limit is None else min(limit, longest)


class Name(Value, frozen=True):
    """Under which a record is kept."""

    kind: Kind
    key: str


DOCUMENT: Final = Name(Kind.EXCEPTIONS, "all")
"""Of the document of exceptions."""


class Read(Value, frozen=True):
    """Records, and the time of the store at which they were read."""

    now: int
    records: Mapping[Name, bytes]
    """Those that are there and have not expired."""


class Claimed(Value, frozen=True):
    """The answer to a claim of the lease of a domain."""

    now: int
    is_held: bool
    """Whether the caller has the lease now."""
    policy: bytes | None
    """The policy record of the domain, read in the same step."""


class Finding(Value, frozen=True):
    """One line of `fleet check`."""

    what: str
    is_well: bool
    found: str
    """What was found; printable."""
    mend: str = ""
    """What ends the trouble, if there is any."""


class Engine(Protocol):
    """One database; made by `open`. Call `close` last."""

    async def read(self, names: Sequence[Name], limit: int | None = None) -> Read:
        """Read records, all in one round trip; of each no more than its first `limit` bytes."""

    async def put(self, name: Name, record: bytes, order: int, expires_at: int) -> bool:
        """Keep a record until `expires_at`, unless there is one with the same or a higher order.

        Return whether it was kept. The order of a record that is there is the one in its header
        (`envelope.order_of`). A policy whose order is in the future (`FUTURE`) is replaced.
        """

    async def remove(self, names: Sequence[Name]) -> int:
        """Remove records; return how many there were. A domain's lease and uses stay."""

    async def discard(self, name: Name, record: bytes) -> None:
        """Remove a record if it is still this one, as `read` has returned it."""

    async def page(self, kind: Kind, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return at most `limit` records of a kind with keys after `after`, in order of the keys.

        Only for `CHECK` and `RELAY`. An empty page is the last.
        """

    async def claim(self, domain: Domain, token: str) -> Claimed:
        """Take the lease of a domain for `LEASE`, if nobody else has it; read its policy."""

    async def renew(self, domain: Domain, token: str) -> bool:
        """Hold the lease for `LEASE` from now on; False: another has it, or it has ended."""

    async def release(self, domain: Domain, token: str) -> None:
        """Give the lease back, if it is still held with this token."""

    async def note_uses(self, asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> None:
        """Note when domains were last asked for (the latest time stays), and when they are due."""

    async def due(self, asked_since: int, limit: int) -> Sequence[Domain]:
        """Return domains that are due and were asked for since then, the longest overdue first.

        These notes are not signed: the caller checks that each is a domain.
        Those that were last asked for before are dropped from what is due.
        """

    async def check(self) -> Sequence[Finding]:
        """Try everything that a relay needs: rights, schema, settings of the database."""

    async def close(self) -> None:
        """Close the connections; call nothing afterwards."""
