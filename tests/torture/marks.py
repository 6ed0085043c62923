"""`python -m tests.torture.marks`: what hostile names cost others, and whether the marks are kept.

First the daemon is asked for known and for new healthy domains alone, then for a minute also for
one hostile name of each kind every second. The settings are the defaults. Prints a table; the exit
code is 1 if a mark is missed.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from postfix_mta_sts.runtime import background_task
from tests.support.clients import Client, connected
from tests.torture import domains
from tests.torture.clients import socketmap_answer
from tests.torture.daemon import ROOT, Daemon, daemon
from tests.torture.serve import servers
from tests.torture.violations import answer_by

ATTACKS: Final = (*dict.fromkeys(domains.HOSTILE), "silent")
"""Each kind of new hostile name; beside them a known one is asked for, each time another port."""
KNOWN_RATE: Final = 200.0
NEW_RATE: Final = 8.0
MARK_KNOWN: Final = 0.005
MARK_NEW: Final = 2.0
MARK_MEMORY: Final = 100.0
MARK_LOG: Final = 100.0
KINDS: Final = ("plain", "dane", "none", "danish")


@dataclass(slots=True)
class Sample:
    """Answers of one kind of question."""

    right: int = 0
    took: list[float] = field(default_factory=list)

    def add(self, took: float, *, right: bool) -> None:
        """Add one answer."""
        self.took.append(took)
        self.right += right

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / len(self.took) if self.took else 0.0

    @property
    def p99(self) -> float:
        """The time within which 99 of 100 were answered."""
        return sorted(self.took)[int(0.99 * len(self.took))] if self.took else 0.0


@dataclass(slots=True)
class Phase:
    """What was measured in one phase."""

    known: Sample = field(default_factory=Sample)
    new: Sample = field(default_factory=Sample)
    daemon_memory: float = 0.0
    network_memory: float = 0.0
    log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One mark."""

    name: str
    value: str
    mark: str
    kept: bool


