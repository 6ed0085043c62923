"""A running daemon: serve, reload, and the facts that commands and metrics show.

`assembly` builds it, and gives each part its settings; a reload gives it new ones here.
"""

import asyncio
import logging
import os
from dataclasses import dataclass, field
from functools import partial

from postfix_mta_sts import logs
from postfix_mta_sts.admin import monitoring, routes
from postfix_mta_sts.admin.alerts.alerts import Alerts
from postfix_mta_sts.admin.control import Control
from postfix_mta_sts.admin.daemon_info import DaemonInfo
from postfix_mta_sts.admin.endpoints import (
    EndpointBindings,
    EndpointName,
    Endpoints,
    endpoint_bindings,
)
from postfix_mta_sts.admin.exceptions import routes as exception_routes
from postfix_mta_sts.admin.exceptions.keeper import ExceptionKeeper
from postfix_mta_sts.admin.exceptions.operations import ExceptionOperations
from postfix_mta_sts.admin.exceptions.stages import overview
from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.admin.history import PolicyHistory
from postfix_mta_sts.admin.trial import Trial, TrialFacts
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon.checks import Checks
from postfix_mta_sts.daemon.constants import Constants, SizeLimit
from postfix_mta_sts.daemon.fleet.calls import FleetCalls
from postfix_mta_sts.daemon.fleet.sharing import PolicySharing
from postfix_mta_sts.daemon.fleet.tasks import FleetTasks, Role
from postfix_mta_sts.daemon.reload import carry_out
from postfix_mta_sts.daemon.self_check import self_check
from postfix_mta_sts.network.client import NetworkClient
from postfix_mta_sts.postfix.dane import DaneSupport
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.postfix.tlsrpt.reporter import Reporter
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.refresher import Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.stats import Counters, FleetNumbers, Snapshot
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.fleet.settings import relay_name

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
    alerts: Alerts
    fleet_calls: FleetCalls
    sharing: PolicySharing


@dataclass(frozen=True, slots=True)
class Frontend:
    """The parts that answer Postfix."""

    maps: Maps
    dane_support: DaneSupport
    refresher: Refresher
    exceptions: ExceptionKeeper
    server: Server
    sockets: Sockets
    listeners: Listeners
    checks: Checks
    fleet_tasks: FleetTasks
    reporter: Reporter


