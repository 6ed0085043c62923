"""Look at the Postfix and the daemon of this machine, and fill in a `Snapshot`; it never writes.

All parts run at once, and each awaits those that it needs. What fails, is late or is not allowed is
in `Snapshot.unseen`, and the other parts go on without it; see `sight`.
"""

import asyncio
import os
import pwd
import time
from asyncio import Task, TaskGroup
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import postfix_mta_sts
from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.diagnosis.unjoined import in_thread
from postfix_mta_sts.admin.doctor import collect_daemon, collect_system
from postfix_mta_sts.admin.doctor.collect_daemon import Process
from postfix_mta_sts.admin.doctor.collect_outward import HERE, OutwardLook, Ports
from postfix_mta_sts.admin.doctor.collect_postfix import look_at_postfix
from postfix_mta_sts.admin.doctor.collect_system import RESOLV_CONF, UnitSeen
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.sight import BUDGET, Sight
from postfix_mta_sts.admin.doctor.snapshot import (
    ConfigProblem,
    Daemon,
    DaemonState,
    Outward,
    Resolver,
    Snapshot,
    StoreFile,
)
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.held_mail import count_held
from postfix_mta_sts.postfix.installed.sleeping import Sleeping, sleeping_at
from postfix_mta_sts.postfix.installed.values import Instance

UNIT_PATIENCE: Final = 1.0
"""Seconds for which the tables of Postfix wait for what systemd says of the daemon."""
_LATE: Final = Daemon(DaemonState.HANGS, "no answer at the control socket")


@dataclass(frozen=True, slots=True)
class Looks:
    """The functions that look at the parts; other ones are for tests."""

    postfix: Callable[..., Coroutine[Any, Any, tuple[Instance, ...]]] = look_at_postfix
    held: Callable[[str], Awaitable[int]] = count_held
    unit: Callable[[], Awaitable[UnitSeen]] = collect_system.read_unit
    daemon: Callable[[ControlClient], Daemon] = collect_daemon.ask_daemon
    process: Callable[[int], Process] = collect_daemon.read_process
    resolver: Callable[..., Awaitable[Resolver]] = collect_system.ask_resolver
    bundle: Callable[[], str] = collect_system.find_bundle
    ca_problem: Callable[[Path | None], str] = collect_system.daemon_ca_problem
    ports: Ports = HERE


@dataclass(frozen=True, slots=True)
class _Tasks:
    """One task for each part; in the end all have a result."""

    unit: Task[UnitSeen | None]
    daemon: Task[Daemon]
    process: Task[Process | None]
    store: Task[StoreFile | None]
    problems: Task[Sequence[ConfigProblem]]
    config_time: Task[float | None]
    program_time: Task[float | None]
    bundle: Task[str]
    ca_problem: Task[str]
    resolver: Task[Resolver | None]
    postfix: Task[tuple[Instance, ...]]
    postfix_resolvers: Task[Sequence[Resolver | None]]
    waiting: Task[int | None]
    outward: Task[Outward | None]


