"""The shared stores under test: what relays are told of one, its rows, and its faults.

A test writes rows past the relays, as somebody with the rights of a relay or of the administrator
could. `redis_stores` and `postgresql_stores` make the stores.
"""

import asyncio
import os
import secrets
import subprocess
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.envelope import seal
from postfix_mta_sts.store.fleet.keys import Keyring, read_keyring

PREFIX: Final = "mta_sts"
PATIENCE: Final = 60.0
"""Seconds in which what one relay gives is in the store; issue 18 (d)."""
LATENCY: Final = 0.3
"""Seconds: more than the budget of a relay."""

Note = Callable[[str], None]
"""Writes a figure down, into `build/fleet/figures.txt`."""
Rows = Mapping[Name, bytes]
Faults = Mapping[str, Callable[[], AbstractContextManager[None]]]
Late = Callable[[float], AbstractContextManager[None]]


class SharedStore(Protocol):
    """A running store."""

    name: str
    """One of `ENGINES`."""
    section: Mapping[str, object]
    """The section `fleet` of a relay's configuration, without the relay's name."""
    over_wire: Mapping[str, object]
    """The same, for relays that reach it over a wire, which some faults need."""
    late: Late | None
    """Makes this wire so many seconds late while a context is open; None: there is no wire."""
    over_tls: Mapping[str, object]
    """The same, for relays that talk TLS to it; empty: it does not."""
    keyring: Keyring
    faults: Faults
    """What can go wrong with it, each while a context is open."""

    @abstractmethod
    async def now(self) -> int:
        """Return its time in microseconds."""

    @abstractmethod
    async def calls(self) -> int:
        """Return how many commands, or transactions, it has carried out."""

    @abstractmethod
    async def size(self) -> int:
        """Return how many bytes the rows take."""

    @abstractmethod
    def pid(self) -> int:
        """Return its process."""

    @abstractmethod
    async def rows(self) -> Rows:
        """Return all records."""

    @abstractmethod
    async def write(self, rows: Rows) -> None:
        """Put records there, in place of those of the same names."""

    @abstractmethod
    async def clear(self) -> None:
        """Remove everything of the fleet: FLUSHALL, TRUNCATE."""

    @abstractmethod
    async def asked_at(self, domain: str) -> int:
        """Return when a domain was last asked for, by its notes; 0: they do not say."""

    @abstractmethod
    async def due_at(self, domain: str) -> int:
        """Return when a domain is due, by its notes, in microseconds; 0: they do not say."""

    @abstractmethod
    async def put_uses(self, domain: str, asked_at: int, due_at: int) -> None:
        """Note both, in place of what is noted."""

    async def has(self, kind: Kind | str, keys: Sequence[str]) -> None:
        """Wait until there are records with these keys."""
        await self.until(lambda rows: all(Name(Kind(kind), key) in rows for key in keys))

    async def changed(self, kind: Kind | str, keys: Sequence[str], part: bytes) -> None:
        """Wait until records have these bytes in them."""
        names = [Name(Kind(kind), key) for key in keys]
        await self.until(lambda rows: all(part in rows.get(name, b"") for name in names))

    async def until(self, holds: Callable[[Rows], bool]) -> None:
        """Wait until something holds of the records."""
        end = time.monotonic() + PATIENCE
        while not holds(rows := await self.rows()):
            assert time.monotonic() < end, sorted(str(name) for name in rows)
            await asyncio.sleep(0.05)

    def sealed(self, kind: Kind | str, key: str, order: int, body: bytes) -> Rows:
        """Return a record that is signed with the key of the fleet."""
        name = Name(Kind(kind), key)
        return {name: seal(PREFIX, name, order, body, self.keyring)}


def secret(path: Path, text: str | None = None) -> Path:
    """Write a secret that only its owner can read; a key of the fleet, unless there is a text."""
    path.write_text(text or secrets.token_hex(32))
    path.chmod(0o600)
    return path


def keys(folder: Path) -> tuple[Path, Keyring]:
    """Make the key of a fleet; return its file and the key."""
    path = secret(folder / "key")
    return path, read_keyring(path)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Have a disk of its own in a folder while the context is open."""
    folder.mkdir(parents=True, exist_ok=True)
    mode = f"size={size},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", mode, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no room on the disk of a folder while the context is open."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)) == 65_536:
                pass
            os.fsync(file.fileno())
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()
