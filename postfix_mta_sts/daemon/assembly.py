"""Build the daemon from its parts: start them in order, stop them in reverse.

This is the only module that gives the parts the real clock, sockets, files and process limits.
Each part receives what it needs and does not build other parts. `daemon` is what is built.
"""

import os
import random
import time
from collections.abc import AsyncIterator, Hashable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.alerts.alerts import Alerts
from postfix_mta_sts.admin.alerts.command import AlertCommand
from postfix_mta_sts.admin.exceptions.keeper import ExceptionKeeper
from postfix_mta_sts.config.settings import Settings, default_cache_path, default_control_path
from postfix_mta_sts.daemon import systemd
from postfix_mta_sts.daemon.checks import Checks, CheckWorld
from postfix_mta_sts.daemon.constants import Clock, Constants, SizeLimit
from postfix_mta_sts.daemon.daemon import Backend, Daemon, Frontend, state_limits
from postfix_mta_sts.daemon.fleet.calls import FleetCalls
from postfix_mta_sts.daemon.fleet.first_meeting import meet_fleet
from postfix_mta_sts.daemon.fleet.presence import Presence
from postfix_mta_sts.daemon.fleet.renewals import Renewals
from postfix_mta_sts.daemon.fleet.sharing import PolicySharing
from postfix_mta_sts.daemon.fleet.tasks import FleetTasks
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.postfix.access import postfix_account
from postfix_mta_sts.postfix.dane import FIRST_TIMEOUT, DaneSupport
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.postfix.tlsrpt.collector import Collector
from postfix_mta_sts.postfix.tlsrpt.records import TlsrptRecords
from postfix_mta_sts.postfix.tlsrpt.reporter import Reporter
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.refresher import Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.runtime import background_task, raise_files_limit
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite.store import SqliteStore

FILES_LIMIT: Final = 65_536
"""File descriptors of the process: half are for clients."""


