"""Run one program with a line on its standard input, whatever the program does.

It has a session, an environment and limits of its own. It may read its input or not, print without
end, ignore signals or start other programs: after `timeout` seconds its process group is killed,
and so is what it leaves running when it ends. Only a program that moves itself to another session
escapes that; systemd ends it with the service. `start` is what its process does first.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from postfix_mta_sts.admin.alerts import start
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import printable

LINE_LIMIT: Final = 4_096
"""Bytes of the line: those that the smallest pipe takes without a reader (pipe(7))."""
ERRORS_KEPT: Final = 200
"""Bytes that are kept of what the program writes to its standard error."""
ERRORS_LIMIT: Final = 1024 * 1024
"""Bytes that are read of it; then the pipe is closed."""
KILL_TIMEOUT: Final = 0.5
"""Seconds that the kernel has to end a program that was killed."""
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_POLL_INTERVAL: Final = 0.02
"""Seconds between two looks whether it has ended; no thread that waits can be started at the limit
of tasks, and a signal would be the event loop's."""
_CHUNK: Final = 64 * 1024


class AlertError(UserError):
    """The program could not be started, did not end in time, or failed."""


async def run(words: Sequence[str], line: bytes, timeout: float) -> None:  # noqa: ASYNC109 (the program's time, not the caller's)
    """Run a program and its arguments to the end; raises `AlertError`.

    If this is cancelled, the program is killed.
    """
    with _as_alert_error(), ExitStack() as stack:
        errors = _Errors()
        stack.callback(errors.close)
        child = _start(words, line, errors)
        try:
            async with asyncio.timeout(timeout):
                await _wait(child)
        except TimeoutError:
            raise AlertError(f"did not end within {timeout:g} s, killed") from None
        finally:
            await _end(child)
        if child.returncode:
            raise AlertError(_describe(child.returncode, errors.text()))


def _start(words: Sequence[str], line: bytes, errors: "_Errors") -> subprocess.Popen[bytes]:
    with errors.writing() as writing, _pipe_with(line) as given:
        return subprocess.Popen(  # noqa: S603 (the administrator's command, without a shell)
            start.command([*words]),
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,  # so that `_end` reaches the programs that it starts
        )


@contextmanager
def _as_alert_error() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null byte in an argument
        reason = error.strerror if isinstance(error, OSError) else None
        raise AlertError(f"cannot be started: {printable(reason or str(error))}") from error


@contextmanager
def _pipe_with(line: bytes) -> Iterator[int]:
    """Make a pipe that holds the line, so that nobody waits for its reader; the reading end."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        os.write(writing, line[:LINE_LIMIT])
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


async def _wait(child: subprocess.Popen[bytes]) -> None:
    """Wait until the program has ended; it remains a zombie, so that its group keeps its id."""
    while not _has_ended(child):  # noqa: ASYNC110 (see `_POLL_INTERVAL`)
        await asyncio.sleep(_POLL_INTERVAL)


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the group: the program, and what it has left running."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_TIMEOUT):
            await _wait(child)
    child.poll()  # if the kernel has not ended it, `subprocess` reaps it later
    with suppress(TimeoutError, ChildProcessError):
        async with asyncio.timeout(KILL_TIMEOUT):
            await _reap(child.pid)


async def _reap(group: int) -> None:
    """Reap what the program has left; raises `ChildProcessError`, at once if that is not ours.

    It is ours if the daemon is the first process of a container.
    """
    while True:
        if not _has_reaped(group):
            await asyncio.sleep(_POLL_INTERVAL)


def _has_reaped(group: int) -> bool:
    return os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG) is not None


def _describe(code: int, errors: str) -> str:
    if code == start.NOT_STARTED and errors:
        return errors
    how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
    return f"{how}: {errors}" if errors else how


class _Errors:
    """A pipe for standard error; what is beyond the first bytes is read and forgotten."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._kept = b""
        self._read = 0
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._on_readable)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Pass on the writing end, and close it then."""
        try:
            yield self._writing
        finally:
            os.close(self._writing)

    def text(self) -> str:
        """Return the first line of what was written so far."""
        self._on_readable()
        return printable(self._kept.strip().partition(b"\n")[0], ERRORS_KEPT)

    def close(self) -> None:
        """Read no more; a program that goes on writing gets SIGPIPE."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._reading)
            os.close(self._reading)

    def _on_readable(self) -> None:
        if not self._is_open:
            return
        try:
            chunk = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return
        self._kept += chunk[: max(0, ERRORS_KEPT - len(self._kept))]
        self._read += len(chunk)
        if not chunk or self._read > ERRORS_LIMIT:
            self.close()
