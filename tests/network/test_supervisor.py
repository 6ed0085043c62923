"""Processes that do not start, end soon or hang: what calls wait for, and what is logged."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.launch import NICENESS
from postfix_mta_sts.network.messages import Discover
from postfix_mta_sts.network.process import NetworkProcess, ProcessError
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.supervisor import Supervisor
from postfix_mta_sts.network.timing import Timing
from tests.support.daemons import until
from tests.support.internet import Internet
from tests.support.network_processes import (
    DIES,
    NEVER_READY,
    OTHER_VERSION,
    REAL,
    Programs,
    children,
    exists,
)

GOOD = parse_domain("good.test")
NO_MEMORY: Final = OSError("no memory")
SOON = Timing(restart=0.02, restart_limit=0.2, give_up_after=0.05)
"""For processes that end soon."""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What is started as the network process."""
    return Programs(monkeypatch)


@asynccontextmanager
async def supervised(
    net: Internet, folder: Path, timing: Timing = SOON
) -> AsyncIterator[tuple[Supervisor, NetworkSettings]]:
    """A supervisor whose first process is being started, and its settings."""
    supervisor = Supervisor(timing)
    settings = NetworkSettings.of(net.settings(folder), net.hosts.port)
    supervisor.start(settings)
    try:
        yield supervisor, settings
    finally:
        await supervisor.stop()


async def kill(supervisor: Supervisor) -> NetworkProcess:
    """Kill the process in use, and wait until that is noticed; return it."""
    process = await supervisor.process()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: supervisor.current is not process)
    return process


async def test_ended_soon(net: Internet, tmp_path: Path) -> None:
    """After a process that was ready, calls wait for the next one."""
    async with supervised(net, tmp_path, Timing()) as (supervisor, _):
        first = await kill(supervisor)
        assert supervisor.problem == "the network process ended and is started again"
        second = await supervisor.process()
        assert (second is not first, supervisor.problem, supervisor.restarts) == (True, "", 1)
        assert await second.call(Discover, GOOD)
        assert not exists(first.pid)


DIED: Final = "the network process ended with status 3 before it was ready"
OTHER: Final = f"the network process has version 99.1, the daemon {__version__}: restart the daemon"
CANNOT_START: Final = "cannot start network process reason="
HAS_OTHER: Final = "network process has another version; restart the daemon "


@pytest.mark.parametrize(
    ("program", "problem", "logged"),
    [
        (NO_MEMORY, "no memory", f'{CANNOT_START}"no memory"'),
        (DIES, DIED, f'{CANNOT_START}"{DIED}"'),
        (OTHER_VERSION, OTHER, f"{HAS_OTHER}daemon={__version__} network_process=99.1"),
        (ValueError("a bug"), "a bug", f'{CANNOT_START}"a bug"'),
    ],
    ids=["no start", "dies", "version", "bug"],
)
async def test_no_process_to_be_had(
    net: Internet,
    tmp_path: Path,
    programs: Programs,
    caplog: pytest.LogCaptureFixture,
    program: str | Exception,
    problem: str,
    logged: str,
) -> None:
    """Calls fail, each try is counted, one line is logged; when it is put right, all is well."""
    caplog.set_level(logging.INFO, "postfix_mta_sts")
    programs.usual = program
    async with supervised(net, tmp_path) as (supervisor, _):
        await until(lambda: programs.starts >= 3)
        for _ in range(2):
            with pytest.raises(OwnFaultError) as caught:
                await supervisor.process()
            assert str(caught.value) == problem
        assert supervisor.problem == problem
        assert supervisor.restarts >= 2
        programs.usual = REAL
        await until(lambda: supervisor.current is not None)
        process = await supervisor.process()
        assert await process.call(Discover, GOOD)
        assert not supervisor.problem
    again = f"network process works again pid={process.pid}"
    assert caplog.messages == [f"{logged} count=1", again]


