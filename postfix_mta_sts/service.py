"""One process as a service: what it is told by signals, and what it tells systemd.

Border: what the signals lead to is the daemon's; the form of what systemd is told, `systemd`'s.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from postfix_mta_sts import __version__, probe, systemd, watchdog
from postfix_mta_sts.config import ConfigError, Settings
from postfix_mta_sts.daemon import Daemon, running
from postfix_mta_sts.listening import ListenError
from postfix_mta_sts.logs import event

_log = logging.getLogger(__name__)


def told_to_stop() -> asyncio.Event:
    """What is set when this process gets SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


async def serve(
    settings: Settings,
    environ: MutableMapping[str, str],
    load: Callable[[], Settings],
    apply: Callable[[Settings], None],
) -> None:
    """Serve until SIGTERM or SIGINT; at SIGHUP go on with the settings that `load` gives.

    `apply` is called with them when they hold, for what is not the daemon's. Raises `ListenError`
    where an address cannot be had.
    """
    stop, hangup = told_to_stop(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    async with running(settings, environ) as daemon, AsyncExitStack() as stack:
        service = Service(daemon, environ, load, apply)
        event(_log, logging.INFO, "started", version=__version__, pid=os.getpid())
        systemd.notify(environ, "READY=1")
        await stack.enter_async_context(service.watched())
        await stack.enter_async_context(_task(service.heed(hangup), "reload"))
        await stop.wait()
        event(_log, logging.INFO, "stopping")
        systemd.notify(environ, "STOPPING=1")


class Service:
    """A daemon, and systemd, which wants to know how it is."""

    def __init__(
        self,
        daemon: Daemon,
        environ: Mapping[str, str],
        load: Callable[[], Settings],
        apply: Callable[[Settings], None],
    ) -> None:
        self._daemon = daemon
        self._environ = environ
        self._load = load
        self._apply = apply
        self._trouble = ""

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While this is entered, systemd is told that look-ups are answered, and how it goes."""
        async with AsyncExitStack() as stack:
            if interval := systemd.watchdog(self._environ, os.getpid()):
                watch = watchdog.watch(self._look_up, interval, lambda: self._tell("WATCHDOG=1"))
                await stack.enter_async_context(_task(watch, "watchdog"))
            if "NOTIFY_SOCKET" in self._environ:
                show = watchdog.show_status(self._status, self._tell)
                await stack.enter_async_context(_task(show, "status"))
            yield

    async def heed(self, hangup: asyncio.Event) -> None:
        """Reload whenever this is set; never returns."""
        while True:
            await hangup.wait()
            hangup.clear()
            await self.reload()

    async def reload(self) -> None:
        """Go on with the settings as they are now; where they cannot be used, as before."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            settings = await asyncio.to_thread(self._load)
            await self._daemon.reload(settings)
        except (ConfigError, ListenError, OSError) as error:
            self._trouble = f"not reloaded: {error}"
            event(_log, logging.ERROR, "not reloaded, all stays as it was", reason=str(error))
        else:
            self._trouble = ""
            self._apply(settings)
            event(_log, logging.INFO, "reloaded")
        self._tell("READY=1", f"STATUS={await self._status()}")

    async def _look_up(self, deadline: float) -> None:
        listener, sock = self._daemon.doors.sockets[0]
        await probe.ask(probe.bound(listener.wire, sock), deadline=deadline)

    async def _status(self) -> str:
        await self._daemon.desk.count()
        policies = len(self._daemon.resolver.policies())
        return watchdog.status_line(policies, self._daemon.counts, self._trouble)

    def _tell(self, *lines: str) -> None:
        systemd.notify(self._environ, *lines)


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """What runs while this is entered."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
