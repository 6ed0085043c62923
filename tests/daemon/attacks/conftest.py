"""A daemon, and an Internet without good domains, for the tests of attacks.

The attacker publishes a record, a policy or both, answers in place of the DNS or of the Policy
Host, or chooses a recipient's domain. The tests check the bytes that Postfix gets.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Clock, RunningDaemon, daemon
from tests.support.internet import Internet, internet


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An empty Internet."""
    async with internet(tmp_path) as net:
        yield net


@pytest.fixture
def clock() -> Clock:
    """The clock of the daemon."""
    return Clock()


@pytest.fixture
async def running(net: Internet, tmp_path: Path, clock: Clock) -> AsyncIterator[RunningDaemon]:
    """A daemon in that Internet."""
    async with daemon(net, tmp_path, clock=clock, changes={"dns": {"timeout": "2s"}}) as running:
        yield running
