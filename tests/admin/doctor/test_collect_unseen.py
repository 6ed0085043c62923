"""The collector: what is late, denied, broken or not there."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.doctor.collect import Collector
from postfix_mta_sts.admin.doctor.collect_daemon import Process
from postfix_mta_sts.admin.doctor.collect_system import NoUnitError, UnitSeen
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import (
    Daemon,
    DaemonState,
)
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.programs import ProgramError
from tests.support.seen_machine import BUDGET, SeenMachine


@pytest.fixture
def machine(tmp_path: Path) -> SeenMachine:
    """A machine on which all can be seen."""
    return SeenMachine(tmp_path)


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Holds threads until the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class TestUnseen:
    """Parts that cannot be seen."""

    async def test_late(self, machine: SeenMachine) -> None:
        """What is late is left out, and the rest is there."""

        async def late(*_: object, **__: object) -> Any:  # noqa: ANN401 (nothing)
            raise TimeoutError

        def late_thread(*_: object) -> Any:  # noqa: ANN401 (nothing)
            raise TimeoutError

        machine.changes = {"unit": late, "held": late, "daemon": late_thread, "bundle": late_thread}
        seen = await machine.look()
        reason = f"not finished within {BUDGET:g} s; run doctor again"
        names = {"the systemd unit", "the mail queue", "the control socket", "the CA certificates"}
        assert {*seen.unseen} == {Unseen(name, reason) for name in names}
        assert (seen.unit, seen.waiting, seen.ca_bundle) == (None, None, "")
        assert seen.daemon.state is DaemonState.HANGS
        assert (seen.instances, seen.ca_problem) == (machine.instances, "no CA certificates")

    async def test_stuck(self, machine: SeenMachine, stuck: threading.Event) -> None:
        """A thread that does not come back holds nothing up."""

        def blocks(_: ControlClient) -> Daemon:
            stuck.wait()
            return machine.daemon

        machine.budget = 0.05
        machine.changes = {"daemon": blocks}
        seen = await machine.look()
        assert seen.daemon.state is DaemonState.HANGS
        assert "the control socket" in {each.what for each in seen.unseen}

    async def test_a_user_that_is_not_found(
        self, machine: SeenMachine, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Users may be looked up in the network: a server that hangs holds nothing up."""

        def blocks(_: str) -> None:
            stuck.wait()

        monkeypatch.setattr("pwd.getpwnam", blocks)
        machine.budget = 1.0
        machine.unit = replace(machine.unit, user="mta-sts")

        def gone(_: int) -> Process:
            raise FileNotFoundError(2, "No such file or directory", "/proc/13/cmdline")

        machine.changes = {"process": gone}
        seen = await machine.look()
        assert seen.store is None
        assert "the user mta-sts" in {each.what for each in seen.unseen}

    async def test_failed(self, machine: SeenMachine) -> None:
        """The reason is kept."""

        async def no_unit() -> UnitSeen:
            raise NoUnitError("systemd has no unit")

        async def no_queue(_: str) -> int:
            raise ProgramError("postqueue: fatal: denied")

        def no_process(_: int) -> Process:
            raise FileNotFoundError(2, "No such file or directory", "/proc/13/cmdline")

        machine.changes = {"unit": no_unit, "held": no_queue, "process": no_process}
        seen = await machine.look()
        assert {*seen.unseen} == {
            Unseen("the systemd unit", "systemd has no unit"),
            Unseen("the mail queue", "postqueue: fatal: denied"),
            Unseen("the process of the daemon", "/proc/13/cmdline: No such file or directory"),
        }
        assert (seen.daemon.uid, seen.store) == (None, None)

    async def test_an_error_of_this_program(self, machine: SeenMachine) -> None:
        """A fault of the program is not hidden."""

        def fault(_: int) -> Process:
            raise ZeroDivisionError

        machine.changes = {"process": fault}
        with pytest.raises(ExceptionGroup) as caught:
            await machine.look()
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)

    async def test_pending(self, machine: SeenMachine) -> None:
        """What is being looked at can be shown."""
        reached = asyncio.Event()

        async def never() -> UnitSeen:
            reached.set()
            await asyncio.Event().wait()
            return machine.unit

        machine.changes = {"unit": never}
        collector = Collector(
            Given(Settings(), machine.store),
            ControlClient(machine.folder / "control.sock", BUDGET),
            tuple,
            looks=machine.looks(),
        )
        task = asyncio.create_task(collector.run())
        await reached.wait()
        assert "the systemd unit" in collector.pending
        task.cancel()
        await asyncio.wait([task])
