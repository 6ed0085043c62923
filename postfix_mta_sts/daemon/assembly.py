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

from postfix_mta_sts.config.settings import Settings, default_cache_path, default_control_path
from postfix_mta_sts.daemon import systemd
from postfix_mta_sts.daemon.constants import Clock, Constants, SizeLimit
from postfix_mta_sts.daemon.daemon import Backend, Daemon, Frontend, state_limits
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
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.refresher import Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.runtime import background_task, raise_files_limit
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.stats import Counters
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
        limits=state_limits(settings),
        attempts=min(ATTEMPTS_LIMIT, constants.files),  # the network process lets queries wait
        counters=counters,
    )
    return Backend(counters, store, network, sources, resolver, size_limit)


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
