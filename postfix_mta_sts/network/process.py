"""One network process, from its start to its end: handshake, calls, pings.

`child` is the other end, `launch` starts it, and `supervisor` decides when another one is needed.
`pending_calls` has the calls that it has not finished.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from postfix_mta_sts import __version__
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.network import ipc, launch
from postfix_mta_sts.network.messages import (
    AnyCall,
    AuthoritiesStatus,
    Cancel,
    Confined,
    DnssecServers,
    DnsStatus,
    EventLoop,
    FleetStatus,
    FromChild,
    Hello,
    Message,
    Outdated,
    Ping,
    Pong,
    Progress,
    Ready,
    Start,
    decode_from_child,
)
from postfix_mta_sts.network.pending_calls import (
    CutOffError,
    LostCallError,
    OnProgress,
    PendingCalls,
)
from postfix_mta_sts.network.reports import Reports
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.timing import Pulse, Timing, call_timeout, pulse

if TYPE_CHECKING:
    import subprocess


class ProcessError(UserError):
    """A network process cannot be used; `str()` says why."""


class WrongVersionError(ProcessError):
    """The process has another version than the daemon."""

    def __init__(self, version: str) -> None:
        super().__init__(
            f"the network process has version {version}, the daemon {__version__}: "
            "restart the daemon"
        )
        self.version = version


class Owner(Protocol):
    """Learns what happens to a process."""

    def on_pulse(self, process: "NetworkProcess", /, *, silent: bool) -> None:
        """It does not answer, or answers again."""

    def on_outdated(self, process: "NetworkProcess", path: str, /) -> None:
        """It needs a successor, which can read a file that was replaced."""

    def on_closed(self, process: "NetworkProcess", /) -> None:
        """It takes no more calls; its unfinished ones fail with `LostCallError`."""


class NetworkProcess(Reports):
    """A process with these settings; call `start` first, then `wait_until_ready`, `stop` last."""

    fault: str = ""
    """Why the daemon has given the process up; empty if the process ended by itself."""
    started_at: float
    """By the clock of the event loop, as `ready_at`."""
    ready_at: float | None = None

    def __init__(self, settings: NetworkSettings, timing: Timing, owner: Owner) -> None:
        self._settings = settings
        self._timing = timing
        self._owner = owner
        self._calls = PendingCalls()
        self._decided = asyncio.Event()  # it is ready, or has ended
        self._closed = False
        self._other_version: str | None = None
        self._pinged = False
        self._unanswered_pings = 0
        self._pinging: asyncio.Task[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: ipc.Channel[FromChild] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None if the process could not be started."""
        return self._child.pid if self._child else None

    @property
    def is_running(self) -> bool:
        """Whether the process was started, and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def is_silent(self) -> bool:
        """Whether pings have not been answered for too long."""
        return pulse(self._unanswered_pings, self._timing) is not Pulse.BEATING

    @property
    def silence(self) -> float:
        """The seconds for which a ping has not been answered."""
        return self._unanswered_pings * self._timing.ping

    async def start(self, *, is_urgent: bool = False) -> None:
        """Start the process without waiting until it is ready; raises `OSError`.

        It gives way to the daemon: at once, or, if it is urgent, after its imports. These take most
        of the processor time of a start, and on a busy machine more than ten seconds otherwise.
        """
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        here, there = socket.socketpair()
        try:
            with there:
                self._child = launch.start_child(there)
            if not is_urgent:
                launch.give_way(self._child)
            self._channel = channel = await ipc.open_channel(
                here, decode_from_child, self._on_messages, self._on_closed
            )
        except BaseException:
            here.close()
            raise
        channel.send_now(Hello(__version__))
        channel.send_now(Start(_library(loop), self._settings))

    async def wait_until_ready(self, seconds: float) -> None:
        """Wait until the process can answer calls; raises `ProcessError`, also after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._decided.wait()
        except TimeoutError:
            reason = f"was not ready within {seconds:g} s: it hangs, or the machine is overloaded"
            raise ProcessError(f"the network process {reason}") from None
        if self._other_version is not None:
            raise WrongVersionError(self._other_version)
        if self._closed:
            status = await self.reap()
            why = self.fault or f"ended with status {status} before it was ready"
            raise ProcessError(f"the network process {why}")

    async def call(
        self,
        form: Callable[..., AnyCall],
        *args: object,
        on_progress: OnProgress | None = None,
    ) -> Any:  # noqa: ANN401 (each call has its own result)
        """Send a call with these arguments; return the value of its result.

        `on_progress` gets each `Progress` that arrives before the result. Raises the `MtaStsError`
        that the process raises, `LostCallError`, `CutOffError`, or `OwnFaultError` if there is no
        result in time. Cancelling it cancels the call there, without waiting for its end.
        """
        if self._closed:
            raise LostCallError
        message = form(self._calls.next_number(), *args)
        result = self._calls.add(message, call_timeout(message, self._settings), on_progress)
        self._send(message)
        try:
            return await result
        except asyncio.CancelledError:
            self._send(Cancel(message.number))
            raise
        finally:
            self._calls.remove(message.number)
            # An error's traceback refers to this frame; this breaks the reference cycle.
            del result

    async def wait_until_idle(self) -> None:
        """Wait until no call is running."""
        await self._calls.wait_until_none()

    def cut_off(self) -> None:
        """Let the running calls fail with `CutOffError`; `stop` follows."""
        self._calls.fail(CutOffError)

    async def stop(self) -> None:
        """Stop the process and cancel the running calls; call nothing else afterwards."""
        self._calls.cancel()
        if self._child is None:
            return
        self._closed = True
        if self._channel:
            self._channel.close()
        if self.ready_at is None:
            self._child.kill()  # it may be busy with its imports, and has done nothing yet
        await self.reap()

    async def reap(self) -> int | None:
        """Wait for the end of a process that was closed, kill it if need be; return its status."""
        if self._pinging:
            self._pinging.cancel()
        return await launch.wait_or_kill(self._child) if self._child else None

    def _send(self, message: Message) -> None:
        if self._channel and not self._closed:
            self._channel.send(message)

    def _on_messages(self, messages: Sequence[FromChild]) -> None:
        for message in messages:
            match message:
                case Hello(version):
                    self._on_hello(version)
                case Ready():
                    self._on_ready()
                case Pong():
                    self._on_pong()
                case Progress():
                    # Later, so that an error in the callback does not close the channel.
                    asyncio.get_running_loop().call_soon(self._calls.report, message)
                case Outdated(path):
                    self._owner.on_outdated(self, path)
                case (
                    AuthoritiesStatus() | Confined() | DnssecServers() | DnsStatus() | FleetStatus()
                ):
                    self.note(message)
                case _:
                    self._calls.finish(message)

    def _on_hello(self, version: str) -> None:
        if self._child:
            launch.give_way(self._child)
        if version != __version__:
            self._other_version = version
            self._decided.set()

    def _on_ready(self) -> None:
        self.ready_at = asyncio.get_running_loop().time()
        self._decided.set()
        self._pinging = asyncio.create_task(self._ping(), name="ping of network process")

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._timing.ping)
            for number in self._calls.time_out():
                self._send(Cancel(number))
            if not self._pinged:
                self._pinged = True
                self._send(Ping())
                continue
            self._unanswered_pings += 1
            match pulse(self._unanswered_pings, self._timing):
                case Pulse.HUNG:
                    self._give_up(f"did not answer for {self.silence:g} s")
                    return
                case Pulse.SILENT if self._unanswered_pings == self._timing.silent_after:
                    self._owner.on_pulse(self, silent=True)
                    self._calls.lose_progress()

    def _on_pong(self) -> None:
        was_silent = self.is_silent
        self._pinged, self._unanswered_pings = False, 0
        if was_silent:
            self._owner.on_pulse(self, silent=False)

    def _give_up(self, fault: str) -> None:
        self.fault = fault
        if self._child:
            self._child.kill()
        if self._channel:
            self._channel.close()

    def _on_closed(self) -> None:
        was_stopped, self._closed = self._closed, True
        if self._channel and self._channel.fault:
            self._give_up(f"broke the channel: {self._channel.fault}")
        self._decided.set()
        self._calls.fail(LostCallError)
        if not was_stopped:
            self._owner.on_closed(self)


def _library(loop: asyncio.AbstractEventLoop) -> EventLoop:
    return "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
