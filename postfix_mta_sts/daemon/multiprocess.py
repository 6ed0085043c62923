"""Several processes serve together: the same listeners, the same store, one that renews.

Border: what each process is in the daemon; how processes are begun, replaced and ended is the
matter of `workers`. The parent has the sockets, so that clients can connect also while a worker
is being replaced, and speaks with systemd for all.
"""

import logging
import os
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from contextlib import ExitStack
from importlib import import_module
from socket import socket
from typing import TypeAlias

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.endpoints import WEB, EndpointAddress, EndpointName, opened, public
from postfix_mta_sts.config.settings import (
    ConfigError,
    ListenerSettings,
    Settings,
    default_control_path,
)
from postfix_mta_sts.daemon import systemd
from postfix_mta_sts.daemon.assembly import Share, running
from postfix_mta_sts.daemon.service import SettingsSource, stop_signal, watched
from postfix_mta_sts.daemon.supervisor import Worker, Workers
from postfix_mta_sts.daemon.watchdog import ENDS_AFTER, End
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.server import BACKLOG
from postfix_mta_sts.sockets import ListenError, Sockets

_log = logging.getLogger(__name__)

Run: TypeAlias = Callable[[Coroutine[None, None, None]], None]


def serve_together(
    settings: Settings,
    environ: MutableMapping[str, str],
    settings_source: SettingsSource,
    count: int,
    run: Run,
) -> None:
    """Serve in `count` processes until SIGTERM or SIGINT; each runs its event loop with `run`.

    At SIGHUP all are replaced, one by one, by others with the settings as they are then. Raises
    `ListenError`.
    """
    import_module(WEB)  # else each of them would, having come to ask the others how they fare
    sockets = _Sockets(environ)
    try:
        sockets.take_up(settings)
        sockets.close_unclaimed()
        parent = _Parent(settings, environ, settings_source, sockets, count, run)
        Workers(
            count,
            parent.work,
            on_ready=parent.ready,
            on_stop=parent.stop,
            on_told=parent.tell,
            on_hangup=parent.reload,
        ).run()
    finally:
        sockets.close()


class _Sockets:
    """What all workers share."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._listening = Sockets(systemd.inherited(environ, os.getpid()))
        self._control_path = default_control_path(environ)
        self._endpoints: dict[EndpointName, tuple[EndpointAddress, socket]] = {}
        self.listeners: Mapping[ListenerSettings, socket] = {}

    @property
    def endpoints(self) -> Mapping[EndpointName, socket]:
        """Those that could be had."""
        return {name: sock for name, (_, sock) in self._endpoints.items()}

    def take_up(self, settings: Settings) -> None:
        """Open what these settings ask for, and close what they do not.

        Raises `ListenError`; nothing has changed then.
        """
        where = public(settings, self._control_path)
        moved = {name: at for name, at in where.items() if not self._is_there(name, at)}
        for at in (at for name, at in where.items() if name not in moved):
            self._listening.permit(at.address, at.access)
        with ExitStack() as undo:
            listeners = {each: self._socket(each, undo) for each in settings.listen}
            fresh = opened(self._listening, moved)
            undo.pop_all()
        endpoints = {n: (at, s) for n, at in where.items() if (s := self._endpoint(n, fresh))}
        for sock in (*listeners.values(), *fresh.values()):
            sock.listen(BACKLOG)
        self._close_all_but({*listeners.values(), *(sock for _, sock in endpoints.values())})
        self.listeners, self._endpoints = listeners, endpoints

    def close_unclaimed(self) -> None:
        """Close the inherited sockets at which nobody serves."""
        for name in self._listening.unclaimed():
            event(_log, logging.WARNING, "inherited socket fits no listener", address=name)

    def close(self) -> None:
        """Remove the socket files that were made."""
        self._listening.close()

    def _socket(self, listener: ListenerSettings, undo: ExitStack) -> socket:
        """The socket for a listener: that of an earlier one with its address, if there was one."""
        for other, sock in self.listeners.items():
            if other.address == listener.address:
                self._listening.permit(listener.address, listener)
                return sock
        event(_log, logging.INFO, "listening", wire=listener.wire, address=listener.address)
        return undo.enter_context(self._listening.open(listener))

    def _endpoint(self, name: EndpointName, fresh: Mapping[EndpointName, socket]) -> socket | None:
        return fresh.get(name) or self.endpoints.get(name)

    def _is_there(self, name: EndpointName, at: EndpointAddress) -> bool:
        return name in self._endpoints and self._endpoints[name][0].address == at.address

    def _close_all_but(self, kept: set[socket]) -> None:
        before = [(listener.address, sock) for listener, sock in self.listeners.items()]
        before += [(at.address, sock) for at, sock in self._endpoints.values()]
        for address, sock in before:
            if sock not in kept:
                event(_log, logging.INFO, "listens no more", address=address)
                self._listening.drop(address)
                sock.close()


class _Parent:
    """The process that serves nobody."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        settings_source: SettingsSource,
        sockets: _Sockets,
        count: int,
        run: Run,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._settings_source = settings_source
        self._sockets = sockets
        self._count = count
        self._run = run
        self._reloaded = False

    def work(self, worker: Worker) -> int:
        """Be a worker, to its end; its exit code."""
        self._run(self._serve(worker))
        return 0

    def reload(self) -> bool:
        """Take up the settings as they are now; whether the workers are to be replaced."""
        systemd.notify(self._environ, *systemd.reloading())
        try:
            settings = self._settings_source.load()
            self._sockets.take_up(settings)
        except (ConfigError, ListenError, OSError) as error:
            event(_log, logging.ERROR, "not reloaded, all stays as it was", reason=str(error))
            systemd.notify(self._environ, "READY=1", f"STATUS=not reloaded: {error}")
            return False
        self._settings_source.apply(settings)
        self._settings, self._reloaded = settings, True
        return True

    def ready(self) -> None:
        """All workers serve."""
        event(
            _log,
            logging.INFO,
            "reloaded" if self._reloaded else "started",
            version=__version__,
            pid=os.getpid(),
        )
        self.tell("READY=1")

    def stop(self) -> None:
        """The end begins."""
        event(_log, logging.INFO, "stopping", version=__version__, pid=os.getpid())
        self.tell("STOPPING=1")

    def tell(self, line: str) -> None:
        """Tell systemd."""
        systemd.notify(self._environ, line)

    async def _serve(self, worker: Worker) -> None:
        stop = stop_signal()
        worker.on_orphaned(stop.set)
        share = Share(
            worker.index,
            self._count,
            list(self._sockets.listeners.values()),
            self._sockets.endpoints,
        )
        environ, config = dict(self._environ), self._settings_source.config
        async with running(self._settings, environ, config=config, share=share) as daemon:
            event(_log, logging.INFO, "worker started", worker=worker.index, pid=os.getpid())
            worker.tell_ready()
            # What this one watches for in itself is its end; only the first is heard by systemd.
            tell = worker.tell if worker.index == 0 else _nobody
            interval = systemd.watchdog(environ, os.getppid())
            with ExitStack() as stack:
                end = [stack.enter_context(End(interval * ENDS_AFTER)).put_off] if interval else []
                async with watched(daemon, interval, tell, str, *end):
                    await stop.wait()


def _nobody(_: str) -> None:
    """Hears nothing."""
