"""Puts the parts together: start in order, stop in reverse.

Border: the only place where the parts meet their real surroundings: clock, sockets, files,
signals. Each part is handed what it needs and knows nothing of the others' making.
"""

import asyncio
import contextlib
import logging
import os
import random
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.admin import monitoring
from postfix_mta_sts.admin import routes as routes_of
from postfix_mta_sts.admin.control import Control, DaemonInfo
from postfix_mta_sts.admin.endpoints import EndpointName, Endpoints, Where, public
from postfix_mta_sts.config.settings import Settings, default_cache_path, default_control_path
from postfix_mta_sts.daemon import systemd
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.postfix.dane import DaneSupport
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.resolver.attempt import Sources
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.refresher import Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.stats import Counters, Part, Snapshot
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite.store import SqliteStore

Clock: TypeAlias = Callable[[], float]

FILES_MOST: Final = 65_536
"""File descriptors of one process: half are for clients, a quarter for attempts."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    """What part a process has among those that serve together."""

    index: int = 0
    """The first has what there must be only one of."""
    processes: int = 1
    listeners: Sequence[socket.socket] = ()
    """One for each of `settings.listen`, from the parent, as are the next."""
    endpoints: Mapping[EndpointName, socket.socket] = field(default_factory=dict)


ALONE: Final = Share()


@dataclass(eq=False, slots=True, kw_only=True)
class Daemon:
    """A daemon that runs; made by `running`."""

    settings: Settings
    config: str | None
    """The file that was read; None: the defaults."""
    control_path: Path
    """Where the control socket is if the settings do not say."""
    share: Share
    clock: Clock
    started_at: float
    store_path: Path
    counters: Counters
    store: FailsafeStore
    network: NetworkClient
    resolver: Resolver
    refresher: Refresher
    maps: Maps
    dane_support: DaneSupport
    server: Server
    listening: Sockets
    listeners: Listeners
    control: Control = field(init=False)
    endpoints: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        self.control = Control(
            self.resolver,
            self.store,
            self.clock,
            self.snapshot,
            self.info,
        )
        routes = {
            EndpointName.CONTROL: routes_of.routes(self.control),
            EndpointName.METRICS: monitoring.routes(self.control.snapshot, self.overview),
        }
        self.endpoints = Endpoints(self.listening, routes)

    async def open(self) -> None:
        """Let Postfix and others in. Raises `ListenError`."""
        listeners = self.share.listeners or self.listening.open_all(self.settings.listen)
        await self.listeners.open(self.settings.listen, listeners)
        alone, shared = self.share.processes == 1, self._public(self.settings)
        own = shared if alone else {}
        with self.endpoints.opened(own) as fresh:
            pass
        await self.endpoints.reconfigure({**shared, **own}, {**fresh, **self.share.endpoints})

    async def reload(self, settings: Settings) -> None:
        """Go on as these settings have it; what they leave as it was is not touched.

        Raises `ListenError` or `OSError` for what cannot be had; nothing has changed then. The
        place of the store is the one thing that takes a restart.
        """
        where = self._public(settings)
        with (
            self.listeners.opened(settings.listen) as listeners,
            self.endpoints.opened(where) as shown,
        ):
            await self.network.reconfigure(settings)  # in any case: the CA file may have changed
        self.resolver.reconfigure(
            lookup_timeout=settings.lookup.timeout, entries=settings.cache.memory_entries
        )
        self.refresher.idle_after = settings.refresh.idle_after
        self.maps.reconfigure(settings)
        await self.dane_support.reconfigure(settings)
        await self.listeners.reconfigure(settings.listen, listeners)
        await self.endpoints.reconfigure(where, shown)
        if settings.cache.path != self.settings.cache.path:
            event(_log, logging.WARNING, "cache.path takes a restart", path=settings.cache.path)
        self.settings = settings

    async def snapshot(self) -> Snapshot:
        """What this process says of itself in numbers."""
        await self.maps.count()
        works = {
            Part.DNS: not self.network.unanswered,
            Part.STORE_READING: self.store.readable,
            Part.STORE_WRITING: self.store.writable,
        }
        return Snapshot.taken(
            self.counters,
            os.getpid(),
            store_failures=self.store.failures,
            policies_lost=self.store.dropped,
            asked_lost=self.store.asked_lost,
            domains=self.resolver.entries,
            replies=self.maps.entries,
            under_way=self.resolver.under_way,
            tasks=len(asyncio.all_tasks()),
            connections=self.server.connections,
            unwritten=self.store.unwritten,
            failing=frozenset(part for part, does in works.items() if not does),
        )

    async def overview(self) -> Overview:
        """What is on file, in numbers."""
        now = self.clock()
        return await self.store.overview(now, now - self.settings.refresh.idle_after)

    def info(self) -> DaemonInfo:
        """What this daemon can say of itself without asking anybody."""
        return DaemonInfo(
            started_at=self.started_at,
            config=self.config,
            listening=[f"{each.wire} {each.address}" for each in self.settings.listen],
            store=str(self.store_path),
            idle_after=self.settings.refresh.idle_after,
            next_tick=self.refresher.next_look_at,
            dane=self.dane_support.dane_status,
            pid=os.getpid() if self.share.processes == 1 else os.getppid(),
        )

    def _public(self, settings: Settings) -> Where:
        return public(settings, self.control_path)


@asynccontextmanager
async def running(
    settings: Settings,
    environ: MutableMapping[str, str],
    clock: Clock = time.time,
    https_port: int = 443,
    *,
    config: str | None = None,
    share: Share = ALONE,
) -> AsyncIterator[Daemon]:
    """The whole daemon, from its first listener to its last answer.

    Raises `ListenError`. What it logs goes where `logs.set_up` has said. `https_port`, that of
    the Policy Hosts, is for tests.
    """
    async with AsyncExitStack() as stack:
        files = _raise_files_limit()
        path = settings.cache.path or default_cache_path(environ)
        counters = Counters()

        def in_memory() -> list[tuple[Domain, State]]:
            return resolver.policies()  # made below, of this very store

        store = FailsafeStore(lambda: SqliteStore.open(path), in_memory=in_memory)
        stack.push_async_callback(store.close)  # after all others
        network = NetworkClient(https_port)
        stack.push_async_callback(network.close)
        await network.reconfigure(settings)
        sources = Sources(network.discover, network.fetch, store, clock, random.random)
        resolver = Resolver(
            sources,
            lookup_timeout=settings.lookup.timeout,
            entries=settings.cache.memory_entries,
            attempts=min(ATTEMPTS_LIMIT, files // 4),
            counters=counters,
        )
        maps = Maps(settings, resolver, clock, counters)

        def use_dane(dane_lookup: DaneLookup | None, rule: DaneRule | None) -> None:
            maps.use_dane(rule)
            resolver.use_dane(dane_lookup)

        dane_support = DaneSupport(settings, network, use_dane, tells=share.index == 0)
        refresher = Refresher(
            resolver,
            sources,
            idle_after=settings.refresh.idle_after,
            replies=maps,
            renews=share.index == 0,
        )
        await store.open()
        stack.push_async_callback(refresher.write_asked)
        stack.push_async_callback(resolver.close)
        server = Server(limit=files // 2, counters=counters)
        stack.push_async_callback(server.drain)
        listening = Sockets(systemd.inherited(environ, os.getpid()))
        listeners = Listeners(server, maps, listening)
        # Before the server drains: who comes after us may already have a file there by then.
        stack.callback(listeners.close)
        daemon = Daemon(
            settings=settings,
            config=config,
            control_path=default_control_path(environ),
            share=share,
            clock=clock,
            started_at=clock(),
            store_path=path,
            counters=counters,
            store=store,
            network=network,
            resolver=resolver,
            refresher=refresher,
            maps=maps,
            dane_support=dane_support,
            server=server,
            listening=listening,
            listeners=listeners,
        )
        stack.push_async_callback(daemon.endpoints.close)
        await dane_support.settle()
        await daemon.open()
        for work, name in ((refresher.run(), "refresher"), (dane_support.run(), "judging")):
            stack.push_async_callback(_end, asyncio.create_task(work, name=name))
        yield daemon


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _raise_files_limit() -> int:
    """Let this process open as many files as it may; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES_MOST if hard == resource.RLIM_INFINITY else min(hard, FILES_MOST)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files
