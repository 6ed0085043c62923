"""A machine on which `doctor` sees all, by functions in place of those that look.

machine = SeenMachine(tmp_path)
machine.changes = {"held": count}           # another function of `Looks`
seen = await machine.look(config_file=None)  # with other fields of `Given`
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.doctor.collect import Collector, Looks
from postfix_mta_sts.admin.doctor.collect_daemon import Process
from postfix_mta_sts.admin.doctor.collect_system import UnitSeen
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.admin.doctor.snapshot import (
    ConfigProblem,
    Daemon,
    DaemonState,
    Resolver,
    Snapshot,
    Unit,
)
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.values import Instance
from tests.support.snapshots import NOW, instance

BUDGET: Final = 60.0
"""Seconds: enough for a busy machine."""
UNIT: Final = Unit(is_active=True, is_enabled=True, command_line="serve", files=("/a.service",))
PROBLEM: Final = ConfigProblem("listen[0].group", "there is no group x", is_warning=False)
OWN: Final = Account(os.geteuid(), os.getegid())
SEEN: Final = UnitSeen(UNIT, 12, "")
RUNNING: Final = Process(("postfix-mta-sts", "serve"), OWN)
NOT_RUNNING: Final = Daemon(DaemonState.NOT_RUNNING, "there is no control socket")


@dataclass
class SeenMachine:
    """A machine on which all can be seen; a test changes what it is about."""

    folder: Path
    instances: tuple[Instance, ...] = (instance(),)
    unit: UnitSeen = SEEN
    daemon: Daemon = NOT_RUNNING
    process: Process = RUNNING
    budget: float = BUDGET
    changes: dict[str, Any] = field(default_factory=dict)
    """Other functions of `Looks`."""
    asked: list[object] = field(default_factory=list)
    """The folders of queues, processes and resolv.conf files that were asked for."""

    def __post_init__(self) -> None:
        self.store = self.folder / "policies.db"
        self.config = self.folder / "config.yml"
        for path in (self.store, self.config):
            path.touch()
        status = {"pid": 13, "store_path": str(self.store)}
        self.daemon = Daemon(DaemonState.ANSWERS, status=status)

    async def look(self, **changes: Any) -> Snapshot:  # noqa: ANN401 (fields of `Given`)
        """Look at it once."""
        usual = Given(Settings(), self.folder / "other.db", config_file=self.config)
        client = ControlClient(self.folder / "control.sock", BUDGET)
        collector = Collector(
            replace(usual, **changes),
            client,
            lambda: (PROBLEM,),
            looks=self.looks(),
            clock=lambda: NOW,
            budget=self.budget,
        )
        return await collector.run()

    def looks(self) -> Looks:
        """The functions that look at it."""
        usual = Looks(
            postfix=self._postfix,
            held=self._held,
            unit=self._unit,
            daemon=lambda _: self.daemon,
            process=self._process,
            resolver=self._resolver,
            bundle=lambda: "/bundle.pem",
            ca_problem=lambda _: "no CA certificates",
        )
        return replace(usual, **self.changes)

    async def _postfix(self, _: Sight, __: Given, ___: object) -> tuple[Instance, ...]:
        return self.instances

    async def _held(self, directory: str) -> int:
        self.asked.append(directory)
        return 3

    async def _unit(self) -> UnitSeen:
        return self.unit

    def _process(self, pid: int) -> Process:
        self.asked.append(pid)
        return self.process

    async def _resolver(
        self, servers: tuple[str, ...] = (), resolv_conf: Path = Path()
    ) -> Resolver:
        self.asked.append(resolv_conf)
        return Resolver(str(resolv_conf), servers)
