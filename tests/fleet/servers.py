"""Starts a server of a Debian tree, stops, kills and pauses it; it ends with the tests in any case.

A server runs with chroot in the tree, which is not changed: its own folder is mounted over the
tree's /mnt, in a mount namespace of its own. A shell between the tests and the server holds a pipe
to the tests, and kills the server when the pipe closes, as it does if the tests are killed.

`redis_servers` and `postgresql_servers` know what the servers need.
"""

import contextlib
import enum
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.namespace import Namespace
from tests.e2e.trees import RELEASES, extended, tree

PATIENCE: Final = 60.0
"""Seconds in which a server starts and ends; only a failing test waits that long."""

_SCRIPT: Final = """\
tree=$0 folder=$1; shift
mount --bind "$folder" "$tree/mnt" || exit
exec 3<&0 2>/dev/null
chroot "$@" </dev/null >>"$folder/log" 2>&1 3<&- &
server=$!
echo $server
{ cat <&3 >/dev/null; kill -9 $server; } >/dev/null 2>&1 &
wait $server
kill $!
"""


class Suite(enum.StrEnum):
    """A Debian release, of which a tree has servers of the fleet."""

    BOOKWORM = "bookworm"
    """Redis 7, PostgreSQL 15, PgBouncer."""
    TRIXIE = "trixie"
    """Valkey 8, PostgreSQL 17."""


_PACKAGES: Final = {
    Suite.BOOKWORM: ("redis-server", "redis-sentinel", "postgresql-15", "pgbouncer"),
    Suite.TRIXIE: ("valkey-server", "valkey-sentinel", "postgresql-17"),
}


def fleet_tree(suite: Suite) -> Path:
    """Return the tree with the servers of a release. Raises `NoTreeError`."""
    release = next(each for each in RELEASES if each.suite == suite)
    return extended(tree(release), "fleet", _PACKAGES[suite])


class Server:
    """A program of a tree, not started yet; `folder` is its /mnt, where it writes `log`."""

    def __init__(
        self,
        place: Path,
        folder: Path,
        words: Sequence[str],
        *,
        user: str = "root",
        inside: Namespace | None = None,
    ) -> None:
        self.folder = folder
        outer = ["unshare", "--mount", "sh", "-c", _SCRIPT, str(place), str(folder)]
        outer += [f"--userspec={user}", str(place), *words]
        self._command = inside.command(*outer) if inside else outer
        self._shell: subprocess.Popen[str] | None = None
        self._pid = 0

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it, and wait until it is ready."""
        assert not self._shell
        self.folder.mkdir(parents=True, exist_ok=True)
        self._shell = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._shell.stdout
        self._pid = int(self._shell.stdout.readline())
        self.wait_until(is_ready)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of the server; it fails if the server ends before."""
        end = time.monotonic() + PATIENCE
        while not holds():
            ended = self._shell is None or self._shell.poll() is not None
            if ended or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"{self._command[-2:]} is not ready:\n{self.log()}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it as an administrator does, and wait until it has ended."""
        self._end(number)

    def kill(self) -> None:
        """End it as a power failure does. A server that does not run stays as it is."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: it answers nothing, and its connections stay."""
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self.send(signal.SIGCONT)

    def log(self) -> str:
        """The end of what it has written."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        shell, self._shell = self._shell, None
        if not shell:
            return
        with shell:
            if shell.poll() is None:  # otherwise the number may be that of another process
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, number)
                    os.kill(self._pid, signal.SIGCONT)
            try:
                shell.wait(PATIENCE)
            finally:
                assert shell.stdin
                shell.stdin.close()
