"""Run the daemon as a service: handle signals, and report to systemd.

`assembly` builds, reloads and stops the daemon; `systemd` knows the notification protocol.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from postfix_mta_sts import __version__
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import systemd, watchdog
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.daemon.reload import IncompleteReloadError, changed_keys
from postfix_mta_sts.daemon.self_check import places
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.logs import event
from postfix_mta_sts.network.process import ProcessError
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.sockets import ListenError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings come from."""

    config: str | None
    """The file; None: the defaults."""
    load: Callable[[], Settings]
    """Read the settings. Raises `ConfigError`, a `UserError`."""
    apply: Callable[[Settings], None]
    """Called after a reload, to apply the settings that do not belong to the daemon (logging)."""


async def serve(
    settings: Settings, environ: MutableMapping[str, str], settings_source: SettingsSource
) -> None:
    """Serve until SIGTERM or SIGINT; reload the settings at SIGHUP.

    Raises `ListenError` if the daemon cannot listen on an address.
    """
    stop = _event_set_by(signal.SIGTERM, signal.SIGINT)
    hangup = _event_set_by(signal.SIGHUP)
    async with (
        running(settings, environ, config=settings_source.config) as daemon,
        AsyncExitStack() as stack,
    ):
        service = _Service(daemon, environ, settings_source)
        event(_log, logging.INFO, "started", version=__version__, pid=os.getpid())
        service.notify("READY=1")
        for work, name in service.tasks(hangup):
            await stack.enter_async_context(background_task(_logged(work, name), name))
        await stop.wait()
        event(_log, logging.INFO, "stopping")
        service.notify("STOPPING=1")


async def _logged(work: Coroutine[Any, Any, None], name: str) -> None:
    """Do the work of a task; if a fault ends it, log that at once, not when the daemon stops."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (the top of a task: look-ups are answered all the same)
        event(_log, logging.ERROR, "task ended by an internal error", task=name, exc_info=error)


class _Service:
    """A running daemon, and its connection to systemd."""

    def __init__(
        self, daemon: Daemon, environ: Mapping[str, str], settings_source: SettingsSource
    ) -> None:
        self._daemon = daemon
        self._environ = environ
        self._settings_source = settings_source
        self._error = ""

    def tasks(self, hangup: asyncio.Event) -> list[tuple[Coroutine[Any, Any, None], str]]:
        """Return the tasks of the service, and their names: watchdog, status, reload."""
        tasks = [
            (watchdog.show_status(self._status, self.notify), "status"),
            (self._reload_at(hangup), "reload"),
        ]
        if interval := systemd.watchdog(self._environ, os.getpid()):
            watch = watchdog.watch(self._look_up, interval, lambda: self.notify("WATCHDOG=1"))
            tasks.insert(0, (watch, "watchdog"))
        return tasks

    def notify(self, *lines: str) -> None:
        """Notify systemd."""
        systemd.notify(self._environ, *lines)

    async def _reload_at(self, hangup: asyncio.Event) -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            await self._reload()

    async def _reload(self) -> None:
        """Load and apply the settings; keep the previous ones if that fails."""
        self.notify(*systemd.reloading())
        before = self._daemon.settings
        try:
            settings = await asyncio.to_thread(self._settings_source.load)
            await self._daemon.reload(settings)
        except (UserError, ListenError, ProcessError, OSError) as error:
            self._refused(str(error))
        except IncompleteReloadError as error:
            self._settings_source.apply(self._daemon.settings)
            self._incomplete(error)
        except Exception as error:  # noqa: BLE001 (the top of a task: the next reload tries again)
            self._error = f"reload failed: {error!r}"
            event(_log, logging.ERROR, "reload failed by an internal error", exc_info=error)
        else:
            self._error = ""
            self._settings_source.apply(settings)
            event(
                _log,
                logging.INFO,
                "reloaded",
                changed=changed_keys(before, settings) or None,
                needs_restart=self._daemon.constants.needs_restart(settings) or None,
            )
        self.notify("READY=1", f"STATUS={await self._status()}")

    def _refused(self, reason: str) -> None:
        self._error = f"reload failed: {reason}"
        event(
            _log,
            logging.ERROR,
            "reload failed, keeping the previous configuration",
            reason=reason,
        )

    def _incomplete(self, error: IncompleteReloadError) -> None:
        self._error = f"reload incomplete: {error}"
        event(
            _log,
            logging.ERROR,
            "reload incomplete, restart the daemon",
            failed=list(error.failed),
            exc_info=next(iter(error.failed.values())),
        )

    async def _look_up(self, seconds: float) -> None:
        await watchdog.look_up(places(self._daemon.listeners), seconds)

    async def _status(self) -> str:
        """Describe the daemon in one line."""
        snapshot = await self._daemon.snapshot()
        policies = self._daemon.backend.resolver.policies
        error = self._error or self._daemon.backend.network.problem
        return watchdog.status_line(policies, snapshot, error)


def _event_set_by(*signums: signal.Signals) -> asyncio.Event:
    received = asyncio.Event()
    for signum in signums:
        asyncio.get_running_loop().add_signal_handler(signum, received.set)
    return received
