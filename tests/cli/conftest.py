"""Fixtures of the command tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.internet import Internet, internet


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Runs commands and captures their output."""
    return Commands(capsys)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet on loopback."""
    async with internet(tmp_path) as net:
        yield net
