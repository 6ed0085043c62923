"""The whole daemon, in this process or in one of its own, and what is asked of it.

Border: where it listens (UNIX sockets in a folder, see `Internet.options`), how it is started and
ended. What it answers is for the tests to judge.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from postfix_mta_sts.daemon.assembly import Daemon, running
from tests.support.clients import Client, connected
from tests.support.internet import (
    AS_IT_IS,
    SOCKETMAP,
    TCP_TABLE,
    TCP_TABLE_TLSRPT,
    Changes,
    Internet,
)

PATIENCE: Final = 60.0
"""Seconds that anything may take on a busy machine before a test gives up."""


class Clock:
    """The wall clock of a daemon; it stands still but for what a test does to `now`."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """What time it is."""
        return self.now


class RunningDaemon:
    """Where a daemon whose sockets are in a folder can be asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Final = folder / "policies.db"
        self.socketmap: Final = folder / SOCKETMAP
        self.tcp_table: Final = folder / TCP_TABLE
        self.tcp_table_tlsrpt: Final = folder / TCP_TABLE_TLSRPT

    async def ask(self, key: str, map_name: str = "postfix") -> bytes:
        """What a socketmap replies to one look-up, over a connection of its own."""
        async with asyncio.timeout(PATIENCE), connected(self.socketmap) as client:
            return await client.ask(key, map_name)

    async def get(self, key: str, *, tlsrpt: bool = False) -> bytes:
        """What a tcp_table replies to one look-up, over a connection of its own."""
        path = self.tcp_table_tlsrpt if tlsrpt else self.tcp_table
        async with asyncio.timeout(PATIENCE), connected(path) as client:
            return await client.get(key)

    @asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[Client]]:
        """So many connections to the socketmap."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(connected(self.socketmap)) for _ in range(number)
            ]


@asynccontextmanager
async def daemon(
    net: Internet,
    folder: Path,
    *,
    clock: Callable[[], float] = time.time,
    changes: Changes = AS_IT_IS,
) -> AsyncIterator[RunningDaemon]:
    """The daemon in this process; `changes` to its configuration, section by section."""
    settings = net.settings(folder, changes)
    async with running(settings, {}, clock, https_port=net.hosts.port):
        yield RunningDaemon(folder)


@asynccontextmanager
async def reloading(net: Internet, folder: Path) -> AsyncIterator[tuple[RunningDaemon, Daemon]]:
    """The daemon in this process, to be told of other settings while it runs."""
    settings = net.settings(folder)
    async with running(settings, {}, https_port=net.hosts.port) as served:
        yield RunningDaemon(folder), served


class Process(RunningDaemon):
    """The daemon in a process of its own, as systemd runs it."""

    def __init__(
        self, folder: Path, config: Path | None, sock: socket.socket | None, workers: int
    ) -> None:
        super().__init__(folder)
        self._config = config
        self._workers = workers
        self._sock = sock
        self._log = folder / "log"
        self._notified: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process, with workers that of their parent."""
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """All that was logged so far."""
        return self._log.read_text()

    async def start(self, **environ: str) -> None:
        """Start it, and wait until it says that it is ready (sd_notify(3))."""
        address = self._listen_to_it()
        words = [sys.executable, "-m", "postfix_mta_sts", "serve"]
        words += ["--workers", str(self._workers)]
        if self._config:
            words += ["--config", str(self._config)]
        if self._sock:  # sd_listen_fds(3): the socket is descriptor 3
            words[:0] = ["sh", "-c", 'exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"']
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                stdin=self._sock.fileno() if self._sock else asyncio.subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(address), **environ},
            )
        while (said := await self.notified()) == b"WATCHDOG=1":  # the first worker is ahead
            pass
        assert said == b"READY=1", self.log

    async def notified(self) -> bytes:
        """What systemd is told next, but for how it goes; nothing if it ends before."""
        while (said := await self.told()).startswith(b"STATUS="):
            pass
        return said

    async def told(self) -> bytes:
        """What systemd is told next; nothing if it ends before."""
        assert self._notified
        loop = asyncio.get_running_loop()
        told = asyncio.create_task(loop.sock_recv(self._notified, 4096), name="daemon told")
        ended = asyncio.create_task(self.ended(), name="daemon ended")
        await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
        said = told.result() if told.done() else b""
        for task in (told, ended):
            task.cancel()
        await asyncio.gather(told, ended, return_exceptions=True)
        return said

    def signal(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(signum)

    async def ended(self) -> int:
        """Wait for its end; its exit code, negative if it was killed."""
        assert self._process
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def away(self) -> None:
        """See that it does not outlive its test."""
        if self._process and self._process.returncode is None:
            await self.kill()
        if self._notified:
            self._notified.close()

    def _listen_to_it(self) -> Path:
        """Take the place of systemd; where it is to be told."""
        if self._notified:
            self._notified.close()
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notified.bind(str(address))
        return address


@asynccontextmanager
async def process(
    folder: Path, config: Path | None, sock: socket.socket | None = None, workers: int = 1
) -> AsyncIterator[Process]:
    """A process that is not started yet, and is killed at the end if it still runs then.

    `sock` is handed over as systemd does it.
    """
    made = Process(folder, config, sock, workers)
    try:
        yield made
    finally:
        await made.away()
