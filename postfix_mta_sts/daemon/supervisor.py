"""Several processes share the listeners; one that dies is replaced.

Border: processes, pipes and signals; what a worker does is handed in. The parent serves nobody
and runs no event loop, so that it can fork at any time: a new worker begins as the first did.
"""

import asyncio
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Final, NoReturn

from postfix_mta_sts.logs import event

RESPAWN: Final = 1.0
"""Seconds between two beginnings of the same worker, however fast it dies."""
_READY: Final = "ready"
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_HEEDED: Final = (*_STOPPING, signal.SIGHUP, signal.SIGCHLD)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows of itself and of its parent."""

    index: int
    """From 0; the first has what there must be only one of."""
    lifeline: int
    """A pipe that ends when the parent does."""
    ready: int
    """A pipe for words to the parent, one a line."""

    def on_orphaned(self, call: Callable[[], None]) -> None:
        """Let the running event loop call this once the parent is gone, however it went."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            loop.remove_reader(self.lifeline)
            call()

        loop.add_reader(self.lifeline, orphaned)

    def tell_ready(self) -> None:
        """Tell the parent that this worker serves."""
        self.tell(f"{_READY} {self.index}")

    def tell(self, line: str) -> None:
        """Tell the parent a line, which is `on_told` there; at most 500 bytes are."""
        # One write of less than PIPE_BUF is whole, whoever else writes (pipe(7)).
        os.write(self.ready, line.encode()[:500] + b"\n")


class Workers:
    """`count` processes that each `work`, until this one is told to stop.

    `work` is called in the new process; what it returns is its exit code. `on_ready` is called
    as soon as each worker has told that it is ready, `on_stop` when the end begins, and `on_told`
    with each line that a worker tells. At SIGHUP, if `on_hangup` wants it, each is replaced: the
    old ones are ended when the new ones serve, and `on_ready` is called again.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Worker], int],
        *,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        on_told: Callable[[str], None] = lambda _: None,
        on_hangup: Callable[[], bool] = lambda: False,
    ) -> None:
        self._count = count
        self._work = work
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_told = on_told
        self._on_hangup = on_hangup
        self._unread = b""
        self._pids: dict[int, int] = {}  # pid → index
        self._due = dict.fromkeys(range(count), 0.0)  # index → when it is to begin
        self._began = [0.0] * count
        self._unready = set(range(count))
        self._retiring: set[int] = set()  # pids of those that go as soon as none is unready
        self._stopping = False

    def run(self) -> int:
        """Begin, replace, and at SIGTERM or SIGINT end the workers; the exit code."""
        self._lifeline, self._parents_end = os.pipe()
        self._told, self._ready = os.pipe()
        self._signals, self._wakeup = os.pipe()
        for fd in (self._told, self._signals, self._wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup)
        for signum in _HEEDED:
            signal.signal(signum, _noted)
        with selectors.DefaultSelector() as selector:
            selector.register(self._told, selectors.EVENT_READ, self._hear)
            selector.register(self._signals, selectors.EVENT_READ, self._heed_signals)
            while self._pids or not self._stopping:
                self._begin_due()
                for key, _ in selector.select(self._until_next()):
                    key.data()
        return 0

    def _begin_due(self) -> None:
        now = time.monotonic()
        for index, at in list(self._due.items()):
            if now >= at and not self._stopping:
                del self._due[index]
                self._began[index] = now
                self._fork(index)

    def _until_next(self) -> float | None:
        if self._stopping or not self._due:
            return None
        return max(0.0, min(self._due.values()) - time.monotonic())

    def _fork(self, index: int) -> None:
        # A signal in between would find a child that still has its parent's ways.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        pid = os.fork()
        if not pid:
            self._become(index, blocked)
        self._pids[pid] = index
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _become(self, index: int, unblocked: set[int | signal.Signals]) -> NoReturn:
        """Be the worker: nothing of the parent's but what it needs."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for signum in _HEEDED:
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            for fd in (self._parents_end, self._told, self._signals, self._wakeup):
                os.close(fd)
            code = self._work(Worker(index, self._lifeline, self._ready))
        except BaseException as error:  # noqa: BLE001 (the top of a process: it must end here)
            event(_log, logging.ERROR, "worker broken off", worker=index, exc_info=error)
        finally:
            os._exit(code)

    def _hear(self) -> None:
        *lines, self._unread = (self._unread + os.read(self._told, 512)).split(b"\n")
        for line in (each.decode("utf-8", "replace") for each in lines):
            if line.startswith(f"{_READY} "):
                self._count_ready(int(line.removeprefix(_READY)))
            else:
                self._on_told(line)

    def _count_ready(self, index: int) -> None:
        if index not in self._unready:  # it has taken a dead one's place
            return
        self._unready.remove(index)
        if not self._unready:
            self._end(self._retiring)
            self._on_ready()

    def _heed_signals(self) -> None:
        seen = set(os.read(self._signals, 512))
        if seen & set(_STOPPING) and not self._stopping:
            self._stopping = True
            self._on_stop()
            self._end(self._pids)
        elif signal.SIGHUP in seen and not self._stopping and self._on_hangup():
            self._replace()
        self._reap()

    def _replace(self) -> None:
        """Begin all anew, and let the old ones serve until then."""
        self._retiring |= set(self._pids)
        self._unready = set(range(self._count))
        self._due = dict.fromkeys(self._unready, 0.0)

    def _end(self, pids: Iterable[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)

    def _reap(self) -> None:
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            index = self._pids.pop(pid, None)  # None: an orphan, as process 1 inherits them
            code = os.waitstatus_to_exitcode(status)
            if pid in self._retiring:
                self._retiring.remove(pid)
            elif index is not None and not self._stopping:
                event(_log, logging.ERROR, "worker died", worker=index, status=code)
                self._due[index] = self._began[index] + RESPAWN


def _noted(signum: int, frame: FrameType | None) -> None:
    """Nothing: the wakeup pipe says that a signal came, and this keeps it from killing us."""
