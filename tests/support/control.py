"""A daemon that is controlled in the test's process, and commands that talk to it.

`Surroundings` replaces the network. Commands block, so they run in a thread.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postfix_mta_sts.admin.control import Control
from postfix_mta_sts.admin.daemon_info import DaemonInfo
from postfix_mta_sts.admin.history import PolicyHistory
from postfix_mta_sts.admin.http_server import serving
from postfix_mta_sts.admin.routes import history_routes, routes
from postfix_mta_sts.cli import main as cli
from postfix_mta_sts.postfix.answers import Answering, AnswerRules
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.postfix.protocol.reply import STRICT
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.stats import Counters, FleetNumbers, Snapshot
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.surroundings import Surroundings

if TYPE_CHECKING:
    from postfix_mta_sts.admin.fleet.asking import Fleet
    from postfix_mta_sts.network.sandbox.confinement import Confinement

IDLE_AFTER = 30 * 86_400.0
PID = 100


class ControlledDaemon:
    """The parts of a daemon that the control socket works on, with a resolver but no network."""

    def __init__(self, around: Surroundings, attempts: int = ATTEMPTS_LIMIT) -> None:
        self.around = around
        self.counters = Counters()
        self.not_working: set[Part] = set()
        self.renews = True
        self.dane = DaneStatus(on=True, reason="dane.mode is on")
        self.answering = Answering()
        self.asked_at: float | None = None
        self.problem = ""
        self.reasons: dict[Part, str] = {}
        self.log_lines_unwritten = 0
        self.fleet: Fleet | None = None
        self.confinement: Confinement | None = None
        self.fleet_numbers = FleetNumbers()
        self.records = MemoryStore()
        sources = around.sources()
        self.resolver = Resolver(
            sources,
            lookup_timeout=30,
            limits=Limits(1_000, 2**30),
            attempts=attempts,
            counters=self.counters,
        )
        self.control = Control(
            self.resolver,
            around.store,
            sources.clock,
            self._snapshot,
            self._info,
            self._self_check,
        )

    def use_dane(self, lookup: DaneLookup | None) -> None:
        """Turn DANE on, or off with None."""
        self.resolver.use_dane(lookup)
        self.answering = replace(self.answering, rules=AnswerRules(STRICT if lookup else None))

    async def _self_check(self) -> str:
        return self.problem

    async def _snapshot(self) -> Snapshot:
        failing, domains = frozenset(self.not_working), self.resolver.entries
        numbers = {"domains": domains, "failing": failing, "reasons": self.reasons}
        numbers["log_lines_unwritten"] = self.log_lines_unwritten
        numbers["fleet"] = self.fleet_numbers
        return Snapshot.take(self.counters, PID, **numbers)

    def _info(self) -> DaemonInfo:
        return DaemonInfo(
            started_at=self.around.now - 3600,
            configured_at=self.around.now - 60.25,
            config="/etc/test.yml",
            listening=["socketmap 127.0.0.1:8461"],
            store="/var/lib/test/policies.db",
            idle_after=IDLE_AFTER,
            dane=self.dane,
            answering=self.answering,
            asked_at=self.asked_at,
            next_tick=self.around.now + 30 if self.renews else None,
            fleet=self.fleet,
            confinement=self.confinement,
            pid=PID,
        )

    @asynccontextmanager
    async def controlled(self, folder: Path) -> AsyncIterator[Path]:
        """Open the control socket; yield its path."""
        path = folder / "control.sock"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        history = PolicyHistory(
            self.around.store,
            self.records,
            lambda: self.around.now,
            lambda: Part.STORE_READING not in self.not_working,
            lambda: self.fleet,
        )
        async with serving(sock, (*routes(self.control), *history_routes(history))):
            yield path


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (what JSON can be)
        """Its output, parsed as JSON."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line of its output."""
        return [line.split() for line in self.out.splitlines()]


class Operator:
    """Runs commands that talk to the daemon whose control socket is at `path`."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = path.with_name("config.yml")
        self._config.write_text(json.dumps({"control": {"path": str(path)}}))
        self._capsys = capsys

    async def run(self, *words: str) -> Done:
        """Run a command in a thread while this event loop answers it."""
        code = await asyncio.to_thread(cli.main, [*words, "--config", str(self._config)])
        return Done(code, *self._capsys.readouterr())