class Collector:
    """Looks once at all parts; made within the event loop in which `run` is called, once.

    `client` reaches the running daemon. `preflight` says what keeps the daemon from starting, and
    may block. `clock` gives epoch seconds, `budget` is in seconds.
    """

    def __init__(
        self,
        given: Given,
        client: ControlClient,
        preflight: Callable[[], Sequence[ConfigProblem]],
        *,
        looks: Looks | None = None,
        clock: Callable[[], float] = time.time,
        budget: float = BUDGET,
    ) -> None:
        self._given = given
        self._client = client
        self._preflight = preflight
        self._looks = looks or Looks()
        self._clock = clock
        self._sight = Sight(is_root=os.geteuid() == 0, budget=budget)

    @property
    def pending(self) -> Sequence[str]:
        """The parts that are being looked at."""
        return self._sight.pending

    async def run(self) -> Snapshot:
        """Look at everything at once; takes the budget at most."""
        async with TaskGroup() as group:
            tasks = self._start(group)
        return self._snapshot(tasks)

    def _start(self, group: TaskGroup) -> _Tasks:
        """Start all parts; each awaits those that it needs."""
        start, looks, look = group.create_task, self._looks, self._sight.look
        ca_problem = partial(looks.ca_problem, self._given.settings.https.ca_file)
        unit = start(look("the systemd unit", looks.unit, None))
        daemon = start(self._daemon(unit))
        process = start(self._process(unit, daemon))
        postfix = start(looks.postfix(self._sight, self._given, partial(_sleeping, unit)))
        return _Tasks(
            unit,
            daemon,
            process,
            store=start(self._store(unit, daemon, process)),
            problems=start(look("what a start needs", partial(in_thread, self._preflight), ())),
            config_time=start(self._mtime(self._given.config_file)),
            program_time=start(self._mtime(Path(postfix_mta_sts.__file__))),
            bundle=start(look("the CA certificates", partial(in_thread, looks.bundle), "")),
            ca_problem=start(
                look("the daemon's CA certificates", partial(in_thread, ca_problem), "")
            ),
            resolver=start(look("the daemon's name servers", self._resolver, None)),
            postfix=postfix,
            postfix_resolvers=start(self._resolvers_of(postfix)),
            waiting=start(self._waiting(postfix)),
            outward=start(self._outward(postfix)),
        )

    def _snapshot(self, tasks: _Tasks) -> Snapshot:
        given, unit = self._given, tasks.unit.result()
        return Snapshot(
            now=self._clock(),
            version=postfix_mta_sts.__version__,
            program_time=tasks.program_time.result() or 0.0,
            is_root=self._sight.is_root,
            main_cf_file=str(given.main_cf_file or ""),
            instances=tasks.postfix.result(),
            daemon=_with_process(tasks.daemon.result(), tasks.process.result()),
            unit=unit.unit if unit else None,
            settings=given.settings if given.is_valid else None,
            config_file=str(given.config_file or ""),
            config_time=tasks.config_time.result(),
            config_problems=(*given.config_problems, *tasks.problems.result()),
            daemon_resolver=tasks.resolver.result(),
            postfix_resolver=next(iter(tasks.postfix_resolvers.result()), None),
            ca_bundle=tasks.bundle.result(),
            ca_problem=tasks.ca_problem.result(),
            store=tasks.store.result(),
            outward=tasks.outward.result(),
            waiting=tasks.waiting.result(),
            unseen=(*given.unseen, *self._sight.unseen),
            places=given.places,
            other_resolvers=tuple(filter(None, tasks.postfix_resolvers.result()[1:])),
        )

    async def _mtime(self, path: Path | None) -> float | None:
        """When a file was last written."""
        if path is None:
            return None
        read = partial(in_thread, partial(collect_system.mtime, path))
        return await self._sight.look(f"the time of {path}", read, None)

    async def _daemon(self, unit: Task[UnitSeen | None]) -> Daemon:
        """Ask at the control socket; if there is none, at the listeners."""
        ask = partial(in_thread, partial(self._looks.daemon, self._client))
        daemon = await self._sight.look("the control socket", ask, _LATE)
        if daemon.state is DaemonState.DENIED:
            self._sight.miss("the status of the daemon", daemon.reason)
        seen = await unit
        # A socket of systemd would start a daemon that was stopped on purpose.
        is_stopped = seen is not None and not seen.unit.is_active
        if daemon.state is not DaemonState.NOT_RUNNING or is_stopped:
            return daemon
        asked = partial(collect_daemon.without_control, daemon, self._given.settings.listen)
        return await self._sight.look("the listeners of the daemon", asked, daemon)

    async def _process(self, unit: Task[UnitSeen | None], daemon: Task[Daemon]) -> Process | None:
        """The process that the daemon, or systemd, names."""
        seen, status = await unit, (await daemon).status or {}
        pid = status.get("pid") or (seen.pid if seen else 0)
        if not pid:
            return None
        read = partial(in_thread, partial(self._looks.process, pid))
        return await self._sight.look("the process of the daemon", read, None)

    async def _store(
        self, unit: Task[UnitSeen | None], daemon: Task[Daemon], process: Task[Process | None]
    ) -> StoreFile | None:
        """What the daemon's user may do with its store; None also if there is no such user."""
        status, running, seen = (await daemon).status or {}, await process, await unit
        account = running.account if running else await self._account_of(seen)
        if account is None:
            return None
        path = Path(status.get("store_path") or self._given.store_path)
        read = partial(in_thread, partial(collect_daemon.look_at_store, path, account))
        return await self._sight.look("the store", read, None)

    async def _account_of(self, unit: UnitSeen | None) -> Account | None:
        """The user that systemd gives to the daemon; a look-up of a user may ask the network."""
        if unit is None or not unit.user:
            return None
        find = partial(in_thread, partial(_account, unit.user))
        return await self._sight.look(f"the user {unit.user}", find, None)

    async def _resolver(self) -> Resolver:
        """The name servers of the daemon."""
        return await self._looks.resolver(self._given.settings.dns.nameservers)

    async def _resolvers_of(self, postfix: Task[tuple[Instance, ...]]) -> Sequence[Resolver | None]:
        """The name servers that smtp(8) asks, of each instance that has a file of its own."""
        paths = dict.fromkeys(map(_resolv_conf, await postfix))
        asked = (each for each in paths if each and not self._given.main_cf_file)
        return await asyncio.gather(*map(self._resolver_of, asked))

    async def _resolver_of(self, path: Path) -> Resolver | None:
        asked = partial(self._looks.resolver, resolv_conf=path)
        return await self._sight.look(f"the name servers of Postfix in {path}", asked, None)

    async def _waiting(self, postfix: Task[tuple[Instance, ...]]) -> int | None:
        """The messages in all queues that wait because of a policy."""
        directories = [each.config_directory for each in await postfix]
        if not directories or self._given.main_cf_file:
            return None
        return await self._sight.look("the mail queue", partial(self._count, directories), None)

    async def _count(self, directories: Sequence[str]) -> int:
        return sum(await asyncio.gather(*map(self._looks.held, directories)))

    async def _outward(self, postfix: Task[tuple[Instance, ...]]) -> Outward | None:
        domain, ports = self._given.outward, self._looks.ports
        if domain is None:
            return None
        looker = OutwardLook(self._sight, domain, self._given.settings, ports, self._clock)
        what = f"the servers of {domain}"
        return await self._sight.look(what, partial(looker.run, partial(_helo_name, postfix)), None)


