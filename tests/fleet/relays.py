"""The relays of a fleet: real daemons, each with its own folder, sockets, store and clock."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.e2e.daemon import PROGRAM, Daemon
from tests.e2e.namespace import Namespace
from tests.e2e.transcript import TIMEOUT
from tests.fleet.clock import wrong_clock
from tests.fleet.folders import new_folder
from tests.fleet.outside import NAME_SERVER
from tests.fleet.stores import SharedStore
from tests.fleet.world import World
from tests.support.clients import connected

Sections = Mapping[str, Mapping[str, object]]

LOOKUP_TIMEOUT: Final = 10.0
"""The default, by which the wait for another relay is 2 s."""


def secure(domain: str, mx: str = "mx1") -> str:
    """The reply for a domain with a policy of this MX host."""
    return f"OK secure match={mx}.{domain} servername=hostname"


class Relay(Daemon):
    """A relay; its network process belongs to it."""

    def __init__(
        self,
        name: str,
        inside: Namespace,
        folder: Path,
        log: Path,
        settings: Mapping[str, object],
        environ: Mapping[str, str],
    ) -> None:
        self.name: Final = name
        self.folder: Final = folder
        self.socketmap: Final = folder / "socketmap"
        listen = [{"socketmap": f"unix:{self.socketmap}", "mode": "0660"}]
        super().__init__(inside, folder, log, {"listen": listen, **settings}, environ=environ)

    async def answer(self, domain: str) -> str:
        """Return the reply to a look-up, over a new connection."""
        async with asyncio.timeout(TIMEOUT), connected(self.socketmap) as client:
            return (await client.ask(domain)).decode()

    async def answers(self, domains: Sequence[str], clients: int = 20) -> dict[str, str]:
        """Return the replies to a look-up of each, by this number of clients."""
        waiting = list(reversed(domains))
        replies: dict[str, str] = {}

        async def ask() -> None:
            async with connected(self.socketmap) as client:
                while waiting:
                    domain = waiting.pop()
                    async with asyncio.timeout(TIMEOUT):
                        replies[domain] = (await client.ask(domain)).decode()

        await asyncio.gather(*(ask() for _ in range(min(clients, len(domains)))))
        return replies

    def command(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a command of this relay."""
        return subprocess.run(
            [PROGRAM, *words, "--config", self.config],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, **self._environ},
        )

    def ask_control(self, method: str, *parts: str) -> Any:  # noqa: ANN401 - JSON has any shape
        """Send a request to the control socket; a command would take a second to start."""
        return ControlClient(self.folder / "control.sock", TIMEOUT).ask(method, *parts)

    def wait_for_network_process(self) -> None:
        """Wait until it is ready: before that, this relay cannot ask the shared store."""
        end = time.monotonic() + TIMEOUT
        while self.ask_control("GET", "status")["sandbox"] is None:
            assert time.monotonic() < end, f"{self.name} has no network process"
            time.sleep(0.05)

    def refresh(self, *domains: str) -> None:
        """Renew policies, as `policy refresh` does."""
        for domain in domains:
            self.ask_control("POST", "policies", domain, "refresh")

    def forget_all(self) -> None:
        """Empty its disk; it does not run."""
        for file in self.folder.glob(f"{self.store.name}*"):
            file.unlink()

    async def make_due(self, domains: Sequence[str]) -> None:
        """Have policies be due to be fetched again, as old as they are; it does not run."""
        store = await SqliteStore.open(self.store)
        try:
            for domain, state in (await store.load_all([Domain(each) for each in domains])).items():
                await store.note(domain, replace(state, refetch_at=state.fetched_at))
        finally:
            await store.close()

    def age_policies(self) -> None:
        """Make all policies on file an hour old, and due to be fetched; it does not run."""
        with contextlib.closing(sqlite3.connect(self.store)) as file, file:
            file.execute(
                "UPDATE policies SET fetched_at = fetched_at - 3600, digest = NULL,"
                " expires_at = expires_at - 3600, refetch_at = fetched_at - 60"
            )

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop both of its processes while the context is open."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """The daemon's process, and its network process."""
        assert self._process
        found = [self._process.pid]
        for children in Path(f"/proc/{found[0]}/task").glob("*/children"):
            found += map(int, children.read_text("ascii").split())
        return found


class Fleet:
    """Starts relays that have the same settings; made by `fleet_of`."""

    def __init__(
        self,
        inside: Namespace,
        folder: Path,
        logs: Path,
        world: World,
        section: Mapping[str, object],
    ) -> None:
        self._inside = inside
        self._folder = folder
        self._logs = logs
        self._world = world
        self._section = section
        self._started = contextlib.ExitStack()
        self._number = 0

    def start(
        self,
        name: str,
        *,
        offset: int = 0,
        is_member: bool = True,
        changes: Sections = MappingProxyType({}),
    ) -> Relay:
        """Start a relay with an empty disk, with a clock that is `offset` seconds ahead.

        `is_member`: it shares the store. `changes` replace values of its configuration, by section
        and key.
        """
        settings = self._settings(name, changes)
        if not is_member:
            settings.pop("fleet")
        made = self._make(name, settings, offset)
        made.start()
        return made

    def start_all(self, *names: str) -> list[Relay]:
        """Start relays with empty disks."""
        return [self.start(name) for name in names]

    def _make(self, name: str, settings: Mapping[str, object], offset: int) -> Relay:
        self._number += 1
        folder = self._folder / f"{self._number}-{name}"
        environ = wrong_clock(self._folder, offset) if offset else {}
        log = (
            self._logs / f"{self._folder.parent.name}-{self._folder.name}-{self._number}-{name}.log"
        )
        made = Relay(name, self._inside, folder, log, settings, environ)
        self._started.callback(made.kill)
        return made

    def end(self) -> None:
        """Kill all relays."""
        self._started.close()

    def _settings(self, name: str, changes: Sections) -> dict[str, object]:
        sections: dict[str, Mapping[str, object]] = {
            "dns": {"nameservers": [NAME_SERVER], "timeout": "2s"},
            "dane": {"mode": "off"},
            "https": {"ca_file": str(self._world.ca_file), "allow_private_addresses": True},
            "lookup": {"timeout": f"{LOOKUP_TIMEOUT:g}s"},
            "log": {"level": "info"},
        }
        sections["fleet"] = {**self._section, "name": name}
        for section, values in changes.items():
            sections[section] = {**sections.get(section, {}), **values}
        return {section: values for section, values in sections.items() if values}


async def joined(relay: Relay, world: World, store: SharedStore) -> None:
    """Wait until a relay uses the store: on a busy machine it may be late with that."""
    for domain in world.published(20):
        if await relay.answer(domain) == secure(domain):
            await store.has("policy", [domain])
            return
    raise AssertionError(f"{relay.name} does not answer")


@contextlib.contextmanager
def fleet_of(
    inside: Namespace,
    folder: Path,
    logs: Path,
    world: World,
    section: Mapping[str, object],
) -> Iterator[Fleet]:
    """Start relays with the files in a new folder of this name; kill them at the end."""
    made = Fleet(inside, new_folder(folder), logs, world, section)
    try:
        yield made
    finally:
        made.end()
