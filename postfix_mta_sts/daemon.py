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
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from postfix_mta_sts import systemd
from postfix_mta_sts.beside import Beside
from postfix_mta_sts.config import Settings, default_cache_path
from postfix_mta_sts.counts import Counts
from postfix_mta_sts.desk import Desk
from postfix_mta_sts.doors import Doors
from postfix_mta_sts.listening import Listening
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.network import Network
from postfix_mta_sts.refresher import Refresher
from postfix_mta_sts.resolver import ATTEMPTS_LIMIT, Resolver, Sources
from postfix_mta_sts.server import Server
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite import SqliteStore

Clock: TypeAlias = Callable[[], float]

FILES_MOST: Final = 65_536
"""File descriptors of one process: half are for clients, a quarter for attempts."""

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Daemon:
    """A daemon that runs; made by `running`."""

    settings: Settings
    counts: Counts
    store: FailsafeStore
    network: Network
    resolver: Resolver
    refresher: Refresher
    desk: Desk
    server: Server
    doors: Doors

    async def reload(self, settings: Settings) -> None:
        """Go on as these settings have it; what they leave as it was is not touched.

        Raises `ListenError` or `OSError` for what cannot be had; nothing has changed then. The
        place of the store is the one thing that takes a restart.
        """
        with self.doors.opened(settings.listen) as fresh:
            await self.network.change(settings)  # in any case: the CA file may have changed
        self.resolver.change(
            lookup_timeout=settings.lookup.timeout, entries=settings.cache.memory_entries
        )
        self.refresher.idle_after = settings.refresh.idle_after
        self.desk.change(settings)
        await self.doors.change(settings.listen, fresh)
        if settings.cache.path != self.settings.cache.path:
            event(_log, logging.WARNING, "cache.path takes a restart", path=settings.cache.path)
        self.settings = settings


@asynccontextmanager
async def running(
    settings: Settings,
    environ: MutableMapping[str, str],
    clock: Clock = time.time,
    https_port: int = 443,
    *,
    shared: Sequence[socket.socket] = (),
    renews: bool = True,
) -> AsyncIterator[Daemon]:
    """The whole daemon, from its first listener to its last answer.

    Raises `ListenError`. What it logs goes where `logs.set_up` has said. `https_port`, that of
    the Policy Hosts, is for tests. Where several processes serve together, `shared` are their
    listening sockets, one for each of `settings.listen`, and only one of them `renews`.
    """
    async with AsyncExitStack() as stack:
        files = _raise_files_limit()
        path = settings.cache.path or default_cache_path(environ)
        counts = Counts()

        def in_memory() -> list[tuple[Domain, State]]:
            return resolver.policies()  # made below, of this very store

        store = FailsafeStore(lambda: SqliteStore.open(path), in_memory=in_memory)
        stack.push_async_callback(store.close)  # after all others
        network = Network(await stack.enter_async_context(Beside()), https_port)
        stack.push_async_callback(network.close)
        await network.change(settings)
        sources = Sources(network.discover, network.fetch, store, clock, random.random)
        resolver = Resolver(
            sources,
            lookup_timeout=settings.lookup.timeout,
            entries=settings.cache.memory_entries,
            attempts=min(ATTEMPTS_LIMIT, files // 4),
            counts=counts,
        )
        desk = Desk(settings, resolver, clock, counts)
        idle_after = settings.refresh.idle_after
        refresher = Refresher(resolver, sources, idle_after=idle_after, replies=desk, renews=renews)
        await store.open()
        stack.push_async_callback(refresher.write_asked)
        stack.push_async_callback(resolver.close)
        server = Server(limit=files // 2, counts=counts)
        stack.push_async_callback(server.drain)
        listening = Listening(systemd.inherited(environ, os.getpid()))
        doors = Doors(server, desk, listening)
        # Before the server drains: who comes after us may already have a file there by then.
        stack.callback(doors.close)
        await doors.open(settings.listen, shared or listening.open_all(settings.listen))
        task = asyncio.create_task(refresher.run(), name="refresher")
        stack.push_async_callback(_end, task)
        yield Daemon(settings, counts, store, network, resolver, refresher, desk, server, doors)


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
