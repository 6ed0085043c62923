"""The daemon of a run as a process: start, kill, reload, and its log in a small pipe."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.torture.control import Control
from tests.torture.events import SettingsInForce

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN: Final = 60.0
PIPE_SIZE: Final = 4096
"""Bytes of log that the pipe takes while nobody reads: few, so that it is full at once."""
ROOM: Final = 256
"""Bytes of it that are left free."""
LINES_KEPT: Final = 5_000

_BASE: Final[Mapping[str, Mapping[str, object]]] = {
    "lookup": {"timeout": "8s"},
    "dns": {"timeout": "5s", "on_failure": "deliver"},
    "dane": {"mode": "on", "on_failure": "mta_sts"},
    "https": {"timeout": "30s", "allow_private_addresses": True},
}
_CHANGES: Final[Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "base": {},
    "defaults": {
        "lookup": {"timeout": "10s"},
        "dane": {"on_failure": "defer"},
        "https": {"timeout": "60s"},
    },
    "long": {"lookup": {"timeout": "10s"}, "https": {"timeout": "20s"}},
    "lax": {"https": {"concurrency": 50}, "dns": {"timeout": "4s"}},
    "deferring": {"dns": {"on_failure": "defer"}, "dane": {"on_failure": "defer"}},
}
SETTINGS: Final[Mapping[str, SettingsInForce]] = {
    "base": SettingsInForce(),
    "long": SettingsInForce(lookup_timeout=10.0),
    "lax": SettingsInForce(),
    "deferring": SettingsInForce(dns_defers=True, dane_defers=True),
}
"""The settings that a reload may load, by the names of the schedule."""


class Daemon:
    """The process, or none; made by `daemon`. Its files and sockets are in `folder`."""

    def __init__(self, folder: Path, https_port: int, package: Path) -> None:
        self.folder = folder
        self.control = Control.create(folder / "control")
        self.socketmap = folder / "socketmap"
        self.tcp_table = folder / "tcp_table"
        self.up = asyncio.Event()
        """Set while it is ready."""
        self.started_at = 0.0
        self.log = DaemonLog(folder / "log")
        self._package = package
        self._https_port = https_port
        self._process: asyncio.subprocess.Process | None = None
        self._stopped: list[int] = []
        self._ready = asyncio.Event()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        (folder / "notify").unlink(missing_ok=True)
        self._notify.bind(str(folder / "notify"))

    def configure(self, settings: str, nameserver: str, ca_file: Path) -> None:
        """Write the configuration with the settings of this name."""
        sections = {name: {**_BASE[name], **_CHANGES[settings].get(name, {})} for name in _BASE}
        sections["dns"]["nameservers"] = [nameserver]
        sections["https"]["ca_file"] = str(ca_file)
        options = {
            "listen": [
                {"socketmap": f"unix:{self.socketmap}"},
                {"tcp_table": f"unix:{self.tcp_table}"},
            ],
            "cache": {"path": str(self.folder / "policies.db")},
            "control": {"path": str(self.folder / "control.sock")},
            **sections,
        }
        self._config.write_text(json.dumps(options))  # JSON is YAML

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._notify, self._on_notification)
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.torture.launcher", self.folder / "control", str(self._https_port)),
            self._config,
            cwd=self._package,  # the first place where Python looks for the package
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "NOTIFY_SOCKET": str(self.folder / "notify"),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.log.pipe,
            stderr=self.log.pipe,
        )
        await self._wait_until_ready()
        self.started_at = time.monotonic()
        self.up.set()

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.up.clear()
        await self.clean_up()

    async def reload(self) -> None:
        """Make it load its configuration, and wait until it has."""
        assert self._process
        self._ready.clear()
        self._process.send_signal(signal.SIGHUP)
        await self._wait_until_ready()

    def kill_network(self) -> None:
        """Kill its network processes."""
        for pid in self.children():
            _signal(pid, signal.SIGKILL)

    def stop_network(self) -> None:
        """Stop its network processes."""
        self._stopped = self.children()
        for pid in self._stopped:
            _signal(pid, signal.SIGSTOP)

    def continue_network(self) -> None:
        """Continue the network processes that were stopped."""
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped = []

    def children(self) -> list[int]:
        """Its child processes."""
        if self._process is None or self._process.returncode is not None:
            return []
        found: list[int] = []
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text("ascii").split())
        return found

    def memory(self) -> list[float]:
        """The resident memory of the daemon, and of each child, in MiB."""
        if self._process is None or self._process.returncode is not None:
            return []
        return [_resident(pid) for pid in (self._process.pid, *self.children())]

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return (
            self.up.is_set() and self._process is not None and self._process.returncode is not None
        )

    async def clean_up(self) -> None:
        """Kill it if it runs."""
        self.continue_network()
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def close(self) -> None:
        """Close the files of the run."""
        asyncio.get_running_loop().remove_reader(self._notify)
        self._notify.close()
        self.log.close()
        self.control.close()

    @property
    def _config(self) -> Path:
        return self.folder / "config.yml"

    async def _wait_until_ready(self) -> None:
        assert self._process
        ready = asyncio.create_task(self._ready.wait(), name="daemon ready")
        ended = asyncio.create_task(self._process.wait(), name="daemon ended")
        try:
            async with asyncio.timeout(READY_WITHIN):
                await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()

    def _on_notification(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while datagram := self._notify.recv(4096):
                if b"READY=1" in datagram.split(b"\n"):
                    self._ready.set()


class DaemonLog:
    """What the daemon writes to its log, read from a pipe; the last lines are kept in a file."""

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self.lines: deque[bytes] = deque(maxlen=LINES_KEPT)
        self.longest = 0
        """Bytes of the longest line."""
        self._path = path
        self._rest = b""
        self._reader, self.pipe = os.pipe()
        os.set_blocking(self._reader, False)
        fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self.read()

    def read(self) -> None:
        """Read from now on."""
        asyncio.get_running_loop().add_reader(self._reader, self._on_data)

    def stick(self) -> None:
        """Stop reading, and fill the pipe: there is room for one more line."""
        self._pause()
        self._on_data()
        os.write(self.pipe, b"\n" * (PIPE_SIZE - ROOM))

    def close(self) -> None:
        """Close the pipe, and write the last lines into the file."""
        self._pause()
        os.close(self._reader)
        os.close(self.pipe)
        self._path.write_bytes(b"\n".join(self.lines))

    def _pause(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)

    def _on_data(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._reader, 65_536)
            self.bytes += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines += filter(None, lines)
            self.longest = max(self.longest, *map(len, lines), len(self._rest))


@asynccontextmanager
async def daemon(folder: Path, https_port: int, package: Path) -> AsyncIterator[Daemon]:
    """A daemon that is not started yet; at the end it is killed. `package` holds its code."""
    made = Daemon(folder, https_port, package)
    try:
        yield made
    finally:
        await made.clean_up()
        made.close()


def _signal(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0.0
    sizes: Sequence[str] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0].split()[1]) / 1024 if sizes else 0.0
