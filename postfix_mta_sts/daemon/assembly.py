"""Build the daemon from its parts: start them in order, stop them in reverse, reload them.

This is the only module that gives the parts the real clock, sockets, files and process limits.
Each part receives what it needs and does not build other parts.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Hashable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from postfix_mta_sts import logs
from postfix_mta_sts.admin import monitoring, routes
from postfix_mta_sts.admin.answer import Answering
from postfix_mta_sts.admin.control import Control, DaemonInfo
from postfix_mta_sts.admin.endpoints import (
    EndpointBindings,
    EndpointName,
    Endpoints,
    endpoint_bindings,
)
from postfix_mta_sts.config.settings import Settings, default_cache_path, default_control_path
from postfix_mta_sts.daemon import systemd
from postfix_mta_sts.daemon.constants import Clock, Constants, SizeLimit
from postfix_mta_sts.daemon.reload import carry_out
from postfix_mta_sts.daemon.self_check import self_check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.postfix.access import postfix_account
from postfix_mta_sts.postfix.dane import FIRST_TIMEOUT, DaneSupport, dane_rule
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.refresher import Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.runtime import background_task, raise_files_limit
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.stats import Counters, Part, Snapshot
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite.store import SqliteStore

FILES_LIMIT: Final = 65_536
"""File descriptors of the process: half are for clients."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that find policies: in memory, in the store, in the network."""

    counters: Counters
    store: FailsafeStore
    network: NetworkClient
    sources: Sources
    resolver: Resolver
    size_limit: SizeLimit


@dataclass(frozen=True, slots=True)
class Frontend:
    """The parts that answer Postfix."""

    maps: Maps
    dane_support: DaneSupport
    refresher: Refresher
    server: Server
    sockets: Sockets
    listeners: Listeners


