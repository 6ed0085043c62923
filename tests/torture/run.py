"""One run: the servers, the daemon, the clients, and the schedule that is carried out on them."""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from postfix_mta_sts.runtime import background_task
from tests.support.internet import authority
from tests.torture import domains, hosts, names, schedule
from tests.torture.clients import RECENT, TCP_TABLE_SHARE, Asker, Lag, Pool
from tests.torture.control import Disk
from tests.torture.daemon import ROOT, SETTINGS, Daemon, daemon
from tests.torture.events import (
    ClockSet,
    DaemonKilled,
    DaemonReady,
    Event,
    Fault,
    FaultBegan,
    FaultEnded,
    Reloaded,
    Reloading,
)
from tests.torture.invariants import Checker
from tests.torture.schedule import Action
from tests.torture.violations import Violation
from tests.torture.world import World

SLOW_DISK: Final = 0.8
"""Seconds that a slow disk takes for a query or a commit."""
KEPT: Final = 3
"""Violations of one kind of which all is kept; of others only the number."""

_DISKS: Final = {
    Fault.STORE_FULL: Disk.FULL,
    Fault.STORE_READ_ONLY: Disk.READ_ONLY,
    Fault.STORE_BROKEN: Disk.BROKEN,
    Fault.STORE_SLOW: Disk.SLOW,
}


