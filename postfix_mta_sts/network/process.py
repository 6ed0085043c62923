"""A process that asks the network for this one: begun, told what to do, begun anew, ended.

Border: processes and messages; the other end is `child`, begun as a program of its own and not
forked, since there are threads here. What is asked there, and what comes of it, goes through.
"""

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.errors import MtaStsError, OwnFaultError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.ipc import Channel, Message
from postfix_mta_sts.network.settings import NetworkSettings

NICENESS: Final = 10
"""How much the process gives way to who answers Postfix (nice(2))."""
RESPAWN: Final = 1.0
"""Seconds between two beginnings of the process, however fast it dies."""
PATIENCE: Final = 1.0
"""Seconds that it has for its end."""

_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))"
)

_log = logging.getLogger(__name__)


class NetworkProcess:
    """`begin` first, `end` at the end; the other end asks on these terms.

    If the process dies, what was under way fails with `OwnFaultError`, and it is begun anew.
    """

    unanswered: bool = False
    """See `Dns.unanswered`."""
    untrusted: Sequence[TcpAddress] = ()
    """See `LazyDaneClient.untrusted`; as of the last "not_validating"."""

    def __init__(self, terms: NetworkSettings) -> None:
        self._terms = terms
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._unsent: list[Message] = []
        self._line: Channel | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._ended = False
        self._began_at: float
        self._child: subprocess.Popen[bytes]

    async def begin(self) -> None:
        """Begin the process; who asks before it is up waits for it. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._began_at = loop.time()
        here, there = socket.socketpair()
        with there:
            try:
                self._child = _begun(there)
            except OSError:
                here.close()
                raise
        self._line = await ipc.line(here, self._hear, self._lost)
        self._line.send_first((type(loop), self._terms))
        for message in self._unsent:
            self._line.send(message)
        self._unsent.clear()

    async def call(self, what: str, *args: object) -> Any:  # noqa: ANN401 (what `child` gives)
        """What comes of it there, or is raised there (`MtaStsError`).

        Cancelled, it cancels that there, and does not wait for its end.
        """
        number = next(self._numbers)
        done = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send((number, what, *args))
        try:
            return await done
        except asyncio.CancelledError:
            self._send((number, None))
            raise
        finally:
            del self._calls[number]
            # An error's traceback has this frame: held by it, the error would be held by itself.
            del done

    async def end(self) -> None:
        """End the process and give up what is under way; nothing else may be called after."""
        self._ended = True
        if self._replacing:
            self._replacing.cancel()
            with suppress(asyncio.CancelledError):
                await self._replacing
        for done in self._calls.values():
            done.cancel()
        if self._line:
            self._line.close()
        await asyncio.to_thread(_reaped, self._child)

    def _send(self, message: Message) -> None:
        if self._line:
            self._line.send(message)
        else:
            self._unsent.append(message)

    def _hear(self, messages: Sequence[Message]) -> None:
        for number, outcome in messages:
            if not number:
                setattr(self, *outcome)
            elif (done := self._calls.get(number)) is None or done.done():
                continue  # whoever called was cancelled
            elif isinstance(outcome, MtaStsError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    def _lost(self) -> None:
        self._line = None
        if self._ended:
            return
        for done in self._calls.values():
            if not done.done():
                done.set_exception(OwnFaultError("the process that asks the network has ended"))
        self._replacing = asyncio.create_task(self._replace(), name="another outpost")

    async def _replace(self) -> None:
        status = await asyncio.to_thread(_reaped, self._child)
        event(
            _log,
            logging.ERROR,
            "the process that asks the network has ended",
            status=status,
            pid=self._child.pid,
        )
        self.unanswered = False
        while self._line is None:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(self._began_at + RESPAWN - now)
            try:
                await self.begin()
            except OSError as error:
                event(
                    _log,
                    logging.ERROR,
                    "the process that asks the network cannot be begun",
                    reason=str(error),
                )


def _begun(sock: socket.socket) -> subprocess.Popen[bytes]:
    # Modules are looked for where this process does, and nowhere else: its script knows best.
    flags = [*(["-I"] * sys.flags.isolated), *(["-S"] * sys.flags.no_site), "-P", "-c", _PROGRAM]
    words = [sys.executable, *flags, str(sock.fileno()), *sys.path]
    child = subprocess.Popen(  # noqa: S603 (this program itself)
        words, stdin=subprocess.DEVNULL, pass_fds=[sock.fileno()]
    )
    # From here, and not there: what it imports takes more of the processor than all else, just
    # when this one begins. A sandbox may forbid it; it is not worth the service.
    with suppress(PermissionError):
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, child.pid, own + NICENESS)
    return child


def _reaped(child: subprocess.Popen[bytes]) -> int:
    """Wait for its end; who does not come to it is ended."""
    try:
        return child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
