"""A process that asks the network: what is asked there, and what happens when either end dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import HostNotFoundError, NoRecordError, OwnFaultError
from postfix_mta_sts.network.process import NICENESS, NetworkProcess
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.internet import Internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")
OTHER = parse_domain("other.test")


@asynccontextmanager
async def asked(net: Internet, folder: Path) -> AsyncIterator[NetworkProcess]:
    """A process that asks there."""
    process = NetworkProcess(NetworkSettings.of(net.settings(folder), net.hosts.port))
    await process.begin()
    try:
        yield process
    finally:
        await process.end()


def is_there(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


async def test_asks_from_another_process(net: Internet, tmp_path: Path) -> None:
    """It is a process of its own, nicer than this one, gone at the end, and no zombie."""
    async with asked(net, tmp_path) as process:
        assert (await process.call("discover", GOOD)).policy_id == "id1"
        pid = process._child.pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
        )
    assert not is_there(pid)


async def test_errors_come_back(net: Internet, tmp_path: Path) -> None:
    """What fails there fails here, for the same reason."""
    async with asked(net, tmp_path) as process:
        with pytest.raises(NoRecordError, match="NXDOMAIN"):
            await process.call("discover", OTHER)
        with pytest.raises(HostNotFoundError, match="NXDOMAIN"):
            await process.call("fetch", OTHER)


async def test_a_fault_there_is_our_own(
    net: Internet, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is no error of the network has its traceback in the log, and stops nothing else."""
    async with asked(net, tmp_path) as process:
        with pytest.raises(OwnFaultError, match="see the log"):
            await process.call("nonsense", GOOD)
        assert await process.call("discover", GOOD)
    assert "KeyError: 'nonsense'" in capfd.readouterr().err


async def test_cancelled_here_is_cancelled_there(net: Internet, tmp_path: Path) -> None:
    """A GET that nobody waits for any more is broken off."""
    net.hosts.hold()
    async with asked(net, tmp_path) as process:
        call = asyncio.create_task(process.call("fetch", GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await process.call("discover", GOOD)
        assert not process._calls


async def test_no_signal_ends_it(net: Internet, tmp_path: Path) -> None:
    """What systemd tells all processes of a service is not for this one."""
    async with asked(net, tmp_path) as process:
        assert await process.call("discover", GOOD)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process._child.pid, signum)
        assert await process.call("fetch", GOOD)


async def test_killed(net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was under way fails as our own fault; who asks next waits for another process."""
    net.hosts.hold()
    async with asked(net, tmp_path) as process:
        call = asyncio.create_task(process.call("fetch", GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        pid = process._child.pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OwnFaultError, match="has ended"):
            await call
        assert (await process.call("discover", GOOD)).policy_id == "id1"
        assert process._child.pid != pid
        assert not is_there(pid)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"the process that asks the network has ended status=-9 pid={pid}"]


async def test_ended_before_it_is_replaced(net: Internet, tmp_path: Path) -> None:
    """The end does not wait for another process, nor is one begun after it."""
    async with asked(net, tmp_path) as process:
        assert await process.call("discover", GOOD)
        pid = process._child.pid
        os.kill(pid, signal.SIGKILL)
        call = asyncio.create_task(process.call("not_validating"))
        with pytest.raises(OwnFaultError):
            await call
    assert process._child.pid == pid
    assert not is_there(pid)


async def test_stopped(net: Internet, tmp_path: Path) -> None:
    """One that does nothing any more is ended all the same, and soon."""
    async with asked(net, tmp_path) as process:
        assert await process.call("discover", GOOD)
        pid = process._child.pid
        os.kill(pid, signal.SIGSTOP)
    assert not is_there(pid)
    assert process._child.returncode == -signal.SIGKILL