@dataclass(eq=False, slots=True)
class Daemon:
    """A running daemon, built by `running`."""

    settings: Settings
    constants: Constants
    backend: Backend
    frontend: Frontend
    started_at: float = field(init=False)
    control: Control = field(init=False)
    endpoints: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        backend, clock = self.backend, self.constants.clock
        self.started_at = clock()
        check = partial(self_check, self.listeners)
        asked = (backend.resolver, backend.store, clock)
        self.control = Control(*asked, self.snapshot, self.info, check)
        served = {
            EndpointName.CONTROL: routes.routes(self.control),
            EndpointName.METRICS: monitoring.routes(self.snapshot, self.overview),
        }
        self.endpoints = Endpoints(self.frontend.sockets, served)

    @property
    def listeners(self) -> Listeners:
        """The listeners for Postfix."""
        return self.frontend.listeners

    async def open(self) -> None:
        """Start to serve Postfix, commands and Prometheus. Raises `ListenError`."""
        await self.listeners.open(self.settings.listen)
        for address in self.frontend.sockets.close_unclaimed():
            logs.event(_log, logging.WARNING, "inherited socket fits no listener", address=address)
        await self.endpoints.open(self._endpoint_bindings(self.settings))

    async def reload(self, settings: Settings) -> None:
        """Apply these settings; parts whose settings are unchanged are not disturbed.

        Raises `ListenError` for an address, `OSError` for a file that cannot be used, and
        `ProcessError` if the network process does not start; nothing has changed then. After an
        `IncompleteReloadError` some parts have the new settings. Only `cache.path` needs a restart.
        """
        wanted = self._endpoint_bindings(settings)
        places = await self.listeners.find_places(settings.listen)
        with (
            self.listeners.prepare(places) as listeners_change,
            self.endpoints.prepare(wanted) as endpoints_change,
        ):
            # Even if no setting has changed: the content of the CA file may have.
            await self.backend.network.reconfigure(settings)
        self.settings = settings
        if self.constants.needs_restart(settings):
            logs.event(
                _log,
                logging.WARNING,
                "cache.path needs a restart",
                path=settings.cache.path or self.constants.default_store_path,
                open=self.constants.store_path,
            )
        listen = partial(self.listeners.reconfigure, places, listeners_change)
        endpoints = partial(self.endpoints.reconfigure, wanted, endpoints_change)
        steps = {"look-ups": partial(self._apply, settings), "listen": listen}
        await carry_out({**steps, "control and metrics": endpoints})

    async def snapshot(self) -> Snapshot:
        """Return the counters and gauges of this moment."""
        backend, frontend = self.backend, self.frontend
        await frontend.maps.count()
        missing = logs.missing()
        return Snapshot.take(
            backend.counters,
            os.getpid(),
            store_failures=backend.store.failures,
            policies_lost=backend.store.dropped,
            asked_lost=backend.store.asked_lost,
            log_lines_unwritten=missing.dropped,
            log_lines_left_out=missing.left_out,
            domains=backend.resolver.entries,
            replies=frontend.maps.entries,
            under_way=backend.resolver.under_way,
            tasks=len(asyncio.all_tasks()),
            connections=frontend.server.connections,
            unwritten=backend.store.unwritten,
            failing=frozenset(self._failing_parts()),
            reasons={
                Part.NETWORK_PROCESS: backend.network.problem,
                Part.CA_CERTIFICATES: backend.network.authorities_problem,
                Part.STORE_READING: backend.store.reading_problem,
                Part.STORE_WRITING: backend.store.writing_problem,
            },
            network_restarts=backend.network.restarts,
        )

    async def overview(self) -> Overview:
        """Return the numbers of policies in the store."""
        now = self.constants.clock()
        return await self.backend.store.overview(now, now - self.settings.refresh.idle_after)

    def info(self) -> DaemonInfo:
        """Return the facts about this daemon that need no I/O."""
        return DaemonInfo(
            started_at=self.started_at,
            config=self.constants.config,
            listening=[f"{each.wire} {each.address}" for each in self.settings.listen],
            store=str(self.constants.store_path),
            idle_after=self.settings.refresh.idle_after,
            next_tick=self.frontend.refresher.next_renewal_at,
            dane=self.frontend.dane_support.status,
            answering=self._answering(),
            asked_at=self.frontend.maps.asked_at,
            pid=os.getpid(),
        )

    def _answering(self) -> Answering:
        reply_format = self.frontend.maps.reply_format("postfix")  # as in the documentation
        rules = dane_rule(self.settings).rules(
            dns_defers=self.settings.dns.on_failure == "defer",
            enforce_testing=reply_format.enforce_testing,
        )
        return Answering(rules, self.frontend.dane_support.status.on, reply_format)

    async def _apply(self, settings: Settings) -> None:
        """Give the settings to the parts that cannot fail to use them."""
        self.backend.resolver.reconfigure(
            lookup_timeout=settings.lookup.timeout, limits=_state_limits(settings)
        )
        self.backend.size_limit.size = settings.cache.file_size
        self.frontend.refresher.idle_after = settings.refresh.idle_after
        self.frontend.maps.reconfigure(settings)
        await self.frontend.dane_support.reconfigure(settings)

    def _endpoint_bindings(self, settings: Settings) -> EndpointBindings:
        return endpoint_bindings(settings, self.constants.control_path)

    def _failing_parts(self) -> list[Part]:
        works = {
            Part.DNS: not self.backend.network.unanswered,
            Part.NETWORK_PROCESS: not self.backend.network.problem,
            Part.CA_CERTIFICATES: not self.backend.network.authorities_problem,
            Part.STORE_READING: self.backend.store.readable,
            Part.STORE_WRITING: self.backend.store.writable,
        }
        return [part for part, is_working in works.items() if not is_working]


