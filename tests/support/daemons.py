"""Run the whole daemon, in this process or as a process, and send look-ups to it.

The daemon listens on UNIX sockets in a folder (see `Internet.options`).
"""

import asyncio
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final

from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from tests.support.clients import Client, connected
from tests.support.internet import (
    AS_IT_IS,
    SOCKETMAP,
    TCP_TABLE,
    TCP_TABLE_TLSRPT,
    Changes,
    Internet,
)

TIMEOUT: Final = 60.0
"""Seconds after which a test gives up; a step may be slow on a busy machine."""
NOT_FOUND: Final = b"NOTFOUND "


def secure(domain: str) -> bytes:
    """The reply for a domain with the ordinary policy of `Internet.publish`."""
    return f"OK secure match=mx1.{domain} servername=hostname".encode()


def fetch_times(store: Path) -> dict[str, float]:
    """The domains in a store, and when their policies were fetched."""
    with closing(sqlite3.connect(store)) as db:
        return dict(db.execute("SELECT domain, fetched_at FROM policies"))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a change in another process that sends no event, such as a new file."""
    async with asyncio.timeout(TIMEOUT):
        while not holds():  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.005)


async def finish_attempts() -> None:
    """Wait until no attempt is under way."""
    while tasks := [t for t in asyncio.all_tasks() if t.get_name().startswith("attempt")]:
        await asyncio.wait(tasks)


class Clock:
    """The wall clock of a daemon; it stands still until a test changes `now`."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class RunningDaemon:
    """A client of the daemon whose sockets are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Final = folder / "policies.db"
        self.socketmap: Final = folder / SOCKETMAP
        self.tcp_table: Final = folder / TCP_TABLE
        self.tcp_table_tlsrpt: Final = folder / TCP_TABLE_TLSRPT

    async def ask(self, key: str, map_name: str = "postfix") -> bytes:
        """Return the reply of the socketmap, over a new connection."""
        async with asyncio.timeout(TIMEOUT), connected(self.socketmap) as client:
            return await client.ask(key, map_name)

    async def get(self, key: str, *, tlsrpt: bool = False) -> bytes:
        """Return the reply of the tcp_table, over a new connection."""
        path = self.tcp_table_tlsrpt if tlsrpt else self.tcp_table
        async with asyncio.timeout(TIMEOUT), connected(path) as client:
            return await client.get(key)

    @asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[Client]]:
        """Open this number of connections to the socketmap."""
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
    """Run the daemon in this process; `changes` replace sections of its configuration."""
    settings = net.settings(folder, changes)
    async with running(settings, {}, clock, https_port=net.hosts.port):
        yield RunningDaemon(folder)


@asynccontextmanager
async def reloading(net: Internet, folder: Path) -> AsyncIterator[tuple[RunningDaemon, Daemon]]:
    """Run the daemon in this process, for tests that reload it."""
    settings = net.settings(folder)
    async with running(settings, {}, https_port=net.hosts.port) as served:
        yield RunningDaemon(folder), served


class Process(RunningDaemon):
    """The daemon as a process, as systemd runs it."""

    def __init__(
        self,
        folder: Path,
        config: Path | None,
        sock: socket.socket | None,
        options: Sequence[str],
    ) -> None:
        super().__init__(folder)
        self._config = config
        self._options = options
        self._sock = sock
        self._log = folder / "log"
        self.stderr: int | None = None
        """A descriptor that takes the log in place of the file."""
        self._notified: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """The log so far."""
        return self._log.read_text()

    async def start(self, **environ: str) -> None:
        """Start it, and wait until it notifies that it is ready (sd_notify(3))."""
        address = self._bind_notify_socket()
        words = [sys.executable, "-m", "postfix_mta_sts", "serve", *self._options]
        if self._config:
            words += ["--config", str(self._config)]
        if self._sock:  # sd_listen_fds(3): the socket is descriptor 3
            words[:0] = ["sh", "-c", 'exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"']
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                stdin=self._sock.fileno() if self._sock else asyncio.subprocess.DEVNULL,
                stderr=log if self.stderr is None else self.stderr,
                env={**os.environ, "NOTIFY_SOCKET": str(address), **environ},
            )
        assert await self.notified() == b"READY=1", self.log

    async def notified(self) -> bytes:
        """Return the next notification except STATUS=; b"" if the process ends before."""
        while (datagram := await self.next_datagram()).startswith(b"STATUS="):
            pass
        return datagram

    async def next_datagram(self) -> bytes:
        """Return the next notification; b"" if the process ends before."""
        assert self._notified
        loop = asyncio.get_running_loop()
        received = asyncio.create_task(loop.sock_recv(self._notified, 4096), name="notification")
        ended = asyncio.create_task(self.ended(), name="daemon ended")
        await asyncio.wait({received, ended}, return_when=asyncio.FIRST_COMPLETED)
        datagram = received.result() if received.done() else b""
        for task in (received, ended):
            task.cancel()
        await asyncio.gather(received, ended, return_exceptions=True)
        return datagram

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal."""
        assert self._process
        self._process.send_signal(signum)

    async def ended(self) -> int:
        """Wait for the end; return the exit code, negative after a signal."""
        assert self._process
        async with asyncio.timeout(TIMEOUT):
            return await self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """Kill the process, as `kill -9` does."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def clean_up(self) -> None:
        """Kill the process if it still runs."""
        if self._process and self._process.returncode is None:
            await self.kill()
        if self._notified:
            self._notified.close()

    def _bind_notify_socket(self) -> Path:
        """Receive notifications in place of systemd; return the address."""
        if self._notified:
            self._notified.close()
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notified.bind(str(address))
        return address


@asynccontextmanager
async def process(
    folder: Path,
    config: Path | None,
    sock: socket.socket | None = None,
    *,
    options: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """A process that is not started yet; at the end it is killed if it still runs.

    The process inherits `sock` as systemd does it. `options`: more arguments of `serve`.
    """
    made = Process(folder, config, sock, options)
    try:
        yield made
    finally:
        await made.clean_up()
