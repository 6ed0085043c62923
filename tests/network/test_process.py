"""The daemon's side of the network process: calls, errors, and the death of either side."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import HostNotFoundError, NoRecordError, OwnFaultError
from postfix_mta_sts.network import process as module
from postfix_mta_sts.network.messages import Discover, FetchPolicy, NotValidating
from postfix_mta_sts.network.process import NICENESS, NetworkProcess
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.internet import Internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")
OTHER = parse_domain("other.test")
NO_DOMAIN = Domain("ü" * 70)
"""No parser makes this, so that no part of the program expects it."""


@asynccontextmanager
async def started(net: Internet, folder: Path) -> AsyncIterator[NetworkProcess]:
    """A network process that uses this Internet."""
    process = NetworkProcess(NetworkSettings.of(net.settings(folder), net.hosts.port))
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


def exists(pid: int) -> bool:
    """Whether there is such a process; a zombie counts."""
    return Path(f"/proc/{pid}").exists()


async def test_calls_run_in_another_process(net: Internet, tmp_path: Path) -> None:
    """The process has a higher nice value than this one; after `stop` not even a zombie is left."""
    async with started(net, tmp_path) as process:
        assert (await process.call(Discover, GOOD)).policy_id == "id1"
        pid = process._child.pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
        )
    assert not exists(pid)


async def test_errors_are_raised_here(net: Internet, tmp_path: Path) -> None:
    """An error of the network process is raised by the call, with its reason."""
    async with started(net, tmp_path) as process:
        with pytest.raises(NoRecordError, match="NXDOMAIN"):
            await process.call(Discover, OTHER)
        with pytest.raises(HostNotFoundError, match="NXDOMAIN"):
            await process.call(FetchPolicy, OTHER)


async def test_an_internal_error_is_logged(
    net: Internet, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception is logged with its traceback; other calls are not affected."""
    async with started(net, tmp_path) as process:
        with pytest.raises(OwnFaultError, match="see the log"):
            await process.call(Discover, NO_DOMAIN)
        assert await process.call(Discover, GOOD)
    logged = capfd.readouterr().err
    assert "internal error in network process" in logged
    assert "UnicodeEncodeError" in logged


async def test_cancelling_a_call_cancels_it_in_the_process(net: Internet, tmp_path: Path) -> None:
    """A GET whose caller was cancelled is aborted."""
    net.hosts.hold()
    async with started(net, tmp_path) as process:
        call = asyncio.create_task(process.call(FetchPolicy, GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await process.call(Discover, GOOD)
        assert not process._calls


async def test_signals_do_not_end_it(net: Internet, tmp_path: Path) -> None:
    """The process ignores the signals that systemd sends to all processes of a service."""
    async with started(net, tmp_path) as process:
        assert await process.call(Discover, GOOD)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process._child.pid, signum)
        assert await process.call(FetchPolicy, GOOD)


async def test_killed(net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Running calls fail with `OwnFaultError`; the next call waits for a new process."""
    net.hosts.hold()
    async with started(net, tmp_path) as process:
        call = asyncio.create_task(process.call(FetchPolicy, GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        pid = process._child.pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OwnFaultError, match="the network process ended"):
            await call
        assert (await process.call(Discover, GOOD)).policy_id == "id1"
        assert process._child.pid != pid
        assert not exists(pid)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"network process ended status=-9 pid={pid}"]


async def test_stopped_before_the_restart(net: Internet, tmp_path: Path) -> None:
    """`stop` does not wait for a restart, and none follows it."""
    async with started(net, tmp_path) as process:
        assert await process.call(Discover, GOOD)
        pid = process._child.pid
        os.kill(pid, signal.SIGKILL)
        call = asyncio.create_task(process.call(NotValidating))
        with pytest.raises(OwnFaultError):
            await call
    assert process._child.pid == pid
    assert not exists(pid)


async def test_a_process_that_hangs_is_killed(net: Internet, tmp_path: Path) -> None:
    """`stop` ends also a process that does nothing any more, and soon."""
    async with started(net, tmp_path) as process:
        assert await process.call(Discover, GOOD)
        pid = process._child.pid
        os.kill(pid, signal.SIGSTOP)
    assert not exists(pid)
    assert process._child.returncode == -signal.SIGKILL


async def test_a_process_of_another_version(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Both sides log both versions and what to do; calls fail at once, and nothing is restarted."""
    monkeypatch.setattr(
        module, "STOP_TIMEOUT", 60.0
    )  # it ends without being killed, on a busy machine too
    monkeypatch.setattr(
        module,
        "_PROGRAM",
        "import sys; sys.path[:] = sys.argv[2:]; "
        "import postfix_mta_sts; postfix_mta_sts.__version__ = '99.1'; "
        "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))",
    )
    async with started(net, tmp_path) as process:
        reason = (
            f"the network process has version 99.1, the daemon {__version__}: restart the daemon"
        )
        for _ in range(2):
            with pytest.raises(OwnFaultError) as caught:
                await process.call(Discover, GOOD)
            assert str(caught.value) == reason
        pid = process._child.pid
        assert process._restart
        await process._restart
        assert process._child.pid == pid
        assert not exists(pid)
    assert process._child.returncode == 1
    versions = f"daemon={__version__} network_process=99.1"
    what = "network process has another version; restart the daemon"
    assert caplog.messages == [f"{what} {versions}"]
    logged = capfd.readouterr().err
    assert f"network process exits, the daemon has another version {versions}" in logged


async def test_a_process_that_cannot_be_started_again(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reason is logged, and the start is tried again after a second."""
    start_child, failures = module._start_child, iter([OSError("no memory")])

    def start_or_fail(sock: socket.socket) -> subprocess.Popen[bytes]:
        for error in failures:
            raise error
        return start_child(sock)

    async with started(net, tmp_path) as process:
        assert await process.call(Discover, GOOD)
        monkeypatch.setattr(module, "_start_child", start_or_fail)
        os.kill(process._child.pid, signal.SIGKILL)
        with pytest.raises(OwnFaultError):
            await process.call(NotValidating)
        assert await process.call(Discover, GOOD)
    assert 'cannot start network process reason="no memory"' in caplog.messages
