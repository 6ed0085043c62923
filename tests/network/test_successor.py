"""A network process that the sandbox keeps from a replaced file gets a successor."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.errors import CertificateError
from postfix_mta_sts.network.messages import Discover, FetchPolicy
from postfix_mta_sts.network.process import NetworkProcess
from postfix_mta_sts.network.process_log import ProcessLog
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.supervisor import Supervisor
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.values import replace
from tests.network.test_supervisor import DIED, GOOD, supervised
from tests.support.daemons import until
from tests.support.internet import Internet, authority
from tests.support.network_processes import DIES, Programs
from tests.support.tls import Authority

IMPATIENT: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from postfix_mta_sts.network import call_runner; call_runner.WATCH_INTERVAL = 0.1; "
    "from postfix_mta_sts.network.child import main; main(int(sys.argv[1]))"
)
"""A network process that looks for replaced files all the time."""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What is started as the network process."""
    return Programs(monkeypatch)


async def test_a_successor_for_a_replaced_file(
    net: Internet, tmp_path: Path, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that lacks a file is replaced, with the same settings, once a minute at most."""
    caplog.set_level(logging.INFO, "postfix_mta_sts")
    async with supervised(net, tmp_path) as (supervisor, _):
        first = await supervisor.process()
        supervisor.on_outdated(first, "/etc/resolv.conf")
        supervisor.on_outdated(first, "/etc/resolv.conf")
        await until(lambda: supervisor.current is not first)
        second = await supervisor.process()
        supervisor.on_outdated(first, "/etc/hosts")  # said before it was replaced
        supervisor.on_outdated(second, "/etc/hosts")
        assert await second.call(Discover, GOOD)
        await until(lambda: len(supervisor.pids) == 1)
    assert programs.starts == 2
    said = "network process replaced, a file has changed path=/etc/resolv.conf"
    assert [each for each in caplog.messages if "replaced" in each] == [said]


async def test_no_successor(
    net: Internet, tmp_path: Path, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    """If none can be started, the process goes on; that is a warning, and no problem."""
    async with supervised(net, tmp_path) as (supervisor, _):
        first = await supervisor.process()
        programs.queue(DIES)
        supervisor.on_outdated(first, "/etc/hosts")
        await until(lambda: bool(caplog.messages))
        assert await supervisor.process() is first
        assert await first.call(Discover, GOOD)
        assert not supervisor.problem
    assert caplog.messages == [
        f'network process cannot be replaced, a file has changed path=/etc/hosts reason="{DIED}"'
    ]


async def test_a_reload_instead_of_a_successor(
    net: Internet, tmp_path: Path, programs: Programs
) -> None:
    """A reload that is under way makes the successor superfluous."""
    async with supervised(net, tmp_path) as (supervisor, settings):
        first = await supervisor.process()
        reload = asyncio.create_task(supervisor.replace(settings, 1.0))
        await until(lambda: programs.starts == 2)
        supervisor.on_outdated(first, "/etc/hosts")
        await reload
        assert await (await supervisor.process()).call(Discover, GOOD)
    assert programs.starts == 2


async def test_what_the_sandbox_lacks(
    net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is one line, as long as it is the same."""
    caplog.set_level(logging.INFO, "postfix_mta_sts")
    log, settings = ProcessLog(), NetworkSettings.of(net.settings(tmp_path))
    process = NetworkProcess(settings, Timing(), Supervisor(Timing()))
    for missing in (("ports: old kernel",), ("ports: old kernel",), (), ("ports: old kernel",)):
        process.confinement = Confinement(missing=missing)
        log.confined(process)
    process.confinement = Confinement(is_wanted=False, missing=("off",))
    log.confined(process)
    said = "sandbox of network process has gaps missing="
    assert len(caplog.messages) == 2
    assert all(each.startswith(said) for each in caplog.messages)


async def test_a_ca_file_that_is_replaced(
    net: Internet, tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process itself notices it; its successor can read the file, and trusts what it says."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    programs.usual = IMPATIENT
    net.ca_file.write_bytes(Authority("another").certificate)
    settings = replace(NetworkSettings.of(net.settings(tmp_path), net.hosts.port), sandbox=True)
    supervisor = Supervisor(Timing())
    supervisor.start(settings)
    try:
        first = await supervisor.process()
        with pytest.raises(CertificateError):
            await first.call(FetchPolicy, GOOD)
        (tmp_path / "new").mkdir()
        authority().write(tmp_path / "new").rename(net.ca_file)
        await until(lambda: supervisor.current not in {None, first})
        await until_fetched(supervisor)
    finally:
        await supervisor.stop()
    assert programs.starts == 2


async def until_fetched(supervisor: Supervisor) -> None:
    """Wait until the CAs are in use, which are read behind the first calls."""
    while True:
        try:
            assert await (await supervisor.process()).call(FetchPolicy, GOOD)
        except CertificateError:
            await asyncio.sleep(0.05)
        else:
            return
