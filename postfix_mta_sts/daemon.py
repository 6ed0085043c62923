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
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias

from postfix_mta_sts import __version__, systemd
from postfix_mta_sts.answers import Answers
from postfix_mta_sts.beside import Beside
from postfix_mta_sts.config import Listener, Settings, default_cache_path
from postfix_mta_sts.listening import Listening
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.network import Network
from postfix_mta_sts.postfix import socketmap, tcp_table
from postfix_mta_sts.postfix.reply import PLAIN, Dress
from postfix_mta_sts.postfix.wire import Wire
from postfix_mta_sts.refresher import Refresher
from postfix_mta_sts.resolver import ATTEMPTS_LIMIT, Resolver, Sources
from postfix_mta_sts.server import Server
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.sqlite import SqliteStore

_WIRES: Final[dict[str, Wire]] = {"socketmap": socketmap, "tcp_table": tcp_table}

Clock: TypeAlias = Callable[[], float]

FILES_MOST: Final = 65_536
"""File descriptors of one process: half are for clients, a quarter for attempts."""

_log = logging.getLogger(__name__)


def told_to_stop() -> asyncio.Event:
    """What is set when this process gets SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


async def serve(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT. Raises `ListenError` where an address cannot be had."""
    stop = told_to_stop()
    async with running(settings, environ):
        event(_log, logging.INFO, "started", version=__version__, pid=os.getpid())
        systemd.notify(environ, "READY=1")
        await stop.wait()
        event(_log, logging.INFO, "stopping")
        systemd.notify(environ, "STOPPING=1")


@asynccontextmanager
async def running(
    settings: Settings,
    environ: MutableMapping[str, str],
    clock: Clock = time.time,
    https_port: int = 443,
    *,
    shared: Sequence[socket.socket] = (),
    renews: bool = True,
) -> AsyncIterator[None]:
    """The whole daemon, from its first listener to its last answer.

    Raises `ListenError`. What it logs goes where `logs.set_up` has said. `https_port`, that of
    the Policy Hosts, is for tests. Where several processes serve together, `shared` are their
    listening sockets, one for each of `settings.listen`, and only one of them `renews`.
    """
    async with AsyncExitStack() as stack:
        files = _raise_files_limit()
        path = settings.cache.path or default_cache_path(environ)

        def in_memory() -> list[tuple[Domain, State]]:
            return resolver.policies()  # made below, of this very store

        store = FailsafeStore(lambda: SqliteStore.open(path), in_memory=in_memory)
        stack.push_async_callback(store.close)  # after all others
        beside = await stack.enter_async_context(Beside())
        network = Network(beside, https_port)
        stack.push_async_callback(network.close)
        await network.change(settings)
        sources = Sources(network.discover, network.fetch, store, clock, random.random)
        resolver = Resolver(
            sources,
            lookup_timeout=settings.lookup.timeout,
            entries=settings.cache.memory_entries,
            attempts=min(ATTEMPTS_LIMIT, files // 4),
        )
        desk = _Desk(settings, resolver, clock)
        refresher = Refresher(
            resolver,
            sources,
            idle_after=settings.refresh.idle_after,
            replies=desk,
            renews=renews,
        )
        await store.open()
        stack.push_async_callback(refresher.write_asked)
        stack.push_async_callback(resolver.close)
        server = Server(limit=files // 2)
        stack.push_async_callback(server.drain)
        for listener, sock in _listeners(stack, settings, environ, shared):
            await server.listen(sock, desk.answers(listener))
        task = asyncio.create_task(refresher.run(), name="refresher")
        stack.push_async_callback(_end, task)
        yield


def _listeners(
    stack: AsyncExitStack,
    settings: Settings,
    environ: MutableMapping[str, str],
    shared: Sequence[socket.socket],
) -> Iterable[tuple[Listener, socket.socket]]:
    if not shared:
        listening = Listening(systemd.inherited(environ, os.getpid()))
        # Before the server drains: who comes after us may already have a file there by then.
        stack.callback(listening.close)
        shared = listening.open_all(settings.listen)
    return zip(settings.listen, shared, strict=True)


class _Desk:
    """Which answers a listener gives: one `Answers` for each wire and dress."""

    def __init__(self, settings: Settings, resolver: Resolver, clock: Clock) -> None:
        self._settings = settings
        self._resolver = resolver
        self._clock = clock
        self._answers: dict[tuple[str, bool], Answers] = {}
        self._dresses = {
            name: Dress(m.tlsrpt, m.servername, m.enforce_testing)
            for name, m in settings.maps.items()
        }

    def answers(self, listener: Listener) -> Answers:
        """The answers that a listener gives, shared with those that give the same."""
        key = (listener.wire, bool(listener.tlsrpt))
        if key not in self._answers:
            own = Dress(tlsrpt=bool(listener.tlsrpt))
            by_name = listener.wire == "socketmap"
            self._answers[key] = Answers(
                _WIRES[listener.wire],
                (lambda name: self._dresses.get(name, PLAIN)) if by_name else (lambda _: own),
                self._resolver,
                self._clock,
                entries=self._settings.cache.memory_entries,
                defer=self._settings.dns.on_failure == "defer",
            )
        return self._answers[key]

    def forget(self) -> None:
        """Remember no reply: the clock was set."""
        for answers in self._answers.values():
            answers.forget()

    async def count(self) -> None:
        """Bring the counts up to date with what was answered from memory."""
        for answers in list(self._answers.values()):
            await answers.count()


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