@asynccontextmanager
async def running(
    settings: Settings,
    environ: MutableMapping[str, str],
    clock: Clock = time.time,
    https_port: int = 443,
    *,
    config: str | None = None,
    timing: Timing | None = None,
) -> AsyncIterator[Daemon]:
    """Run the whole daemon inside the context; at its end, answer pending requests and stop.

    `config`: the file of the settings, if there is one. `https_port`, the port of the Policy
    Hosts, and `timing`, that of the network process, are for tests. Raises `ListenError`. Set up
    `logs` first.
    """
    constants = Constants(
        config=config,
        control_path=default_control_path(environ),
        store_path=settings.cache.path or default_cache_path(environ),
        default_store_path=default_cache_path(environ),
        clock=clock,
        files=raise_files_limit(FILES_LIMIT),
        https_port=https_port,
        timing=timing or Timing(),
    )
    # The stack stops the parts in reverse order.
    async with AsyncExitStack() as stack:
        backend = await _start_backend(stack, settings, constants)
        frontend = await _start_frontend(stack, settings, constants, backend, environ)
        daemon = Daemon(settings, constants, backend, frontend)
        stack.push_async_callback(daemon.endpoints.close)
        await frontend.dane_support.update(FIRST_TIMEOUT)
        await daemon.open()
        for work, name in (
            (frontend.refresher.run(), "refresher"),
            (frontend.dane_support.run(), "DANE support"),
        ):
            await stack.enter_async_context(background_task(work, name))
        yield daemon


async def _start_backend(
    stack: AsyncExitStack, settings: Settings, constants: Constants
) -> Backend:
    """Start the network process; the store is not open yet (`_open_store`)."""

    async def in_memory() -> list[tuple[Domain, State]]:
        # The resolver is made below, with this store.
        return await resolver.states(lambda state: state.policy is not None)

    size_limit = SizeLimit(settings.cache.file_size)
    open_store = partial(
        SqliteStore.open, constants.store_path, clock=constants.clock, size_limit=size_limit
    )
    store = FailsafeStore(open_store, in_memory=in_memory)
    stack.push_async_callback(store.close)  # last: the other parts still write when they stop
    network = NetworkClient(constants.https_port, constants.timing)
    stack.push_async_callback(network.close)
    await network.reconfigure(settings)
    sources = Sources(network.discover, network.fetch, store, constants.clock, random.random)
    counters = Counters()
    resolver = Resolver(
        sources,
        lookup_timeout=settings.lookup.timeout,
        limits=_state_limits(settings),
        attempts=min(ATTEMPTS_LIMIT, constants.files),  # the network process lets queries wait
        counters=counters,
    )
    return Backend(counters, store, network, sources, resolver, size_limit)


def _state_limits(settings: Settings) -> Limits:
    return Limits(settings.cache.memory_entries, settings.cache.state_memory)


async def _start_frontend(
    stack: AsyncExitStack,
    settings: Settings,
    constants: Constants,
    backend: Backend,
    environ: MutableMapping[str, str],
) -> Frontend:
    """Open the store, and make the parts that answer Postfix; no listener is open yet."""
    maps = Maps(settings, backend.resolver, constants.clock, backend.counters)
    dane_support = _make_dane_support(settings, backend, maps)
    refresher = Refresher(
        backend.resolver, backend.sources, idle_after=settings.refresh.idle_after, replies=maps
    )
    await _open_store(stack, backend, refresher)
    postfix = postfix_account()
    uid = postfix.uid if postfix else None
    server = Server(limit=constants.files // 2, counters=backend.counters, postfix_uid=uid)
    stack.push_async_callback(server.drain)
    sockets = Sockets(systemd.inherited(environ, os.getpid()))
    listeners = Listeners(server, maps, sockets, postfix)
    # Before the server drains: the next daemon may already have made its own socket files by then.
    stack.callback(sockets.close)
    stack.callback(listeners.close)
    return Frontend(maps, dane_support, refresher, server, sockets, listeners)


def _make_dane_support(settings: Settings, backend: Backend, maps: Maps) -> DaneSupport:
    def use_dane(dane_lookup: DaneLookup | None, rule: DaneRule | None, servers: Hashable) -> None:
        maps.use_dane(rule)
        backend.resolver.use_dane(dane_lookup, servers)

    return DaneSupport(settings, backend.network, use_dane)


async def _open_store(stack: AsyncExitStack, backend: Backend, refresher: Refresher) -> None:
    await backend.store.open()
    stack.push_async_callback(refresher.write_usage)
    stack.push_async_callback(backend.resolver.close)
