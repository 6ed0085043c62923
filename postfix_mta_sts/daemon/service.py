"""One process as a service: what it is told by signals, and what it tells systemd.

Border: what the signals lead to is the daemon's; the form of what systemd is told, `systemd`'s.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, MutableMapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import Any

from postfix_mta_sts import __version__
from postfix_mta_sts.config.settings import ConfigError, Settings
from postfix_mta_sts.daemon import systemd, watchdog
from postfix_mta_sts.daemon.assembly import Daemon, running
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.sockets import ListenError

_log = logging.getLogger(__name__)


def stop_signal() -> asyncio.Event:
    """What is set when this process gets SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings come from."""

    config: str | None
    """The file; None: the defaults."""
    load: Callable[[], Settings]
    """Raises `ConfigError`."""
    apply: Callable[[Settings], None]
    """Is called with settings that have come to hold, for what is not the daemon's."""


async def serve(
    settings: Settings, environ: MutableMapping[str, str], settings_source: SettingsSource
) -> None:
    """Serve until SIGTERM or SIGINT; at SIGHUP go on with the settings as they are then.

    Raises `ListenError` where an address cannot be had.
    """
    stop, hangup = stop_signal(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    async with (
        running(settings, environ, config=settings_source.config) as daemon,
        AsyncExitStack() as stack,
    ):
        service = _Service(daemon, environ, settings_source)
        event(_log, logging.INFO, "started", version=__version__, pid=os.getpid())
        service.tell("READY=1")
        await stack.enter_async_context(service.watched())
        await stack.enter_async_context(_task(service.heed(hangup), "reload"))
        await stop.wait()
        event(_log, logging.INFO, "stopping")
        service.tell("STOPPING=1")


class _Service:
    """A daemon that is alone, and systemd."""

    def __init__(
        self, daemon: Daemon, environ: Mapping[str, str], settings_source: SettingsSource
    ) -> None:
        self._daemon = daemon
        self._environ = environ
        self._settings_source = settings_source
        self._trouble = ""

    def watched(self) -> AbstractAsyncContextManager[None]:
        """While this is entered, systemd hears from us."""
        interval = systemd.watchdog(self._environ, os.getpid())
        return watched(self._daemon, interval, self.tell, lambda: self._trouble)

    async def heed(self, hangup: asyncio.Event) -> None:
        """Reload whenever this is set; never returns."""
        while True:
            await hangup.wait()
            hangup.clear()
            await self._reload()

    def tell(self, *lines: str) -> None:
        """Tell systemd."""
        systemd.notify(self._environ, *lines)

    async def _reload(self) -> None:
        """Go on with the settings as they are now; where they cannot be used, as before."""
        self.tell(*systemd.reloading())
        try:
            settings = await asyncio.to_thread(self._settings_source.load)
            await self._daemon.reload(settings)
        except (ConfigError, ListenError, OSError) as error:
            self._trouble = f"not reloaded: {error}"
            event(_log, logging.ERROR, "not reloaded, all stays as it was", reason=str(error))
        else:
            self._trouble = ""
            self._settings_source.apply(settings)
            event(_log, logging.INFO, "reloaded")
        self.tell("READY=1", f"STATUS={await status(self._daemon, self._trouble)}")


@asynccontextmanager
async def watched(
    daemon: Daemon,
    interval: float | None,
    tell: Callable[[str], None],
    trouble: Callable[[], str] = str,
    *feeds: Callable[[], None],
) -> AsyncIterator[None]:
    """While this is entered, systemd is told by `tell` that look-ups are answered, and how it is.

    `interval`: seconds within which it wants to hear that; None: never. Whoever else is fed by
    each look-up that is answered is in `feeds`.
    """

    async def look_up(deadline: float) -> None:
        places = [probe.bound(each.wire, sock) for each, sock in daemon.listeners.sockets]
        await watchdog.look_up(places, deadline)

    def feed() -> None:
        tell("WATCHDOG=1")
        for each in feeds:
            each()

    async with AsyncExitStack() as stack:
        if interval:
            watch = watchdog.watch(look_up, interval, feed)
            await stack.enter_async_context(_task(watch, "watchdog"))
        show = watchdog.show_status(lambda: status(daemon, trouble()), tell)
        await stack.enter_async_context(_task(show, "status"))
        yield


async def status(daemon: Daemon, trouble: str = "") -> str:
    """How all processes of the daemon fare, in one line."""
    policies = len(daemon.resolver.policies())
    return watchdog.status_line(policies, await daemon.control.snapshot(), trouble)


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
