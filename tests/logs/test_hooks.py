"""What Python would print to standard error is logged, or at least does not block."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.pipes import Pipe, pipe

TIMEOUT = 60.0
BEGIN = """
import logging, os, sys, threading, warnings
from postfix_mta_sts import logs
logs.set_up_service("info", "text", sys.stderr, journal=True)
logs.log_uncaught()
"""


@pytest.fixture
def unread() -> Iterator[Pipe]:
    """A pipe that nobody reads."""
    with pipe() as made:
        yield made


def run(program: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run a program that logs as the daemon does."""
    words = [sys.executable, "-c", BEGIN + program]
    return subprocess.run(words, stderr=stderr, text=True, timeout=TIMEOUT, check=False)


@pytest.mark.parametrize(
    ("program", "where"),
    [
        ("1 / 0", '"main program"'),
        (
            "t = threading.Thread(target=lambda: 1 / 0, name='worker'); t.start(); t.join()",
            "worker",
        ),
        (
            "class Broken:\n    def __del__(self): 1 / 0\nBroken()",
            "function",
        ),
    ],
)
def test_an_exception_that_nobody_catches(program: str, where: str) -> None:
    """It is one line of the log, with its place and its traceback."""
    done = run(program)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'<3>uncaught exception where={where} exception="Traceback ')
    assert line.endswith('ZeroDivisionError: division by zero"')
    assert done.returncode == ('"main' in where)


def test_a_warning() -> None:
    """A warning is one line of the log."""
    done = run("warnings.warn('careful')")
    (line,) = done.stderr.splitlines()
    assert line.startswith("<4>")
    assert "UserWarning: careful" in line
    assert line.endswith("logger=py.warnings")


def test_ctrl_c() -> None:
    """Ctrl-C is not logged: Python ends the process as ever."""
    done = run("raise KeyboardInterrupt")
    assert "KeyboardInterrupt" in done.stderr
    assert "uncaught" not in done.stderr


def test_a_crash_while_the_log_stands_still(unread: Pipe) -> None:
    """The process ends all the same, with the exit code of a crash."""
    unread.fill()
    program = "for n in range(100): logs.event(logging.getLogger(), 20, 'x')\n1 / 0"
    assert run(program, unread.writer).returncode == 1


def test_the_last_lines_are_written() -> None:
    """Lines that wait at the end of the process are written."""
    done = run("for n in range(100): logging.getLogger().warning('line %d', n)")
    assert done.stderr.splitlines()[-1] == '<4>"line 99" logger=root'
    assert len(done.stderr.splitlines()) == 100
