"""The collector: the daemon, its process, its store, and the sockets that systemd keeps for it."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postfix_mta_sts.admin.doctor import collect
from postfix_mta_sts.admin.doctor.collect_system import UnitSeen
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.admin.doctor.snapshot import (
    Daemon,
    DaemonState,
)
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix.installed.sleeping import Sleeping
from postfix_mta_sts.postfix.installed.values import Instance
from tests.support.seen_machine import NOT_RUNNING, OWN, UNIT, SeenMachine


@pytest.fixture
def machine(tmp_path: Path) -> SeenMachine:
    """A machine on which all can be seen."""
    return SeenMachine(tmp_path)


class TestDaemon:
    """The daemon, its process and its store."""

    async def test_its_own_process(self, machine: SeenMachine) -> None:
        """The daemon says which process it is, whatever systemd says."""
        await machine.look()
        assert [each for each in machine.asked if isinstance(each, int)] == [13]

    async def test_a_process_that_hangs(self, machine: SeenMachine) -> None:
        """Of a daemon that does not answer, systemd knows the process."""
        machine.daemon = Daemon(DaemonState.HANGS, "no answer")
        seen = await machine.look()
        assert [each for each in machine.asked if isinstance(each, int)] == [12]
        assert (seen.daemon.state, seen.daemon.uid) == (DaemonState.HANGS, OWN.uid)

    async def test_stopped(self, machine: SeenMachine) -> None:
        """There is no process; whose store it is, the unit says."""
        machine.daemon = NOT_RUNNING
        user = pwd.getpwuid(OWN.uid).pw_name
        machine.unit = UnitSeen(replace(UNIT, is_active=False), 0, user)
        seen = await machine.look()
        assert (seen.daemon, [each for each in machine.asked if isinstance(each, int)]) == (
            NOT_RUNNING,
            [],
        )
        assert seen.store is not None
        assert seen.store.path == str(machine.folder / "other.db")

    @pytest.mark.parametrize("user", ["", "no-such-user"])
    async def test_unknown_user(self, machine: SeenMachine, user: str) -> None:
        """Without a user it cannot be said what the daemon may do."""
        machine.daemon = NOT_RUNNING
        machine.unit = UnitSeen(replace(UNIT, is_active=False), 0, user)
        assert (await machine.look()).store is None

    async def test_a_listener_answers(self, machine: SeenMachine) -> None:
        """Without a control socket the daemon may run all the same."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b",")
            writer.write(b"9:NOTFOUND ,")
            writer.close()

        machine.daemon = NOT_RUNNING
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])
            settings = Settings(listen=(ListenerSettings(socketmap=address),))
            assert (await machine.look(settings=settings)).daemon.state is DaemonState.NO_CONTROL

    async def test_a_listener_of_a_stopped_unit(self, machine: SeenMachine) -> None:
        """It is not asked: systemd would start the daemon for a socket that it keeps open."""
        asked = asyncio.Event()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            writer.close()

        machine.daemon = NOT_RUNNING
        machine.unit = UnitSeen(replace(UNIT, is_active=False), 0, "")
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])
            settings = Settings(listen=(ListenerSettings(socketmap=address),))
            seen = await machine.look(settings=settings)
        assert (seen.daemon.state, asked.is_set()) == (DaemonState.NOT_RUNNING, False)

    async def test_sockets_of_a_stopped_unit(self, machine: SeenMachine) -> None:
        """Where systemd listens for it, Postfix is told not to be asked either."""
        told: list[Sleeping] = []

        async def postfix(
            _: Sight, __: Given, sleeping: Callable[[], Awaitable[Sleeping]]
        ) -> tuple[Instance, ...]:
            told.append(await sleeping())
            return ()

        machine.changes = {"postfix": postfix}
        await machine.look()
        machine.unit = UnitSeen(replace(UNIT, is_active=False), 0, "", ("127.0.0.1:8461",))
        await machine.look()
        assert told == [(), (TcpAddress("127.0.0.1", 8461),)]

    async def test_a_systemd_that_hangs(
        self, machine: SeenMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It could not start anything, so that the tables wait for it a short time only."""
        monkeypatch.setattr(collect, "UNIT_PATIENCE", 0.01)
        told, answers = asyncio.Event(), asyncio.Event()

        async def unit() -> UnitSeen:
            await told.wait()
            answers.set()
            return machine.unit

        async def postfix(
            _: Sight, __: Given, sleeping: Callable[[], Awaitable[Sleeping]]
        ) -> tuple[Instance, ...]:
            assert await sleeping() == ()
            assert not answers.is_set()
            told.set()
            return ()

        machine.changes = {"unit": unit, "postfix": postfix}
        assert (await machine.look()).unit == UNIT

    async def test_denied(self, machine: SeenMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A plain user is told which user may ask."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        reason = "control.sock: permission denied; run this as root"
        machine.daemon = Daemon(DaemonState.DENIED, reason)
        seen = await machine.look()
        assert seen.unseen == (Unseen("the status of the daemon", reason),)
        assert not seen.is_root
