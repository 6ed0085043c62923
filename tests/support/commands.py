"""Run commands in the process of the test, and keep what they print."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mta_sts.cli.main import main
from tests.support.internet import Internet


@dataclass
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on standard output."""
        return self.out.splitlines()

    def steps(self, name: str) -> list[str]:
        """The values of the steps called `name` in the output of `query`."""
        found = (re.fullmatch(rf"  {name} +(.*)", line) for line in self.lines)
        return [match[1] for match in found if match]


class Commands:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *argv: str | Path) -> Done:
        """Run a command to its end."""
        try:
            code = main([str(word) for word in argv])
        except SystemExit as end:  # raised by argparse
            assert isinstance(end.code, int)
            code = end.code
        return Done(code, *self._capsys.readouterr())

    async def query(self, net: Internet, folder: Path, domain: str, *options: str) -> Done:
        """Run `query` in a thread, while the servers in this event loop answer it."""
        return await asyncio.to_thread(
            self.run, "query", domain, "--config", net.config(folder), *options
        )
