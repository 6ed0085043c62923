"""One network process, seen from the daemon: handshake, calls, errors, pings, its end."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import HostNotFoundError, NoRecordError, OwnFaultError
from postfix_mta_sts.network import launch, process
from postfix_mta_sts.network.launch import NICENESS
from postfix_mta_sts.network.messages import Discover, FetchPolicy, Ping
from postfix_mta_sts.network.pending_calls import CutOffError, LostCallError
from postfix_mta_sts.network.process import NetworkProcess, ProcessError, WrongVersionError
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.timing import Timing
from tests.support.daemons import TIMEOUT, until
from tests.support.internet import Internet
from tests.support.network_processes import (
    DIES,
    NEVER_READY,
    OTHER_VERSION,
    Programs,
    exists,
    saying,
)

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = parse_domain("good.test")
OTHER = parse_domain("other.test")
NO_DOMAIN = Domain("ü" * 70)
"""No parser makes this, so that no part of the program expects it."""


class Recorder:
    """An owner that records what it learns."""

    def __init__(self) -> None:
        self.pulses: asyncio.Queue[bool] = asyncio.Queue()
        self.closed = asyncio.Event()

    def on_pulse(self, _: NetworkProcess, *, silent: bool) -> None:
        """Record it."""
        self.pulses.put_nowait(silent)

    def on_outdated(self, _: NetworkProcess, path: str) -> None:
        """No test replaces a file."""
        raise AssertionError(path)

    def on_closed(self, _: NetworkProcess) -> None:
        """Record it."""
        self.closed.set()


@asynccontextmanager
async def started(
    net: Internet, folder: Path, timing: Timing | None = None
) -> AsyncIterator[tuple[NetworkProcess, Recorder]]:
    """A network process that uses this Internet, and its owner; it need not be ready."""
    owner = Recorder()
    settings = NetworkSettings.of(net.settings(folder), net.hosts.port)
    process = NetworkProcess(settings, timing or Timing(), owner)
    await process.start()
    try:
        yield process, owner
    finally:
        await process.stop()


@asynccontextmanager
async def ready(
    net: Internet, folder: Path, timing: Timing | None = None
) -> AsyncIterator[tuple[NetworkProcess, Recorder]]:
    """The same; it is ready."""
    async with started(net, folder, timing) as (process, owner):
        await process.wait_until_ready(TIMEOUT)
        yield process, owner


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What is started as the network process."""
    return Programs(monkeypatch)


def pid_of(process: NetworkProcess) -> int:
    """The process id."""
    assert process.pid
    return process.pid


async def test_calls_run_in_another_process(net: Internet, tmp_path: Path) -> None:
    """The process has a higher nice value and a higher OOM score; `stop` leaves no zombie."""
    async with ready(net, tmp_path) as (process, _):
        assert (await process.call(Discover, GOOD)).policy_id == "id1"
        pid = pid_of(process)
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, nice + NICENESS)
        scores = [Path(f"/proc/{each}/oom_score_adj").read_text() for each in ("self", pid)]
        assert int(scores[1]) == min(int(scores[0]) + 500, 1000)
    assert not exists(pid)


async def test_errors_are_raised_here(net: Internet, tmp_path: Path) -> None:
    """An error of the network process is raised by the call, with its reason."""
    async with ready(net, tmp_path) as (process, _):
        with pytest.raises(NoRecordError, match="NXDOMAIN"):
            await process.call(Discover, OTHER)
        with pytest.raises(HostNotFoundError, match="NXDOMAIN"):
            await process.call(FetchPolicy, OTHER)


