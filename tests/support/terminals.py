"""A command on a real terminal of 80 columns, which is its controlling terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

COLUMNS: Final = 80
TIMEOUT: Final = 60.0
"""Seconds; only a failing test waits that long."""
_CTRL_C: Final = b"\x03"
_HIDE, _SHOW, _PLAIN = "\x1b[?25l", "\x1b[?25h", "\x1b[0m"
_FORMAT: Final = re.compile(r"\x1b\[[0-9;]*m")
_ERASED: Final = re.compile(r".*(\r\x1b\[K|\r\x1b\[2K|\x1b\[2K)")
# Without O_NOCTTY, the first terminal that the leader of a session opens controls it (tty(4)).
_SHELL: Final = 'exec 0<>"$0" 1>&0 2>&0 "$@"'


class Terminal:
    """A terminal and the command that runs on it; made by `on_terminal`."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._master = master
        self._data = b""
        self._modes = termios.tcgetattr(master)

    def until(self, text: str) -> str:
        """Read up to a text on the screen; return all that the command has written."""
        while text not in self.written:
            assert self._read(), (text, self.written)
        return self.written

    def interrupt(self) -> int:
        """Type Ctrl-C, so that the terminal sends SIGINT; return the exit code of the command."""
        os.write(self._master, _CTRL_C)
        return self.end()

    def end(self) -> int:
        """Read until the command has ended; return its exit code.

        The terminal must be as it was: its modes, the cursor, the format of text.
        """
        while self._read():
            pass
        code = self.process.wait(TIMEOUT)
        assert termios.tcgetattr(self._master) == self._modes
        assert self.written.count(_HIDE) == self.written.count(_SHOW)
        assert [*_FORMAT.findall(self.written), _PLAIN][-1] == _PLAIN
        return code

    @property
    def written(self) -> str:
        """All that the command has written, control sequences included."""
        return self._data.decode()

    @property
    def screen(self) -> list[str]:
        """The lines of the screen without format, if it were wide enough; spinners are erased."""
        text = _FORMAT.sub("", self.written).replace("\r\n", "\n").replace("^C", "")
        text = text.replace(_HIDE, "").replace(_SHOW, "")
        return [_ERASED.sub("", line) for line in text.removesuffix("\n").split("\n")]

    def _read(self) -> bytes:
        """Read what the command writes next; empty if it has ended."""
        with os.fdopen(os.pidfd_open(self.process.pid), "rb", buffering=0) as ended:
            fds = [self._master, ended.fileno()]
            ready = select.select(fds, [], [], TIMEOUT)[0]
        assert ready, self.written
        data = os.read(self._master, 65_536) if self._master in ready else b""
        self._data += data
        return data


@contextmanager
def on_terminal(*words: str | Path, **environ: str) -> Iterator[Terminal]:
    """Run `postfix-mta-sts` with these words on a terminal, as a user's shell does."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(master, (24, COLUMNS))
    command = ["sh", "-c", _SHELL, os.ttyname(slave), sys.executable, "-m", "postfix_mta_sts"]
    inherited = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [*command, *map(str, words)],
        start_new_session=True,
        env=inherited | {"TERM": "xterm"} | environ,
    )
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(TIMEOUT)
        os.close(slave)
        os.close(master)