async def _sleeping(unit: Task[UnitSeen | None]) -> Sleeping:
    """The addresses at which a question would start the daemon; none if systemd does not answer."""
    await asyncio.wait([unit], timeout=UNIT_PATIENCE)
    seen = unit.result() if unit.done() else None
    return sleeping_at(seen.sleeping) if seen else ()


async def _helo_name(postfix: Task[tuple[Instance, ...]]) -> str:
    """The name with which smtp(8) greets."""
    services = (s for each in await postfix for s in each.services)
    names = (s.main_cf.smtp_helo_name for s in services if "smtp_helo_name" not in s.unknown)
    return next(filter(None, names), "localhost")


def _with_process(daemon: Daemon, process: Process | None) -> Daemon:
    if process is None:
        return daemon
    return replace(daemon, command_line=process.command_line, uid=process.account.uid)


def _account(user: str) -> Account | None:
    """The user of this name; None: there is none."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _resolv_conf(instance: Instance) -> Path | None:
    """The file that smtp(8) of an instance reads, in its chroot if it has one."""
    if not instance.services:
        return None
    chrooted = next((each for each in instance.services if each.is_chrooted), None)
    if chrooted is None:
        return RESOLV_CONF
    return Path(chrooted.main_cf.queue_directory, "etc/resolv.conf")
