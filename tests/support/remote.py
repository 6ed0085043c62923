"""Servers in a process of their own, which a test tells what to do: one JSON value per line."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class Remote:
    """The test's side; each command is a method of the servers, with its arguments."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _send(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON has any shape
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:  # noqa: ANN401 - JSON has any shape
        """Return the next line from the servers."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the servers have ended: see their log"
        return json.loads(line)


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the process of the servers while the context is open; its errors go to `log`."""
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            assert Remote(process).answer() == "ready"
            yield process
        finally:
            process.kill()  # it has nothing to save


async def obey(servers: object) -> None:
    """Do what the test says, until the end of standard input; `servers` are those of the test."""
    _answer("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        _answer(await getattr(servers, name)(**arguments))


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
