"""A program that gets a line, whatever it does: real programs, run by both event loops."""

import asyncio
import ctypes
import json
import os
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from postfix_mta_sts.admin.alerts.process import ENVIRONMENT, ERRORS_KEPT, AlertError, run
from tests.support.daemons import TIMEOUT, until
from tests.support.scripts import script

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

LINE = b'{"text": "a test"}\n'


async def failure(words: Sequence[str], timeout: float = TIMEOUT) -> str:  # noqa: ASYNC109 (what is tested)
    """What is said of a program that fails."""
    with pytest.raises(AlertError) as caught:
        await run(words, LINE, timeout)
    return str(caught.value)


def is_running(pid: int) -> bool:
    """Whether a process has not ended; a zombie has."""
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


async def test_what_a_program_gets(tmp_path: Path) -> None:
    """The line and its end, a short environment, the root folder, a session; no descriptor."""
    tell = """\
import json, os, sys
leads = os.getpgrp() == os.getsid(0) == os.getpid()
descriptors = sorted(map(int, os.listdir("/proc/self/fd")))[:-1]
facts = [sys.stdin.read(), dict(os.environ), os.getcwd(), leads, descriptors, os.nice(0)]
json.dump([*facts, sys.argv[2:]], open(sys.argv[1], "w"))
"""
    out = tmp_path / "out"
    await run(["python3", "-c", tell, str(out), "$HOME; *", ""], LINE, TIMEOUT)
    line, environment, folder, leads, descriptors, niceness, words = json.loads(out.read_text())
    assert (line.encode(), folder, leads, descriptors) == (LINE, "/", True, [0, 1, 2])
    assert {name: environment[name] for name in ENVIRONMENT} == ENVIRONMENT
    assert set(environment) <= {*ENVIRONMENT, "LC_CTYPE"}  # which Python itself sets
    assert niceness > os.nice(0)
    assert words == ["$HOME; *", ""]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["sh", "-c", "echo first >&2; echo second >&2; exit 3"], "exit code 3: first"),
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["sh", "-c", "exit 127"], "exit code 127"),
        (["sh", "-c", "kill -9 $$"], "ended by signal 9"),
        (["sh", "-c", r"printf '\033[31m\303\251' >&2; exit 1"], r"exit code 1: \x1b[31m\xc3\xa9"),
        (["not-there"], "cannot be started: No such file or directory"),
        (["/etc/passwd"], "cannot be started: Permission denied"),
        (["/"], "cannot be started: Permission denied"),
        (["a\0b"], "cannot be started: embedded null byte"),
        (["true", "x" * 200_000], "cannot be started: Argument list too long"),
    ],
)
async def test_failures(words: list[str], reason: str) -> None:
    """The reason has the first line of standard error, escaped."""
    assert await failure(words) == reason


async def test_a_text_file_is_no_program(tmp_path: Path) -> None:
    """No shell runs a script that names no interpreter."""
    path = tmp_path / "script"
    path.write_text("echo done")
    path.chmod(0o755)
    assert await failure([str(path)]) == "cannot be started: Exec format error"


async def test_it_reads_nothing() -> None:
    """A program need not read its input."""
    await run(["true"], b"x" * 4_096, TIMEOUT)


async def test_it_prints_without_end() -> None:
    """The rest of what it prints is not read, so that it ends; little of it is kept."""
    said = await failure(["sh", "-c", "yes $(printf %0300d 0) >&2"])
    assert said.startswith("exit code ")
    assert len(said) < ERRORS_KEPT + 50


async def test_no_signal_is_ignored() -> None:
    """A program that writes to a pipe without a reader ends, as in a shell."""
    lines = await failure(["sh", "-c", "grep SigIgn: /proc/self/status >&2; exit 1"])
    ignored = int(lines.rpartition("t")[2], 16)
    assert not ignored & sum(1 << (each - 1) for each in signal.valid_signals())


async def test_it_does_not_end() -> None:
    """After its time it is killed."""
    hang = ["sh", "-c", "trap '' TERM; sleep 1000"]
    assert await failure(hang, 0.01) == "did not end within 0.01 s, killed"


async def test_it_leaves_a_program_running(tmp_path: Path) -> None:
    """That program is killed when the first one ends, and does not delay the end."""
    out = tmp_path / "out"
    await run(["sh", "-c", f"sleep 1000 & echo $! > {out}"], LINE, TIMEOUT)
    pid = int(out.read_text())
    await until(lambda: not is_running(pid))


async def test_the_first_process_of_a_container(tmp_path: Path) -> None:
    """What the program leaves is then a child of the daemon, and does not stay as a zombie."""
    out = tmp_path / "out"
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    prctl(set_child_subreaper, 1, 0, 0, 0)
    try:
        await run(["sh", "-c", f"sleep 1000 & echo $! > {out}"], LINE, TIMEOUT)
        await until(lambda: not Path(f"/proc/{int(out.read_text())}").exists())
    finally:
        prctl(set_child_subreaper, 0, 0, 0, 0)


async def test_it_is_given_up(tmp_path: Path) -> None:
    """If its time is over or the run is cancelled, what it has started is killed with it."""
    out = tmp_path / "out"
    hang = f"trap '' TERM; sleep 1000 & echo $$ $! > {out}.new; mv {out}.new {out}; wait"
    task = asyncio.create_task(run([script(tmp_path / "hangs", hang)], LINE, TIMEOUT))
    await until(out.exists)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    program, started = map(int, out.read_text().split())
    assert not Path(f"/proc/{program}").exists()  # no zombie either
    await until(lambda: not is_running(started))


def open_all() -> list[int]:
    """Open files until that is refused."""
    opened: list[int] = []
    with suppress(OSError):
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    return opened


@pytest.mark.parametrize("free", range(1, 9))
async def test_no_descriptor_is_free(free: int) -> None:
    """At its limit of files, the daemon closes what it has opened for an alert."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    others = open_all()
    try:
        for _ in range(free):
            os.close(others.pop())
        with suppress(AlertError):
            await run(["true"], LINE, TIMEOUT)
        others += (again := open_all())
        assert len(again) == free
    finally:
        for each in others:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_descriptor_is_left() -> None:
    """Whatever a program does, the daemon closes its pipes."""
    await failure(["false"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for words in (["true"], ["not-there"], ["a\0b"], ["sh", "-c", "yes >&2"]):
        with suppress(AlertError):
            await run(words, LINE, TIMEOUT)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
