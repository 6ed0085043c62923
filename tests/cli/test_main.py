"""The command line: wrong arguments, help, version, and which modules are imported."""

import argparse
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.main import MODULES, build_parser
from tests.support.commands import Commands, Done


def child(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a child process, as a shell does."""
    words = [sys.executable, "-m", "postfix_mta_sts", *argv]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


class TestVersion:
    """`version` and `--version`."""

    @pytest.mark.parametrize("word", ["version", "--version"])
    def test_version(self, commands: Commands, word: str) -> None:
        """Both print the version of the package, and nothing else."""
        assert commands.run(word) == Done(0, f"postfix-mta-sts {__version__}\n", "")


class TestServe:
    """`serve` when it cannot start; tests/daemon has the tests of a running daemon."""

    @pytest.fixture
    def logging_restored(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Restore the logging of the test runner after a command has set up its own."""
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
        monkeypatch.setattr(threading, "excepthook", threading.excepthook)
        handlers, level = list(logging.root.handlers), logging.root.level
        yield
        logging.captureWarnings(capture=False)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)

    @pytest.mark.usefixtures("logging_restored")
    def test_address_in_use(self, commands: Commands, tmp_path: Path) -> None:
        """For an address in use the command prints a short message, without a traceback."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            path = tmp_path / "c.yml"
            path.write_text(
                json.dumps(
                    {
                        "listen": [{"socketmap": address}],
                        "cache": {"path": str(tmp_path / "policies.db")},
                        "dane": {"mode": "off"},
                    }
                )
            )
            done = commands.run("serve", "--config", path)
        assert done.code == 2
        assert "DANE is off" in done.err  # a log line from before the error
        [line] = done.err.splitlines()[1:]
        assert line.startswith(
            f"postfix-mta-sts: cannot listen on {address}: Address already in use: process "
        )

    @pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "100000", "\u0663"])
    def test_number_of_workers(self, commands: Commands, number: str) -> None:
        """What is no number of processes is a typing error."""
        done = commands.run("serve", "--config", "/nonexistent", f"--workers={number}")
        assert (done.code, done.out) == (2, "")
        assert "not a whole number from 1 to" in done.err


class TestArguments:
    """Wrong arguments, in a child process."""

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            ["sreve"],
            ["query"],
            ["query", "a.test", "b.test"],
            ["query", "--jsn", "a.test"],
            ["query", "--js", "a.test"],
            ["check-config", "a.yml", "b.yml"],
            ["version", "please"],
            ["query", "a..test"],
        ],
        ids=" ".join,
    )
    def test_no_traceback(self, argv: list[str]) -> None:
        """A wrong argument gives a short message on standard error and exit code 2; 64 of `query`.

        Exit code 2 of `query` means that mail is held.
        """
        done = child(*argv)
        assert (done.returncode, done.stdout) == (64 if argv[:1] == ["query"] else 2, "")
        assert "postfix-mta-sts" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 5

    def test_help(self) -> None:
        """The help lists every command with a description."""
        done = child("--help")
        assert done.returncode == 0
        for command in ("serve", "query", "check-config", "version"):
            assert re.search(rf"^ +{command}\s+\w", done.stdout, re.MULTILINE)

    def test_broken_pipe(self, tmp_path: Path) -> None:
        """If the reader of the output ends, as `head` does, no traceback is printed."""
        path = tmp_path / "c.yml"
        path.write_text("listen: [{socketmap: '127.0.0.1:0'}]")
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "postfix_mta_sts", "check-config", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        with process.stderr:
            errors = process.stderr.read()
        assert (process.wait(30), errors) == (2, b"")

    def test_broken_pipe_of_query(self, tmp_path: Path) -> None:
        """The code of `query` says what happens to mail, although nobody reads the output."""
        path = tmp_path / "c.yml"
        path.write_text(
            f"control: {{path: '{tmp_path}/none.sock'}}\ndns: {{nameservers: ['127.0.0.1:9']}}"
        )
        words = ["query", "x.test", "--config", str(path), "--timeout", "1s"]
        process = subprocess.Popen(
            [sys.executable, "-m", "postfix_mta_sts", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        with process.stderr:
            errors = process.stderr.read()
        assert (process.wait(30), errors) == (3, b"")  # the DNS does not answer


@pytest.mark.parametrize(
    ("command", "closed", "code", "printed"),
    [
        ("trial scan -", "<&-", 64, ["", "postfix-mta-sts: -: Bad file descriptor\n"]),
        ("version", ">&-", 0, ["", ""]),
        ("version", "<&- >&- 2>&-", 0, ["", ""]),
        ("trial scan /dev/null", ">&-", 3, ["", ""]),
        ("trial scan", ">&- 2>&-", 64, ["", ""]),
    ],
)
def test_closed_streams(command: str, closed: str, code: int, printed: list[str]) -> None:
    """A standard stream that is closed cannot be read, and what is written to it is discarded."""
    script = f'exec "$0" -m postfix_mta_sts {command} {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, [done.stdout, done.stderr]) == (code, printed)


class TestImports:
    """Only the modules of the command that runs are imported."""

    @pytest.mark.parametrize("word", list(MODULES))
    def test_parser_of_one_command(self, word: str) -> None:
        """A command has the same parser alone and among all commands."""
        alone, among_all = (
            _choices(parser)[word] for parser in (build_parser(word), build_parser())
        )
        assert alone.format_help() == among_all.format_help()
        assert set(_choices(build_parser(word))) == {word, "version"}

    @pytest.mark.parametrize("word", ["query", "nonsense", "--help"])
    def test_usage(self, word: str) -> None:
        """The usage of the program is the same for every first argument."""
        assert build_parser(word).format_usage() == build_parser().format_usage()

    @pytest.mark.parametrize(
        ("word", "unneeded"),
        [
            ("healthcheck", {"aiohttp", "aiosqlite", "http", "rich", "uvloop"}),
            ("status", {"aiohttp", "aiosqlite", "asyncio", "rich", "uvloop"}),
            ("serve", {"OpenSSL", "aiohttp", "asyncpg", "cryptography", "dns", "redis", "rich"}),
        ],
    )
    def test_unneeded_libraries(self, word: str, unneeded: set[str]) -> None:
        """Health checks, twice a minute, and the start of the daemon import only what they need."""
        script = f"import sys; from postfix_mta_sts.cli import main; main.build_parser({word!r})"
        script += f"; print(*set(sys.modules) & {unneeded})"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "\n"


def _choices(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    choices: Mapping[str, argparse.ArgumentParser] = commands.choices
    return choices