class Load:
    """Asks a daemon at fixed rates; the numbers of new names go on from phase to phase."""

    def __init__(self, running: Daemon) -> None:
        self._daemon = running
        self._numbers = itertools.count(1000)
        self._tasks: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """Let the daemon know the known domains."""
        for domain in known_domains():
            await self._ask_once(domain)
        await self._ask_once(domains.name("wide", 0))

    async def phase(self, seconds: float, *, attacked: bool) -> Phase:
        """Ask for so long."""
        phase, log = Phase(), self._daemon.log
        before = log.bytes
        works: list[Coroutine[None, None, None]] = [
            self._known(phase.known),
            self._new(phase.new),
            self._watch(phase),
        ]
        if attacked:
            works.append(self._attack())
        async with contexts(works):
            await asyncio.sleep(seconds)
        await self._finish()
        phase.log_bytes = log.bytes - before
        return phase

    async def _known(self, sample: Sample) -> None:
        """Ask for known domains one after the other, over one connection."""
        async with connected(self._daemon.socketmap) as client:
            for domain in itertools.cycle(known_domains()):
                await self._ask(client, domain, sample)
                await asyncio.sleep(1 / KNOWN_RATE)

    async def _new(self, sample: Sample) -> None:
        for kind in itertools.cycle(KINDS):
            self._start(self._ask_once(domains.name(kind, next(self._numbers)), sample))
            await asyncio.sleep(1 / NEW_RATE)

    async def _attack(self) -> None:
        for port in itertools.count(1000):
            self._start(self._ask_once(f"{domains.name('wide', 0)}:{port}"))
            for kind in ATTACKS:
                self._start(self._ask_once(domains.name(kind, next(self._numbers))))
                await asyncio.sleep(1 / len(ATTACKS))

    async def _ask_once(self, key: str, sample: Sample | None = None) -> None:
        async with connected(self._daemon.socketmap) as client:
            await self._ask(client, key, sample or Sample())

    async def _ask(self, client: Client, key: str, sample: Sample) -> None:
        site = domains.site(key.partition(":")[0])
        started = time.perf_counter()
        answer = socketmap_answer(await client.ask(key))
        took = time.perf_counter() - started
        sample.add(took, right=answer == answer_by(site.policy, site.verdict))

    async def _watch(self, phase: Phase) -> None:
        while True:
            own, *others = self._daemon.memory()
            phase.daemon_memory = max(phase.daemon_memory, own)
            phase.network_memory = max(phase.network_memory, *others, 0.0)
            await asyncio.sleep(0.25)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="question")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self) -> None:
        """Wait for the answers that are missing."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=30)


def known_domains() -> Sequence[str]:
    """The domains that are asked for again and again."""
    return [domains.name(kind, number) for kind in KINDS for number in range(15)]


def rows(quiet: Phase, attacked: Phase, seconds: float) -> list[Row]:
    """The marks, and what was measured."""
    known, new = attacked.known, attacked.new
    ratio = new.p99 / quiet.new.p99 if quiet.new.p99 else 0.0
    log = attacked.log_bytes / 1024 / (seconds / 60)
    both = f"{new.p99 * 1000:.0f} ms, {ratio:.2f} x"
    return [
        Row("known domains right", _percent(known.share), "100 %", known.share == 1),
        Row("known domains, p99", _ms(known.p99), "<= 5 ms", known.p99 <= MARK_KNOWN),
        Row("new domains right", _percent(new.share), "100 %", new.share == 1),
        Row("new domains, p99", both, f"<= {MARK_NEW:g} x", ratio <= MARK_NEW),
        _memory("network process", attacked.network_memory),
        _memory("daemon", attacked.daemon_memory),
        Row("log a minute", f"{log:.0f} KiB", f"<= {MARK_LOG:g} KiB", log <= MARK_LOG),
    ]


def table(rows: Sequence[Row], quiet: Phase) -> str:
    """The table as text."""
    lines = [f"{'':24}{'measured':>18}{'mark':>12}"]
    for row in rows:
        verdict = "kept" if row.kept else "MISSED"
        lines.append(f"{row.name:24}{row.value:>18}{row.mark:>12}  {verdict}")
    without = f"known p99 {_ms(quiet.known.p99)}, new p99 {_ms(quiet.new.p99)}"
    sizes = f"{quiet.network_memory:.0f} and {quiet.daemon_memory:.0f} MiB"
    return "\n".join([*lines, f"without attack: {without}, {sizes}"])


@asynccontextmanager
async def contexts(works: Sequence[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run these tasks for the time of the context."""
    if not works:
        yield
        return
    async with background_task(works[0], "load"), contexts(works[1:]):
        yield


async def measure(folder: Path, package: Path, seconds: float) -> tuple[Phase, Phase]:
    """Run both phases; the first is half as long."""
    with servers(folder) as at:
        async with daemon(folder, at.https_port, package) as running:
            running.configure("defaults", at.nameserver, Path(at.ca_file))
            await running.start()
            load = Load(running)
            await load.warm_up()
            quiet = await load.phase(seconds / 2, attacked=False)
            return quiet, await load.phase(seconds, attacked=True)


def _memory(name: str, size: float) -> Row:
    mark = f"<= {MARK_MEMORY:g} MiB"
    return Row(f"memory, {name}", f"{size:.0f} MiB", mark, size <= MARK_MEMORY)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def main() -> int:
    """Measure and print; 1 if a mark is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.marks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the attack")
    parser.add_argument("--package", type=Path, default=ROOT, help="the code of the daemon")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marks") as folder:
        quiet, attacked = asyncio.run(measure(Path(folder), args.package, args.seconds))
    found = rows(quiet, attacked, args.seconds)
    sys.stdout.write(table(found, quiet) + "\n")
    return 0 if all(row.kept for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
