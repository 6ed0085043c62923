"""Start the network process, send it calls, start it again when it dies, stop it.

`child` is the other end. It is a separate program and not forked, since the daemon has threads.
What the calls do is up to `child` and `messages`.
"""

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from postfix_mta_sts import __version__
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.messages import (
    AnyCall,
    Cancel,
    DnsStatus,
    EventLoop,
    Failed,
    FromChild,
    Hello,
    Message,
    Progress,
    Result,
    Start,
    UntrustedServers,
    decode_from_child,
)
from postfix_mta_sts.network.settings import NetworkSettings

NICENESS: Final = 10
"""Added to the nice value, so that the daemon, which answers Postfix, has priority (nice(2))."""
RESTART_INTERVAL: Final = 1.0
"""Seconds between two starts of the process, however fast it dies."""
STOP_TIMEOUT: Final = 1.0
"""Seconds that the process has to end; then it is killed."""

_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))"
)

OnProgress: TypeAlias = Callable[[Progress], None]

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Running:
    """A call that is not finished."""

    done: asyncio.Future[Any]
    on_progress: OnProgress | None


class NetworkProcess:
    """A network process with these settings: call `start` first and `stop` last.

    If the process dies, the calls that are running fail with `OwnFaultError`, and it is started
    again; new calls wait for that. A process of another version is not used and not started
    again: calls fail until the daemon is restarted, or reloaded with matching files in place.
    """

    unanswered: bool = False
    """See `DnsClient.unanswered`."""
    untrusted: Sequence[TcpAddress] = ()
    """See `LazyDaneClient.untrusted`; as of the last `NotValidating`."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Running] = {}
        self._unsent: list[Message] = []
        self._channel: ipc.Channel[FromChild] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._stopped = False
        self._other_version: str | None = None
        self._started_at: float
        self._child: subprocess.Popen[bytes]

    async def start(self) -> None:
        """Start the process without waiting until it is ready; raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._started_at = loop.time()
        here, there = socket.socketpair()
        with there:
            try:
                self._child = _start_child(there)
            except OSError:
                here.close()
                raise
        self._channel = await ipc.open_channel(
            here, decode_from_child, self._on_messages, self._on_closed
        )
        self._channel.send_now(Hello(__version__))
        self._channel.send_now(Start(_library(loop), self._settings))
        for message in self._unsent:
            self._channel.send(message)
        self._unsent.clear()

    async def call(
        self,
        form: Callable[..., AnyCall],
        *args: object,
        on_progress: OnProgress | None = None,
    ) -> Any:  # noqa: ANN401 (each call has its own result)
        """Send a call with these arguments; return the value of its result.

        `on_progress` gets each `Progress` that arrives before the result.

        Raises the `MtaStsError` that the network process raises. Cancelling it cancels the call
        there, without waiting for its end.
        """
        if self._other_version is not None:
            raise self._closed_error()
        number = next(self._numbers)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = _Running(done, on_progress)
        self._send(form(number, *args))
        try:
            return await done
        except asyncio.CancelledError:
            self._send(Cancel(number))
            raise
        finally:
            del self._calls[number]
            # An error's traceback refers to this frame; this breaks the reference cycle.
            del done

    async def stop(self) -> None:
        """Stop the process and cancel the running calls; call nothing else afterwards."""
        self._stopped = True
        if self._restart:
            self._restart.cancel()
            with suppress(asyncio.CancelledError):
                await self._restart
        for running in self._calls.values():
            running.done.cancel()
        if self._channel:
            self._channel.close()
        await asyncio.to_thread(_wait_or_kill, self._child)

    def _send(self, message: Message) -> None:
        if self._channel:
            self._channel.send(message)
        else:
            self._unsent.append(message)

    def _on_messages(self, messages: Sequence[FromChild]) -> None:
        for message in messages:
            match message:
                case Hello(version):
                    self._check_version(version)
                case Progress(number):
                    # Later, so that an error in the callback does not close the channel.
                    asyncio.get_running_loop().call_soon(self._report, number, message)
                case DnsStatus(unanswered):
                    self.unanswered = unanswered
                case UntrustedServers(servers):
                    self.untrusted = servers
                case _:
                    self._finish(message)

    def _check_version(self, version: str) -> None:
        if version == __version__:
            return
        self._other_version = version
        event(
            _log,
            logging.ERROR,
            "network process has another version; restart the daemon",
            daemon=__version__,
            network_process=version,
        )

    def _report(self, number: int, progress: Progress) -> None:
        running = self._calls.get(number)
        if running and running.on_progress:
            running.on_progress(progress)

    def _finish(self, answer: Result | Failed) -> None:
        running = self._calls.get(answer.number)
        if running is None or running.done.done():
            return  # the call was cancelled
        if isinstance(answer, Failed):
            running.done.set_exception(answer.error)
        else:
            running.done.set_result(answer.value)

    def _on_closed(self) -> None:
        self._channel = None
        if self._stopped:
            return
        for running in self._calls.values():
            if not running.done.done():
                running.done.set_exception(self._closed_error())
        self._restart = asyncio.create_task(self._start_again(), name="restart of network process")

    def _closed_error(self) -> OwnFaultError:
        if self._other_version is None:
            return OwnFaultError("the network process ended")
        return OwnFaultError(
            f"the network process has version {self._other_version}, the daemon {__version__}: "
            "restart the daemon"
        )

    async def _start_again(self) -> None:
        status = await asyncio.to_thread(_wait_or_kill, self._child)
        self.unanswered = False
        if self._other_version is not None:
            return
        event(_log, logging.ERROR, "network process ended", status=status, pid=self._child.pid)
        while self._channel is None:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(self._started_at + RESTART_INTERVAL - now)
            try:
                await self.start()
            except OSError as error:
                event(_log, logging.ERROR, "cannot start network process", reason=str(error))


def _library(loop: asyncio.AbstractEventLoop) -> EventLoop:
    return "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"


def _start_child(sock: socket.socket) -> subprocess.Popen[bytes]:
    # The child uses the module path of this process, which depends on how that was started.
    flags = [*(["-I"] * sys.flags.isolated), *(["-S"] * sys.flags.no_site), "-P", "-c", _PROGRAM]
    command = [sys.executable, *flags, str(sock.fileno()), *sys.path]
    child = subprocess.Popen(  # noqa: S603 (this program itself)
        command, stdin=subprocess.DEVNULL, pass_fds=[sock.fileno()]
    )
    # Set from here and not by the child: its imports take most of its processor time, just when
    # the daemon starts. A sandbox may forbid this; the service matters more.
    with suppress(PermissionError):
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, child.pid, own + NICENESS)
    return child


def _wait_or_kill(child: subprocess.Popen[bytes]) -> int:
    """Wait until the process ends, kill it after `STOP_TIMEOUT`; return its status."""
    try:
        return child.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