@dataclass(eq=False, slots=True)
class Daemon:
    """A running daemon, built by `running`."""

    settings: Settings
    constants: Constants
    backend: Backend
    frontend: Frontend
    started_at: float = field(init=False)
    configured_at: float = field(init=False)
    control: Control = field(init=False)
    endpoints: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        backend, clock = self.backend, self.constants.clock
        self.started_at = self.configured_at = clock()
        check = partial(self_check, self.listeners)
        asked = (backend.resolver, backend.store, clock)
        self.control = Control(*asked, self.snapshot, self.info, check)
        exceptions = ExceptionOperations(
            self.frontend.exceptions, backend.store, clock, self.constants.config
        )
        trial = Trial(
            self.control.policies_on_trial, backend.store, self._trial_facts, clock, self._fleet
        )
        history = PolicyHistory(
            backend.store, backend.store, clock, lambda: backend.store.readable, self._fleet
        )
        served = {
            EndpointName.CONTROL: (
                *routes.routes(self.control),
                *exception_routes.routes(exceptions),
                *routes.trial_routes(trial),
                *routes.history_routes(history),
            ),
            EndpointName.METRICS: monitoring.routes(self.snapshot, self.overview),
        }

        self.endpoints = Endpoints(self.frontend.sockets, served, lambda: backend.network.pids)

    @property
    def listeners(self) -> Listeners:
        """The listeners for Postfix."""
        return self.frontend.listeners

    async def open(self) -> None:
        """Start to serve Postfix, commands and Prometheus. Raises `ListenError`."""
        await self.listeners.open(self.settings.listen)
        for address in self.frontend.sockets.close_unclaimed():
            logs.event(_log, logging.WARNING, "inherited socket fits no listener", address=address)
        await self.endpoints.open(await self._endpoint_bindings(self.settings))

    async def reload(self, settings: Settings) -> None:
        """Apply these settings; parts whose settings are unchanged are not disturbed.

        Raises `ListenError` for an address, `OSError` or `UserError` for a file that cannot be
        used, and `ProcessError` if the network process does not start; nothing has changed then.
        After an `IncompleteReloadError` some parts have the new settings. Only `cache.path` needs a
        restart.
        """
        begun_at = self.constants.clock()
        wanted = await self._endpoint_bindings(settings)
        places = await self.listeners.find_places(settings.listen)
        with (
            self.listeners.prepare(places) as listeners_change,
            self.endpoints.prepare(wanted) as endpoints_change,
        ):
            # Even if no setting has changed: the content of the CA file may have.
            await self.backend.network.reconfigure(settings)
        is_same_fleet = settings.fleet == self.settings.fleet
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
        apply = partial(self._apply, settings, is_same_fleet=is_same_fleet)
        steps = {"look-ups": apply, "listen": listen}
        await carry_out({**steps, "control and metrics": endpoints})
        self.configured_at = begun_at

    async def snapshot(self) -> Snapshot:
        """Return the counters and gauges of this moment."""
        backend, frontend = self.backend, self.frontend
        await frontend.maps.count()
        missing, version = logs.missing(), frontend.exceptions.notes.version
        fleet = backend.fleet_calls.numbers(backend.sharing.waiting, version)
        return Snapshot.take(
            backend.counters,
            os.getpid(),
            store_failures=backend.store.failures,
            policies_lost=backend.store.dropped,
            asked_lost=backend.store.asked_lost,
            records_lost=backend.store.records_lost,
            log_lines_unwritten=missing.dropped,
            log_lines_left_out=missing.left_out,
            domains=backend.resolver.entries,
            replies=frontend.maps.entries,
            under_way=backend.resolver.under_way,
            tasks=len(asyncio.all_tasks()),
            connections=frontend.server.connections,
            unwritten=backend.store.unwritten,
            failing=frozenset(self._failing_parts(fleet)),
            reasons={
                Part.NETWORK_PROCESS: backend.network.problem,
                Part.CA_CERTIFICATES: backend.network.authorities_problem,
                Part.STORE_READING: backend.store.reading_problem,
                Part.STORE_WRITING: backend.store.writing_problem,
                Part.FLEET: fleet.problem,
            },
            network_restarts=backend.network.restarts,
            checks_waiting=frontend.checks.waiting,
            checks_left_out=frontend.checks.left_out,
            exceptions=overview(frontend.exceptions.exceptions, self.constants.clock()),
            fleet=fleet,
        )

    async def overview(self) -> Overview:
        """Return the numbers of policies in the store."""
        now = self.constants.clock()
        return await self.backend.store.overview(now, now - self.settings.refresh.idle_after)

    def info(self) -> DaemonInfo:
        """Return the facts about this daemon that need no I/O."""
        return DaemonInfo(
            started_at=self.started_at,
            configured_at=self.configured_at,
            config=self.constants.config,
            listening=[f"{each.wire} {each.address}" for each in self.settings.listen],
            store=str(self.constants.store_path),
            idle_after=self.settings.refresh.idle_after,
            next_tick=self.frontend.refresher.next_renewal_at,
            dane=self.frontend.dane_support.status,
            answering=self.frontend.maps.answering,
            asked_at=self.frontend.maps.asked_at,
            exceptions_problem=self.frontend.exceptions.problem,
            fleet=self._fleet(),
            confinement=self.backend.network.confinement,
            pid=os.getpid(),
        )

    def _fleet(self) -> Fleet | None:
        """The fleet, for administrators; None: this relay shares nothing."""
        settings = self.settings.fleet
        if settings.url is None:
            return None
        return Fleet(self.backend.fleet_calls.ask, relay_name(settings), settings.url.shown)

    def _trial_facts(self) -> TrialFacts:
        return TrialFacts.of(self.settings, self.frontend.exceptions.exceptions)

    async def _apply(self, settings: Settings, *, is_same_fleet: bool) -> None:
        """Give the settings to the parts that cannot fail to use them."""
        # First: the network process talks to another fleet now, if these settings have one.
        self.take_part(settings)
        self.backend.resolver.reconfigure(
            lookup_timeout=settings.lookup.timeout, limits=state_limits(settings)
        )
        self.backend.size_limit.size = settings.cache.file_size
        self.backend.alerts.command.reconfigure(settings.alerts.command)
        is_on = settings.fleet.url is not None
        self.backend.fleet_calls.reconfigure(is_on=is_on, is_same=is_same_fleet)
        self.frontend.refresher.idle_after = settings.refresh.idle_after
        self.frontend.reporter.reconfigure(settings.tlsrpt.socket)
        self.frontend.maps.reconfigure(settings)
        self.frontend.checks.reconfigure(CheckConditions.of(settings))
        self.frontend.exceptions.reconfigure(settings.policy_exceptions)
        await self.frontend.dane_support.reconfigure(settings)
        await self.backend.sharing.reconfigure(settings.fleet)

    def take_part(self, settings: Settings) -> None:
        """Do for the fleet what is to be done beside look-ups, if these settings have one."""
        self.frontend.fleet_tasks.reconfigure(self.role(settings), settings.refresh.idle_after)

    def role(self, settings: Settings) -> Role | None:
        """Return what this relay is in a fleet, by these settings; None: it is in none."""
        return Role.of(settings.fleet, self.backend.network.fleet_keys)

    async def _endpoint_bindings(self, settings: Settings) -> EndpointBindings:
        # In a thread: the look-up of a host name does not delay replies.
        return await asyncio.to_thread(endpoint_bindings, settings, self.constants.control_path)

    def _failing_parts(self, fleet: FleetNumbers) -> list[Part]:
        works = {
            Part.DNS: not self.backend.network.unanswered,
            Part.NETWORK_PROCESS: not self.backend.network.problem,
            Part.CA_CERTIFICATES: not self.backend.network.authorities_problem,
            Part.STORE_READING: self.backend.store.readable,
            Part.STORE_WRITING: self.backend.store.writable,
            Part.FLEET: not fleet.problem,
        }
        return [part for part, is_working in works.items() if not is_working]


def state_limits(settings: Settings) -> Limits:
    """Return the limits of the resolver's cache."""
    return Limits(settings.cache.memory_entries, settings.cache.state_memory)
