"""Controls what is outside the fleet: what domains publish, outages, and how often was asked.

The servers run in a process of their own, see `outside.py`.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

from tests.support.remote import Remote, running

MAX_AGE: Final = 604_800


@dataclass(frozen=True, slots=True)
class Counts:
    """How often the servers were asked for each domain."""

    gets: Mapping[str, int]
    queries: Mapping[str, int]
    """For TXT records."""


class World(Remote):
    """The running servers; created by `world`."""

    def __init__(self, process: Popen[str], ca_file: Path) -> None:
        super().__init__(process)
        self._zones = itertools.count(1)
        self.ca_file: Final = ca_file

    def domains(self, number: int = 1) -> list[str]:
        """Return new names; those of one call are `d0.ZONE`, `d1.ZONE` and so on."""
        zone = f"z{next(self._zones)}.test"
        return [f"d{n}.{zone}" for n in range(number)]

    def publish(
        self,
        domains: Sequence[str],
        mode: str = "enforce",
        *,
        mx: Sequence[str] = ("mx1.%",),
        max_age: int = MAX_AGE,
        policy_id: str = "id1",
    ) -> None:
        """Publish a policy for each; `%` in `mx` is the domain.

        Without a mode the Policy Host has no policy, without an id there is no TXT record.
        """
        self._send(
            "publish", domains=domains, mode=mode, mx=mx, max_age=max_age, policy_id=policy_id
        )

    def published(self, number: int = 1) -> list[str]:
        """Return new domains with ordinary policies."""
        made = self.domains(number)
        self.publish(made)
        return made

    def counts(self, domains: Sequence[str]) -> Counts:
        """Return how often the servers were asked for these domains, which are of one zone."""
        zone = domains[0].partition(".")[2]
        return Counts(**self._send("counts", suffix=f".{zone}"))

    @contextlib.contextmanager
    def without(self, *servers: str) -> Iterator[None]:
        """Stop `names` or `hosts` while the context is open."""
        for server in servers:
            self._send("stop", server=server)
        try:
            yield
        finally:
            for server in servers:
                self._send("start", server=server)

    @contextlib.contextmanager
    def silent_names(self) -> Iterator[None]:
        """Answer no query while the context is open."""
        self._send("silence", is_on=True)
        try:
            yield
        finally:
            self._send("silence", is_on=False)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the responses of the Policy Host while the context is open."""
        self._send("hold")
        try:
            yield
        finally:
            self._send("release")


@contextlib.contextmanager
def world(folder: Path, log: Path) -> Iterator[World]:
    """Run the servers while the context is open; write their CA to `folder`, errors to `log`."""
    command = [sys.executable, "-m", "tests.fleet.outside", str(folder)]
    with running(command, log) as process:
        yield World(process, folder / "ca.pem")