@dataclass(slots=True)
class Outcome:
    """What a run has shown."""

    answers: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Violations by kind."""
    violations: list[Violation] = field(default_factory=list)
    """The first ones."""
    started_at: float = 0.0
    memory: list[float] = field(default_factory=list)
    """The largest resident size of the daemon, and of a network process, in MiB."""
    log_bytes: int = 0
    log_lines: Sequence[bytes] = ()
    longest_line: int = 0
    busy: float = 0.0
    """Seconds in which the machine was too busy to expect anything of new domains."""

    def add(self, violation: Violation) -> None:
        """Count a violation."""
        kind = violation.kind
        self.counts[kind] += 1
        if self.counts[kind] <= KEPT:
            self.violations.append(violation)


class Stage:
    """All that takes part in a run, and the actions on it."""

    def __init__(self, stack: AsyncExitStack, outcome: Outcome, seed: int) -> None:
        self.outcome = outcome
        self.checker = Checker()
        self.world = World(self.tell)
        self.name_server = names.NameServer(self.world)
        self.policy_hosts: hosts.PolicyHosts
        self.daemon: Daemon
        self.ca_file: Path
        self.askers: list[Asker] = []
        self._seed = seed
        self._stack = stack
        self.lag = Lag(self.tell)
        self._victims, self._others = (
            Pool(domains.known_domains(), deque(maxlen=RECENT), self.tell, self.lag)
            for _ in range(2)
        )
        self._clock_base = time.time() - time.monotonic()
        self._reload: asyncio.Task[None] | None = None

    async def open(self, folder: Path, package: Path) -> None:
        """Start the servers, the daemon and the clients."""
        enter = self._stack.enter_async_context
        await enter(self.name_server)
        self.policy_hosts = await enter(hosts.policy_hosts(self.world, authority()))
        self.ca_file = authority().write(folder)
        self.daemon = await enter(daemon(folder, self.policy_hosts.port, package))
        self._set_clock(0.0)
        self._configure("base")
        await self._start_daemon()
        for number in range(schedule.CLIENTS):
            kind = "t" if number % TCP_TABLE_SHARE == 0 else "s"
            rng = schedule.generator(self._seed, f"client {number}")
            asks_new = number < schedule.ASKERS
            pool = self._victims if number < schedule.VICTIMS else self._others
            self.askers.append(Asker(f"{kind}{number}", self.daemon, pool, rng, asks_new=asks_new))
        works = [(asker.run(), f"client {asker.name}") for asker in self.askers]
        for work, name in [*works, (self.lag.measure(), "lag"), (self._watch(), "memory")]:
            await enter(background_task(work, name))

    def tell(self, event: Event) -> None:
        """Pass an event to the checker, and keep what it finds."""
        for violation in self.checker.observe(event):
            self.outcome.add(violation)

    async def carry_out(self, action: Action) -> None:
        """Do one action of the schedule."""
        match action.what:
            case "ask":
                client, _, domain = action.detail.partition(" ")
                self.world.site(domain)
                self.askers[int(client)].planned.append((time.monotonic(), domain))
            case "begin":
                await self._begin(Fault(action.detail))
            case "end":
                await self._end(Fault(action.detail))
            case "clock":
                self._set_clock(self.daemon.control.offset + float(action.detail))
            case "renew":
                self.world.renew(action.detail)
            case "hold":
                self.world.hold(action.detail)
            case _:
                await self._on_process(action)

    async def _on_process(self, action: Action) -> None:
        match action.what:
            case "kill-daemon":
                await self._kill_daemon()
            case "start-daemon":
                await self._start_daemon()
            case "kill-network":
                self.tell(FaultBegan(time.monotonic(), Fault.NETWORK_KILLED))
                self.daemon.kill_network()
                self.tell(FaultEnded(time.monotonic(), Fault.NETWORK_KILLED))
            case "stop-network":
                self.tell(FaultBegan(time.monotonic(), Fault.NETWORK_STOPPED))
                self.daemon.stop_network()
            case "continue-network":
                self.daemon.continue_network()
                self.tell(FaultEnded(time.monotonic(), Fault.NETWORK_STOPPED))
            case "reload":
                self._start_reload(action.detail)

    async def _begin(self, fault: Fault) -> None:
        self.tell(FaultBegan(time.monotonic(), fault))
        if fault in _DISKS:
            self.daemon.control.set_disk(_DISKS[fault], SLOW_DISK)
        elif fault is Fault.LOG_STUCK:
            self.daemon.log.stick()
        elif fault.startswith("dns"):
            await self.name_server.set_mode(names.Mode(fault))
        else:
            self.policy_hosts.mode = hosts.Mode(fault)

    async def _end(self, fault: Fault) -> None:
        if fault in _DISKS:
            self.daemon.control.set_disk(Disk.GOOD)
        elif fault is Fault.LOG_STUCK:
            self.daemon.log.read()
        elif fault.startswith("dns"):
            await self.name_server.set_mode(names.Mode.GOOD)
        else:
            self.policy_hosts.mode = hosts.Mode.GOOD
        self.tell(FaultEnded(time.monotonic(), fault))

    def _set_clock(self, offset: float) -> None:
        self.daemon.control.set_clock(offset)
        self.tell(ClockSet(time.monotonic(), self._clock_base + offset))

    async def _kill_daemon(self) -> None:
        if self._reload:
            self._reload.cancel()
        at = time.monotonic()
        await self.daemon.kill()
        self.tell(DaemonKilled(at))

    async def _start_daemon(self) -> None:
        await self.daemon.start()
        self.tell(DaemonReady(time.monotonic()))
        self.tell(Reloaded(time.monotonic()))

    def _configure(self, settings: str) -> None:
        self.daemon.configure(settings, self.name_server.address, self.ca_file)

    def _start_reload(self, settings: str) -> None:
        self._configure(settings)
        self.tell(Reloading(time.monotonic(), SETTINGS[settings]))
        if self.daemon.up.is_set():
            self._reload = asyncio.create_task(self._reloaded(self._reload), name="reload")

    async def _reloaded(self, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        await self.daemon.reload()
        self.tell(Reloaded(time.monotonic()))

    async def _watch(self) -> None:
        """Note the largest sizes, and a daemon that ends by itself, until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            sizes = zip(
                self.outcome.memory or [0.0, 0.0],
                _own_and_largest(self.daemon.memory()),
                strict=True,
            )
            self.outcome.memory = [max(pair) for pair in sizes]
            if self.daemon.ended:
                at = time.monotonic()
                self.outcome.add(Violation("the daemon has ended", None, at, ()))
                self.tell(DaemonKilled(at))
                self.daemon.up.clear()
                await self._start_daemon()


async def run(
    actions: Sequence[Action],
    seconds: float,
    folder: Path,
    *,
    seed: int,
    package: Path = ROOT,
    echo: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Carry out a schedule; `package`: the folder that holds the code of the daemon.

    `echo` receives a line for each action but the questions.
    """
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        stage = Stage(stack, outcome, seed)
        await stage.open(folder, package)
        outcome.started_at = start = time.monotonic()
        for action in itertools.takewhile(lambda action: action.at < seconds, actions):
            await asyncio.sleep(max(0.0, start + action.at - time.monotonic()))
            if action.what not in {"ask", "renew", "hold"}:
                echo(str(action))
            await stage.carry_out(action)
        await asyncio.sleep(max(0.0, start + seconds - time.monotonic()))
        log = stage.daemon.log
        outcome.log_bytes, outcome.longest_line = log.bytes, log.longest
        outcome.log_lines = list(log.lines)
        outcome.busy = stage.lag.busy
    outcome.answers = stage.checker.checked
    return outcome


def _own_and_largest(sizes: Sequence[float]) -> tuple[float, float]:
    return (sizes[0], max(sizes[1:], default=0.0)) if sizes else (0.0, 0.0)
