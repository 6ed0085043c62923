"""Several processes serve together: the same listeners, the same store, one that renews.

Border: what each process is in the daemon; how processes are begun, replaced and ended is the
matter of `workers`.
"""

import logging
import os
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from socket import socket

from postfix_mta_sts import __version__, systemd
from postfix_mta_sts.config import Settings
from postfix_mta_sts.daemon import running
from postfix_mta_sts.listening import Listening
from postfix_mta_sts.logs import event
from postfix_mta_sts.server import BACKLOG
from postfix_mta_sts.service import told_to_stop
from postfix_mta_sts.workers import Worker, Workers

_log = logging.getLogger(__name__)

Run = Callable[[Coroutine[None, None, None]], None]


def serve_together(
    settings: Settings, environ: MutableMapping[str, str], count: int, run: Run
) -> None:
    """Serve in `count` processes until SIGTERM or SIGINT; each runs its event loop with `run`.

    Raises `ListenError`. The listening sockets are this process's, so that clients can connect
    also while a worker is being replaced.
    """
    listening = Listening(systemd.inherited(environ, os.getpid()))
    try:
        sockets = listening.open_all(settings.listen)
        for sock in sockets:
            sock.listen(BACKLOG)

        def work(worker: Worker) -> int:
            run(_serve(worker, settings, environ, sockets))
            return 0

        Workers(
            count,
            work,
            on_ready=lambda: _tell(environ, "started", "READY=1"),
            on_stop=lambda: _tell(environ, "stopping", "STOPPING=1"),
        ).run()
    finally:
        listening.close()


async def _serve(
    worker: Worker,
    settings: Settings,
    environ: MutableMapping[str, str],
    sockets: Sequence[socket],
) -> None:
    stop = told_to_stop()
    worker.on_orphaned(stop.set)
    async with running(settings, environ, shared=sockets, renews=worker.index == 0):
        event(_log, logging.INFO, "worker started", worker=worker.index, pid=os.getpid())
        worker.tell_ready()
        await stop.wait()


def _tell(environ: MutableMapping[str, str], what: str, state: str) -> None:
    event(_log, logging.INFO, what, version=__version__, pid=os.getpid())
    systemd.notify(environ, state)