async def test_a_start_that_fails_once(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """Calls wait for the next start, which is due soon."""
    programs.queue(NO_MEMORY)
    async with supervised(net, tmp_path, Timing(give_up_after=1.0)) as (supervisor, _):
        process = await supervisor.process()
        assert await process.call(Discover, GOOD)
    assert programs.starts == 2


async def test_which_process_gives_way(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """One that look-ups wait for does so after its imports, the successor of another at once."""
    programs.queue(NEVER_READY)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    async with supervised(net, tmp_path) as (supervisor, settings):
        await until(lambda: len(supervisor.pids) == 1)
        (first,) = supervisor.pids
        assert os.getpriority(os.PRIO_PROCESS, first) == own
        os.kill(first, signal.SIGKILL)
        second = await supervisor.process()
        assert second.pid
        lower = os.getpriority(os.PRIO_PROCESS, second.pid)
        programs.queue(NEVER_READY)
        reload = asyncio.create_task(supervisor.replace(settings, 1.0))
        await until(lambda: len(supervisor.pids) == 2)
        (third,) = {*supervisor.pids} - {second.pid}
        assert os.getpriority(os.PRIO_PROCESS, third) == lower == min(19, own + NICENESS)
        reload.cancel()


async def test_neither_ready_nor_ended(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """A start is given up after a while, and another one follows; a reload waits less long."""
    programs.queue(NEVER_READY)
    timing = Timing(start_within=0.2, ready_within=0.1, restart=0.01)
    async with supervised(net, tmp_path, timing) as (supervisor, settings):
        await until(lambda: programs.starts >= 2)
        programs.usual = NEVER_READY
        with pytest.raises(ProcessError, match=r"was not ready within 0\.1 s"):
            await supervisor.replace(settings, 1.0)
        await until(lambda: "within 0.2 s" in supervisor.problem)


async def test_killed_and_no_other_to_be_had(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """A call that waits for the next process fails once the next one cannot be started."""
    async with supervised(net, tmp_path) as (supervisor, _):
        await supervisor.process()
        programs.usual = NO_MEMORY
        await kill(supervisor)
        with pytest.raises(OwnFaultError, match="no memory"):
            await supervisor.process()


async def test_a_process_that_always_ends_soon(net: Internet, tmp_path: Path) -> None:
    """When the next start is far away, calls do not wait for it."""
    timing = Timing(restart=60.0, restart_limit=60.0, give_up_after=0.05)
    async with supervised(net, tmp_path, timing) as (supervisor, _):
        await kill(supervisor)
        with pytest.raises(OwnFaultError, match="ended and is started again"):
            await supervisor.process()


async def test_a_silent_process(
    net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a problem and one warning; when it answers again, it is one line."""
    caplog.set_level(logging.INFO, "postfix_mta_sts")
    timing = Timing(ping=0.05, silent_after=10, hung_after=10_000)
    async with supervised(net, tmp_path, timing) as (supervisor, _):
        process = await supervisor.process()
        assert process.pid
        os.kill(process.pid, signal.SIGSTOP)
        await until(lambda: bool(supervisor.problem))
        assert supervisor.problem.startswith("the network process has not answered for")
        os.kill(process.pid, signal.SIGCONT)
        await until(lambda: not supervisor.problem)
    assert caplog.messages == [
        f"network process does not answer pid={process.pid} seconds=0.5 count=1",
        f"network process answers again pid={process.pid}",
    ]


async def test_a_hung_process(
    net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another one replaces it; the reason is logged."""
    timing = Timing(ping=0.05, silent_after=10, hung_after=20)
    async with supervised(net, tmp_path, timing) as (supervisor, _):
        first = await supervisor.process()
        assert first.pid
        os.kill(first.pid, signal.SIGSTOP)
        await until(lambda: supervisor.current is not first)
        second = await supervisor.process()
        assert second is not first
    ended = f'network process ended status=-9 pid={first.pid} reason="did not answer for 1 s" '
    assert f"{ended}count=1" in caplog.messages


async def test_a_reload_while_no_process_can_be_started(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """It fails as long as that is so, and the tries go on; then it starts a process."""
    programs.usual = NO_MEMORY
    async with supervised(net, tmp_path) as (supervisor, settings):
        with pytest.raises(OSError, match="no memory"):
            await supervisor.replace(settings, 1.0)
        starts = programs.starts
        await until(lambda: programs.starts > starts)
        programs.usual = REAL
        await supervisor.replace(settings, 1.0)
        assert await (await supervisor.process()).call(Discover, GOOD)
        assert len(children()) == 1


async def test_a_process_that_ends_during_a_reload(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """The new process takes over; no third one is left."""
    async with supervised(net, tmp_path) as (supervisor, settings):
        await supervisor.process()
        reload = asyncio.create_task(supervisor.replace(settings, 1.0))
        await until(lambda: programs.starts == 2)
        await kill(supervisor)
        await reload
        process = await supervisor.process()
        assert await process.call(Discover, GOOD)
        await until(lambda: children() == [process.pid])


async def test_a_refused_reload_is_a_problem(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """Until the next reload: the process in use works, but no other could take its place."""
    async with supervised(net, tmp_path) as (supervisor, settings):
        first = await supervisor.process()
        programs.queue(DIES)
        with pytest.raises(ProcessError):
            await supervisor.replace(settings, 1.0)
        assert supervisor.problem == (
            "a reload was refused: the network process ended with status 3 before it was ready"
        )
        assert await supervisor.process() is first
        await supervisor.replace(settings, 1.0)
        assert not supervisor.problem


async def test_stopped_while_calls_wait(net: Internet, tmp_path: Path, programs: Programs) -> None:
    """`stop` ends the wait for a process, and no process is started after it."""
    async with supervised(net, tmp_path) as (supervisor, _):
        waiting = asyncio.create_task(supervisor.process())
        await until(lambda: programs.starts == 1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(OwnFaultError, match="stops"):
        await supervisor.process()
    assert not children()


async def test_stopped_before_the_restart(net: Internet, tmp_path: Path) -> None:
    """`stop` does not wait for a restart, and none follows it."""
    async with supervised(net, tmp_path, Timing(restart=600.0)) as (supervisor, _):
        await kill(supervisor)
    assert not children()