@asynccontextmanager
async def running(
    settings: Settings,
    environ: MutableMapping[str, str],
    clock: Clock = time.time,
    https_port: int = 443,
    *,
    config: str | None = None,
    timing: Timing | None = None,
    smtp_port: int = 25,
) -> AsyncIterator[Daemon]:
    """Run the whole daemon inside the context; at its end, answer pending requests and stop.

    `config`: the file of the settings, if there is one. `https_port` and `smtp_port`, the ports of
    Policy Hosts and mail servers, and `timing`, that of the network process, are for tests. Raises
    `ListenError`. Set up `logs` first.
    """
    constants = Constants(
        config=config,
        control_path=default_control_path(environ),
        store_path=settings.cache.path or default_cache_path(environ),
        default_store_path=default_cache_path(environ),
        clock=clock,
        files=raise_files_limit(FILES_LIMIT),
        https_port=https_port,
        smtp_port=smtp_port,
        timing=timing or Timing(),
    )
    # The stack stops the parts in reverse order.
    async with AsyncExitStack() as stack:
        backend = await _start_backend(stack, settings, constants)
        frontend = await _start_frontend(stack, settings, constants, backend, environ)
        daemon = Daemon(settings, constants, backend, frontend)
        stack.push_async_callback(daemon.endpoints.close)
        await frontend.dane_support.update(FIRST_TIMEOUT)
        daemon.take_part(settings)
        await backend.sharing.reconfigure(settings.fleet)
        patience = await meet_fleet(
            daemon.role(settings),
            backend.store,
            backend.fleet_calls.meet,
            clock(),
            time.monotonic,
        )
        await frontend.exceptions.start(settings.policy_exceptions, fleet_patience=patience)
        await daemon.open()
        for work, name in (
            *backend.alerts.works(),
            (frontend.refresher.run(), "refresher"),
            (frontend.dane_support.run(), "DANE support"),
            (frontend.checks.run(), "checks"),
            (frontend.exceptions.run(), "exceptions"),
            (frontend.fleet_tasks.run(), "fleet"),
            (frontend.reporter.run(), "TLS reports"),
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
    network = NetworkClient(
        constants.https_port, constants.timing, constants.smtp_port, constants.private
    )
    stack.push_async_callback(network.close)
    await network.reconfigure(settings)
    counters = Counters()
    command = AlertCommand(settings.alerts.command, counters, time.monotonic)
    alerts = Alerts(store, counters, command, constants.clock, time.monotonic)
    sources = Sources(
        network.discover,
        network.fetch,
        store,
        constants.clock,
        random.random,
        on_weakening=alerts.take,
    )
    resolver = Resolver(
        sources,
        lookup_timeout=settings.lookup.timeout,
        limits=state_limits(settings),
        attempts=min(ATTEMPTS_LIMIT, constants.files),  # the network process lets queries wait
        counters=counters,
    )
    has_fleet = settings.fleet.url is not None
    calls = FleetCalls(
        network.ask_fleet,
        lambda: network.fleet_condition,
        counters,
        constants.clock,
        is_on=has_fleet,
    )
    sharing = PolicySharing(calls.ask, resolver, store, constants.clock)
    calls.on_recovery = sharing.store_is_back
    stack.push_async_callback(sharing.close)
    return Backend(counters, store, network, sources, resolver, size_limit, alerts, calls, sharing)


async def _start_frontend(
    stack: AsyncExitStack,
    settings: Settings,
    constants: Constants,
    backend: Backend,
    environ: MutableMapping[str, str],
) -> Frontend:
    """Open the store, and make the parts that answer Postfix; no listener is open yet."""
    reporter = _make_reporter(settings, backend)
    maps = Maps(settings, backend.resolver, constants.clock, backend.counters, reporter.note)
    dane_support = _make_dane_support(settings, backend, maps)
    refresher = Refresher(
        backend.resolver, backend.sources, idle_after=settings.refresh.idle_after, replies=maps
    )
    exceptions = ExceptionKeeper(backend.store, maps.use_exceptions, maps.clear, constants.clock)
    await _open_store(stack, backend, refresher)
    postfix = postfix_account()
    uid = postfix.uid if postfix else None
    server = Server(limit=constants.files // 2, counters=backend.counters, postfix_uid=uid)
    stack.push_async_callback(server.drain)
    sockets = Sockets(systemd.inherited(environ, os.getpid()))
    listeners = Listeners(server, maps, sockets, postfix)
    checks = _make_checks(settings, constants, backend, maps)
    # Before the server drains: the next daemon may already have made its own socket files by then.
    stack.callback(sockets.close)
    stack.callback(listeners.close)
    return Frontend(
        maps,
        dane_support,
        refresher,
        exceptions,
        server,
        sockets,
        listeners,
        checks,
        _make_fleet_tasks(constants, backend, exceptions),
        reporter,
    )


def _make_reporter(settings: Settings, backend: Backend) -> Reporter:
    collector = Collector(settings.tlsrpt.socket, backend.counters, time.monotonic)
    records = TlsrptRecords(backend.network.find_tlsrpt, time.monotonic)
    return Reporter(records, collector, backend.counters)


def _make_dane_support(settings: Settings, backend: Backend, maps: Maps) -> DaneSupport:
    def use_dane(dane_lookup: DaneLookup | None, rule: DaneRule | None, servers: Hashable) -> None:
        maps.use_dane(rule)
        backend.resolver.use_dane(dane_lookup, servers)

    return DaneSupport(settings, backend.network, use_dane)


def _make_fleet_tasks(
    constants: Constants, backend: Backend, exceptions: ExceptionKeeper
) -> FleetTasks:
    def has_policy(domain: Domain) -> bool:
        entry = backend.resolver.entry(domain)
        return bool(entry and entry.state and entry.state.policy)

    async def overview() -> Overview:
        now = constants.clock()
        return await backend.store.overview(now, now)

    ask = backend.fleet_calls.ask
    presence = Presence(
        ask,
        overview,
        lambda: backend.sharing.waiting,
        lambda: exceptions.notes.version,
        __version__,
    )
    renewals = Renewals(ask, backend.resolver, has_policy, constants.clock, random=random.random)
    tasks = FleetTasks(ask, exceptions, presence, renewals)
    backend.resolver.share_usage = tasks.note_uses
    return tasks


def _make_checks(settings: Settings, constants: Constants, backend: Backend, maps: Maps) -> Checks:
    world = CheckWorld(
        backend.resolver,
        backend.store,
        backend.network,
        lambda: maps.answering,
        lambda: maps.exceptions,
        constants.clock,
        backend.counters,
        constants.smtp_port,
        backend.fleet_calls.offer_check,
    )
    return Checks(world, CheckConditions.of(settings))


async def _open_store(stack: AsyncExitStack, backend: Backend, refresher: Refresher) -> None:
    await backend.store.open()
    await backend.alerts.recall()
    stack.push_async_callback(backend.alerts.close)  # when its tasks and the resolver have stopped
    stack.push_async_callback(refresher.write_usage)
    stack.push_async_callback(backend.resolver.close)
