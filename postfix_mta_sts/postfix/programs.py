"""Runs the programs of Postfix, and others that read its log, with limits in bytes and seconds.

`run` returns all that a program prints; `start` gives the process to code that reads it as it goes.
A program that still runs at the end is killed. Private part: `Process._transport`, which leads to
the pipes (asyncio, uvloop).
"""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.permissions import Account

TIMEOUT: Final = 5.0
"""Seconds for one run."""
OUTPUT_LIMIT: Final = 256 * 1024
"""Bytes of its output, and of its errors; `postconf` without arguments prints 40 KB."""

_CHUNK: Final = 64 * 1024
_SYSTEM_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian and FreeBSD have `postconf`; the PATH of an ordinary user may lack them."""


class ProgramError(UserError):
    """The program could not be started, took too long, or printed too much."""


class MissingProgramError(ProgramError):
    """The program is not installed."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed, and its exit code; negative: the signal that ended it."""

    code: int
    text: str
    errors: str

    @property
    def reason(self) -> str:
        """Why it failed: the last line of its errors, without its own name, or the exit code."""
        last = self.errors.strip().split("\n")[-1]
        return last.partition(": ")[2] or last or f"exit code {self.code}"


def is_installed(program: str) -> bool:
    """Whether there is such a program, given by its name or path."""
    try:
        return bool(_find(program))
    except MissingProgramError:
        return False


async def run(
    command: Sequence[str],
    *,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 (the program's time, not the caller's)
    limit: int = OUTPUT_LIMIT,
    folder: Path | None = None,
    account: Account | None = None,
) -> Output:
    """Run a program without input, with the arguments of `start`; raises `ProgramError`."""
    try:
        starting = start(command, folder=folder, account=account)
        async with asyncio.timeout(timeout), starting as process:
            text, errors = await _read_both(process, limit)
            if max(len(text), len(errors)) > limit:
                raise ProgramError(f"{Path(command[0]).name} printed more than {limit} bytes")
            code = await process.wait()
    except TimeoutError as error:
        raise ProgramError(f"{Path(command[0]).name} did not end within {timeout:g} s") from error
    return Output(code, text.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def start(
    command: Sequence[str], *, folder: Path | None = None, account: Account | None = None
) -> AsyncIterator[Process]:
    """Start a program without input, in a folder and as a user; raises `ProgramError`.

    Only root can give an `account`, and only with the event loop of asyncio. The program gets no
    other group than that of the account.
    """
    starting = asyncio.create_subprocess_exec(
        _find(command[0]),
        *command[1:],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        start_new_session=True,  # so that `_kill` reaches the programs that it starts
        **_identity(account),
    )
    try:
        process = await _started(starting)
    except OSError as error:
        what = error.filename or command[0]  # the folder, if that is what is missing
        raise ProgramError(f"cannot run {command[0]}: {what}: {error.strerror or error}") from error
    try:
        yield process
    finally:
        await _end(process)


def _identity(account: Account | None) -> dict[str, Any]:
    """The arguments with which subprocess changes the user; uvloop knows none of them."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


async def _started(starting: Coroutine[Any, Any, Process]) -> Process:
    """The process, which is also ended if this is cancelled while it starts.

    If its start were cancelled, asyncio could reap the process itself, and then log a warning that
    it is unknown.
    """
    task = asyncio.create_task(starting, name="start of a program")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _end(await task)
        raise


async def all_ended(*tasks: asyncio.Task[Any]) -> None:
    """Wait until all tasks have ended; if this is cancelled they are too, and are waited for.

    `asyncio.gather` ends with the first that is cancelled, while others still end their programs.
    """
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
    finally:
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # else asyncio warns that nobody has looked at it


async def chunks(stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    """The output of a process that `start` started, piece by piece."""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        yield chunk


async def lines(
    stream: asyncio.StreamReader | None, *, longest: int = OUTPUT_LIMIT
) -> AsyncIterator[Sequence[bytes]]:
    """The lines of its output, as many at a time as have arrived, without their ends.

    A line of more than `longest` bytes is cut: what follows arrives as a line of its own.
    """
    rest = b""
    async for chunk in chunks(stream):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > longest:
            whole, rest = [*whole, rest], b""
        if whole:
            yield whole
    if rest:
        yield [rest]


async def ending(process: Process) -> Output:
    """What is left when the output has been read to its end: the code and the last errors."""
    errors = b""
    async for chunk in chunks(process.stderr):
        errors = (errors + chunk)[-_CHUNK:]
    return Output(await process.wait(), "", errors.decode("utf-8", "replace"))


async def _read_both(process: Process, limit: int) -> tuple[bytes, bytes]:
    """Its output and its errors; it is killed if one of them is longer than `limit`."""

    async def read(stream: asyncio.StreamReader | None) -> bytes:
        read = bytearray()
        async for chunk in chunks(stream):
            if len(read) <= limit:
                read += chunk
            if len(read) > limit:
                _kill(process)
        return bytes(read)

    return await asyncio.gather(read(process.stdout), read(process.stderr))


async def _end(process: Process) -> None:
    """End a program, and close its pipes: asyncio reports its exit only when they have ended.

    That may be never, if nobody reads a full one, or if a program of another session holds it open.
    """
    _kill(process)
    for number in (1, 2):  # closing the whole transport would take the exit code from asyncio
        process._transport.get_pipe_transport(number).close()  # type: ignore[attr-defined]  # noqa: SLF001 (see above)
    await process.wait()


def _kill(process: Process) -> None:
    """End a program and what it has started, which may hold its output open."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _find(program: str) -> str:
    """Its path, looked for where Postfix is too; raises `MissingProgramError`."""
    folders = (os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS)
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        raise MissingProgramError(f"{program} was not found")
    return path
