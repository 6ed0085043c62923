"""Processes of a daemon as far as they can be controlled, and commands that ask them.

Border: `Surroundings` take the place of the network; commands are run in a thread, as they block.
"""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.control import Control, DaemonInfo
from postfix_mta_sts.admin.http import Route
from postfix_mta_sts.admin.http_server import serving
from postfix_mta_sts.admin.routes import private, public
from postfix_mta_sts.admin.types import Witness
from postfix_mta_sts.cli.main import main
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.stats import Counters, Part, Snapshot
from tests.support.surroundings import Surroundings

IDLE_AFTER = 30 * 86_400.0


class Worker:
    """One process; several may have their store in common."""

    def __init__(
        self,
        around: Surroundings,
        index: int = 0,
        siblings: Mapping[int, Witness] | None = None,
        attempts: int = ATTEMPTS_LIMIT,
    ) -> None:
        self.around = around
        self.counters = Counters()
        self.not_working: set[Part] = set()
        self.renews = True
        self.dane = DaneStatus(on=True, reason="dane.mode is on")
        sources = around.sources()
        self.resolver = Resolver(
            sources, lookup_timeout=30, entries=1_000, attempts=attempts, counters=self.counters
        )
        self._index = index
        self._workers = 1 + len(siblings or {})
        self.control = Control(
            self.resolver,
            around.store,
            sources.clock,
            self._snapshot,
            self._about,
            index=index,
            siblings=siblings,
        )

    async def _snapshot(self) -> Snapshot:
        failing = Counter(self.not_working)
        domains = self.resolver.entries
        return Snapshot.taken(self.counters, 100 + self._index, domains=domains, failing=failing)

    def _about(self) -> DaemonInfo:
        return DaemonInfo(
            started_at=self.around.now - 3600,
            config="/etc/test.yml",
            listening=["socketmap 127.0.0.1:8461"],
            store="/var/lib/test/policies.db",
            idle_after=IDLE_AFTER,
            dane=self.dane,
            next_tick=self.around.now + 30 if self.renews else None,
            workers=self._workers,
            pid=100 + self._index,
        )

    @asynccontextmanager
    async def controlled(self, folder: Path) -> AsyncIterator[Path]:
        """Its control socket; where it is."""
        async with listening(folder / "control.sock", public(self.control)) as path:
            yield path

    @asynccontextmanager
    async def witnessing(self, folder: Path) -> AsyncIterator[Path]:
        """Its private socket; where it is."""
        async with listening(folder / "private.sock", private(self.control.own)) as path:
            yield path


@asynccontextmanager
async def listening(path: Path, routes: Iterable[Route]) -> AsyncIterator[Path]:
    """Routes on a UNIX socket; where it is."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    async with serving(sock, routes):
        yield path


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (what JSON can be)
        """What it printed, as a program reads it."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line that it printed."""
        return [line.split() for line in self.out.splitlines()]


class Operator:
    """Runs commands that speak to the daemon whose control socket is at `path`."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = path.with_name("config.yml")
        self._config.write_text(json.dumps({"control": {"path": str(path)}}))
        self._capsys = capsys

    async def run(self, *words: str) -> Done:
        """A command, to its end, while this event loop answers it."""
        code = await asyncio.to_thread(main, [*words, "--config", str(self._config)])
        return Done(code, *self._capsys.readouterr())
