"""Runs the daemon under test as systemd does: start, wait until it is ready, stop.

With `sockets` the harness owns the listening sockets and passes them on (sd_listen_fds(3)), so that
clients can connect while no daemon runs. `path` is a folder that comes first in PATH, and `environ`
has more of the environment.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.e2e.namespace import Namespace
from tests.e2e.transcript import TIMEOUT, Transcript

PROGRAM: Final = Path(sys.executable).with_name("postfix-mta-sts")


class Daemon:
    """A daemon with its own folder, configuration and policies."""

    def __init__(
        self,
        inside: Namespace,
        folder: Path,
        log: Path,
        settings: Mapping[str, object],
        sockets: Sequence[socket.socket] = (),
        path: Path | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._inside = inside
        self._log = log
        self._sockets = sockets
        self._path = path
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None
        self.config: Final = folder / "config.yml"
        self._notify = folder / "notify"
        self.store: Final = folder / "policies.db"
        self.log: Transcript
        folder.mkdir()
        self._settings = {
            "cache": {"path": str(self.store)},
            "control": {"path": str(folder / "control.sock")},
            **settings,
        }
        self._write({})

    def start(self) -> None:
        """Start it, and wait until it notifies that it is ready (sd_notify(3))."""
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self._notify))
            process = self._process = self._launch()
            assert process.stderr
            self.log = Transcript(process.stderr, self._log)
            with os.fdopen(os.pidfd_open(process.pid), "rb", buffering=0) as end:
                fds = [notify.fileno(), end.fileno()]
                while select.select(fds, [], [], TIMEOUT)[0] == fds[:1]:
                    if b"READY=1" in notify.recv(4096).splitlines():
                        return
        self.stop()
        raise AssertionError("the daemon is not ready; it said:\n" + "\n".join(self.log.since(0)))

    def reload(self, changes: Mapping[str, object]) -> None:
        """Change the configuration that it was made with, and wait until that is in force."""
        assert self._process
        mark = self.log.mark
        self._write(changes)
        self._process.send_signal(signal.SIGHUP)
        self.log.wait(r"\breloaded\b", mark)

    def stop(self) -> None:
        """Send SIGTERM and wait for its end; do nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        self._end(signal.SIGKILL)

    def ask(self, port: int, request: str) -> str:
        """Return the reply to a socketmap request (`MAP KEY`), over a new connection."""
        data = request.encode()
        with self._inside.connect("127.0.0.1", port) as connection:
            connection.sendall(b"%d:%s," % (len(data), data))
            with connection.makefile("rb") as reply:
                length = b"".join(iter(lambda: reply.read(1), b":"))
                return reply.read(int(length)).decode()

    def _write(self, changes: Mapping[str, object]) -> None:
        self.config.write_text(json.dumps(self._settings | dict(changes)))  # JSON is YAML

    def _launch(self) -> subprocess.Popen[str]:
        environment = os.environ | self._environ | {"NOTIFY_SOCKET": str(self._notify)}
        if self._path:
            environment |= {"PATH": f"{self._path}:{environment['PATH']}"}
        words: list[str | Path] = [PROGRAM, "serve", "--config", self.config]
        fds = [each.fileno() for each in self._sockets]
        if fds:
            environment |= {"LISTEN_FDNAMES": ":".join("mta-sts" for _ in fds)}
            words = [sys.executable, "-m", "tests.e2e.activate", *map(str, fds), "--", *words]
        return subprocess.Popen(
            self._inside.command(*words),
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            pass_fds=fds,
        )

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(TIMEOUT)
            self.log.end()
            self._process = None


@contextlib.contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """Start the daemon, and stop it at the end in any case."""
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