async def test_an_internal_error_is_logged(
    net: Internet, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is logged with its traceback, once a minute at most; other calls are not affected."""
    async with ready(net, tmp_path) as (process, _):
        with pytest.raises(OwnFaultError, match="see the log"):
            await process.call(Discover, NO_DOMAIN)
        with pytest.raises(OwnFaultError, match="see the log"):
            await process.call(Discover, NO_DOMAIN)
        assert await process.call(Discover, GOOD)
    logged = capfd.readouterr().err
    assert logged.count("internal error in network process") == 1
    assert "UnicodeEncodeError" in logged


async def test_cancelling_a_call_cancels_it_in_the_process(net: Internet, tmp_path: Path) -> None:
    """A GET whose caller was cancelled is aborted."""
    net.hosts.hold()
    async with ready(net, tmp_path) as (process, _):
        call = asyncio.create_task(process.call(FetchPolicy, GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await process.call(Discover, GOOD)
        assert not process._calls


async def test_signals_do_not_end_it(net: Internet, tmp_path: Path) -> None:
    """The process ignores the signals that systemd sends to all processes of a service."""
    async with ready(net, tmp_path) as (process, _):
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid_of(process), signum)
        assert await process.call(FetchPolicy, GOOD)


async def test_killed(net: Internet, tmp_path: Path) -> None:
    """The owner learns it; running calls are lost, and so is each call after that."""
    net.hosts.hold()
    async with ready(net, tmp_path) as (process, owner):
        call = asyncio.create_task(process.call(FetchPolicy, GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(LostCallError):
            await call
        await owner.closed.wait()
        with pytest.raises(LostCallError):
            await process.call(Discover, GOOD)
        assert await process.reap() == -signal.SIGKILL
    assert process.fault == ""


async def test_cut_off(net: Internet, tmp_path: Path) -> None:
    """Calls of a process that is given up for another one end at once; then it is idle."""
    net.hosts.hold()
    async with ready(net, tmp_path) as (process, owner):
        call = asyncio.create_task(process.call(FetchPolicy, GOOD))
        await net.hosts.gets.reached("mta-sts.good.test")
        process.cut_off()
        with pytest.raises(CutOffError):
            await call
        await process.wait_until_idle()
    assert not owner.closed.is_set()


async def test_a_call_without_a_result(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that the process does not end fails at its deadline, and is cancelled there."""
    monkeypatch.setattr(process, "call_timeout", lambda *_: 0.2)
    net.hosts.hold()
    async with ready(net, tmp_path) as (working, owner):
        with pytest.raises(OwnFaultError, match="did not end the call in time"):
            await working.call(FetchPolicy, GOOD)
        assert not working._calls
    assert not owner.closed.is_set()


async def test_stopped_while_it_starts(net: Internet, tmp_path: Path) -> None:
    """`stop` kills a process that is not ready."""
    async with started(net, tmp_path) as (process, _):
        pid = pid_of(process)
    assert not exists(pid)
    assert await process.reap() == -signal.SIGKILL


async def test_a_stop_that_hangs(net: Internet, tmp_path: Path) -> None:
    """`stop` ends also a process that does nothing any more, and soon."""
    async with ready(net, tmp_path) as (process, _):
        os.kill(pid_of(process), signal.SIGSTOP)
    assert await process.reap() == -signal.SIGKILL
    assert not exists(process.pid)


async def test_silent_and_well_again(net: Internet, tmp_path: Path) -> None:
    """A stopped process is reported once; when it continues, that is reported too."""
    timing = Timing(ping=0.05, silent_after=10, hung_after=10_000)
    async with ready(net, tmp_path, timing) as (process, owner):
        for _ in range(2):
            os.kill(pid_of(process), signal.SIGSTOP)
            assert await owner.pulses.get()
            await until(lambda: process.silence >= 0.5)
            assert process.is_silent
            call = asyncio.create_task(process.call(Discover, GOOD))
            os.kill(pid_of(process), signal.SIGCONT)
            assert await call
            assert not await owner.pulses.get()


async def test_hung(net: Internet, tmp_path: Path) -> None:
    """A process that answers nothing is killed, and its calls are lost."""
    timing = Timing(ping=0.02, silent_after=5, hung_after=20)
    async with ready(net, tmp_path, timing) as (process, owner):
        os.kill(pid_of(process), signal.SIGSTOP)
        with pytest.raises(LostCallError):
            await process.call(Discover, GOOD)
        await owner.closed.wait()
        assert process.fault == "did not answer for 0.4 s"
        assert await process.reap() == -signal.SIGKILL


async def test_one_ping_at_a_time(net: Internet, tmp_path: Path) -> None:
    """To a process that does not answer no more pings are sent."""
    timing = Timing(ping=0.01, silent_after=10, hung_after=10_000)
    sent: list[object] = []
    async with ready(net, tmp_path, timing) as (process, owner):
        os.kill(pid_of(process), signal.SIGSTOP)
        await owner.pulses.get()
        assert process._channel
        process._channel.send = sent.append  # type: ignore[assignment,method-assign]
        for _ in range(10):
            await asyncio.sleep(0.01)
    assert not [each for each in sent if isinstance(each, Ping)]


async def test_another_version(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """A process of another version does not become ready; the error names both versions."""
    programs.queue(OTHER_VERSION)
    async with started(net, tmp_path) as (process, _):
        with pytest.raises(WrongVersionError) as caught:
            await process.wait_until_ready(TIMEOUT)
    assert caught.value.version == "99.1"
    assert str(caught.value) == (
        f"the network process has version 99.1, the daemon {__version__}: restart the daemon"
    )


async def test_it_dies_at_once(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """A process that ends before it is ready tells its status."""
    programs.queue(DIES)
    async with started(net, tmp_path) as (process, _):
        with pytest.raises(ProcessError, match="ended with status 3 before it was ready"):
            await process.wait_until_ready(TIMEOUT)


async def test_it_does_not_become_ready(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """The wait for a process is bounded."""
    programs.queue(NEVER_READY)
    async with started(net, tmp_path) as (process, _):
        with pytest.raises(ProcessError, match=r"was not ready within 0\.1 s"):
            await process.wait_until_ready(0.1)
    assert not exists(process.pid)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\0\0\0\1\0", "broke the channel: Expected `array`, got `int`"),
        (b"\xff" * 50, "broke the channel: a frame of 4294967295 bytes"),
        (b"\0\0\1\0\x91", "did not answer for 1 s"),
    ],
    ids=["garbage", "too long", "half a frame"],
)
async def test_bytes_that_are_no_message(
    net: Internet, tmp_path: Path, programs: Programs, data: bytes, fault: str
) -> None:
    """A process that breaks the channel is killed, and its calls are lost."""
    programs.queue(saying(data))
    timing = Timing(ping=0.1, silent_after=5, hung_after=10)
    async with ready(net, tmp_path, timing) as (process, owner):
        with pytest.raises(LostCallError):
            await process.call(Discover, GOOD)
        await owner.closed.wait()
        assert process.fault == fault
        assert await process.reap() == -signal.SIGKILL


async def test_a_start_that_fails(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """The error is that of the system, and `stop` still works."""
    programs.queue(BlockingIOError(11, "Resource temporarily unavailable"))
    settings = NetworkSettings.of(net.settings(tmp_path))
    process = NetworkProcess(settings, Timing(), Recorder())
    with pytest.raises(BlockingIOError):
        await process.start()
    await process.stop()
    assert process.pid is None


async def test_wait_or_kill_when_cancelled(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process outlives a wait that was cancelled."""
    async with ready(net, tmp_path) as (process, _):
        os.kill(pid_of(process), signal.SIGSTOP)
        waiting = asyncio.create_task(process.reap())
        await asyncio.sleep(0.02)
        monkeypatch.setattr(launch, "STOP_TIMEOUT", 60.0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not exists(process.pid)
