"""The collector: what it puts where, what waits for what, and what is late, denied or not there."""

import asyncio
import os
import pwd
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

import postfix_mta_sts
from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.doctor.collect import Collector, Looks
from postfix_mta_sts.admin.doctor.collect_daemon import Process
from postfix_mta_sts.admin.doctor.collect_outward import Ports
from postfix_mta_sts.admin.doctor.collect_system import NoUnitError, UnitSeen
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.admin.doctor.snapshot import (
    ConfigProblem,
    Daemon,
    DaemonState,
    Resolver,
    Snapshot,
    StoreFile,
    Unit,
)
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.programs import ProgramError
from tests.support.internet import Internet
from tests.support.ports import free_port
from tests.support.smtp_host import SmtpHost
from tests.support.snapshots import NOW, good, instance, without_chroot

BUDGET: Final = 60.0
"""Seconds: enough for a busy machine."""
UNIT: Final = Unit(is_active=True, is_enabled=True, command_line="serve", files=("/a.service",))
PROBLEM: Final = ConfigProblem("listen[0].group", "there is no group x", is_warning=False)
OWN: Final = Account(os.geteuid(), os.getegid())
SEEN: Final = UnitSeen(UNIT, 12, "")
RUNNING: Final = Process(("postfix-mta-sts", "serve"), OWN)
NOT_RUNNING: Final = Daemon(DaemonState.NOT_RUNNING, "there is no control socket")


@dataclass
class Machine:
    """A machine on which all can be seen; a test changes what it is about."""

    folder: Path
    instances: tuple[Instance, ...] = (instance(),)
    unit: UnitSeen = SEEN
    daemon: Daemon = NOT_RUNNING
    process: Process = RUNNING
    budget: float = BUDGET
    changes: dict[str, Any] = field(default_factory=dict)
    """Other functions of `Looks`."""
    asked: list[object] = field(default_factory=list)
    """The folders of queues, processes and resolv.conf files that were asked for."""

    def __post_init__(self) -> None:
        self.store = self.folder / "policies.db"
        self.config = self.folder / "config.yml"
        for path in (self.store, self.config):
            path.touch()
        status = {"pid": 13, "store_path": str(self.store)}
        self.daemon = Daemon(DaemonState.ANSWERS, status=status)

    async def look(self, **changes: Any) -> Snapshot:  # noqa: ANN401 (fields of `Given`)
        """Look at it once."""
        usual = Given(Settings(), self.folder / "other.db", config_file=self.config)
        client = ControlClient(self.folder / "control.sock", BUDGET)
        collector = Collector(
            replace(usual, **changes),
            client,
            lambda: (PROBLEM,),
            looks=self._looks(),
            clock=lambda: NOW,
            budget=self.budget,
        )
        return await collector.run()

    def _looks(self) -> Looks:
        usual = Looks(
            postfix=self._postfix,
            held=self._held,
            unit=self._unit,
            daemon=lambda _: self.daemon,
            process=self._process,
            resolver=self._resolver,
            bundle=lambda: "/bundle.pem",
            ca_problem=lambda _: "no CA certificates",
        )
        return replace(usual, **self.changes)

    async def _postfix(self, _: Sight, __: Given) -> tuple[Instance, ...]:
        return self.instances

    async def _held(self, directory: str) -> int:
        self.asked.append(directory)
        return 3

    async def _unit(self) -> UnitSeen:
        return self.unit

    def _process(self, pid: int) -> Process:
        self.asked.append(pid)
        return self.process

    async def _resolver(
        self, servers: tuple[str, ...] = (), resolv_conf: Path = Path()
    ) -> Resolver:
        self.asked.append(resolv_conf)
        return Resolver(str(resolv_conf), servers)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which all can be seen."""
    return Machine(tmp_path)


class TestAll:
    """Everything is seen."""

    async def test_snapshot(self, machine: Machine) -> None:
        """Each part is where the rules look for it."""
        seen = await machine.look()
        store = StoreFile(
            str(machine.store), str(machine.folder), is_readable=True, is_writable=True
        )
        assert seen == replace(
            good(),
            is_root=os.geteuid() == 0,
            program_time=Path(postfix_mta_sts.__file__).stat().st_mtime,
            config_file=str(machine.config),
            config_time=machine.config.stat().st_mtime,
            instances=machine.instances,
            daemon=replace(machine.daemon, command_line=("postfix-mta-sts", "serve"), uid=OWN.uid),
            unit=UNIT,
            config_problems=(PROBLEM,),
            daemon_resolver=Resolver(".", ()),
            postfix_resolver=Resolver("/var/spool/postfix/etc/resolv.conf", ()),
            ca_bundle="/bundle.pem",
            ca_problem="no CA certificates",
            store=store,
            waiting=3,
        )

    async def test_what_the_command_has_read(self, machine: Machine) -> None:
        """Errors of the configuration come first; what the command could not read is unseen."""
        wrong = ConfigProblem("https.timout", "unknown key", is_warning=False)
        unseen = Unseen("the configuration", "Permission denied")
        seen = await machine.look(config_problems=(wrong,), unseen=(unseen,), is_valid=False)
        assert seen.config_problems == (wrong, PROBLEM)
        assert (seen.settings, seen.unseen) == (None, (unseen,))

    async def test_no_file(self, machine: Machine) -> None:
        """Without a configuration file there is no time of it."""
        seen = await machine.look(config_file=None)
        assert (seen.config_file, seen.config_time, seen.unseen) == ("", None, ())

    async def test_all_at_once(self, machine: Machine) -> None:
        """Parts that do not need each other do not wait for each other."""
        met = asyncio.Barrier(3)

        async def unit() -> UnitSeen:
            await met.wait()
            return machine.unit

        async def postfix(_: Sight, __: Given) -> tuple[Instance, ...]:
            await met.wait()
            return ()

        async def resolver(_: object) -> Resolver:
            await met.wait()
            return Resolver("", ())

        machine.changes = {"unit": unit, "postfix": postfix, "resolver": resolver}
        assert (await machine.look()).unseen == ()


class TestDaemon:
    """The daemon, its process and its store."""

    async def test_its_own_process(self, machine: Machine) -> None:
        """The daemon says which process it is, whatever systemd says."""
        await machine.look()
        assert [each for each in machine.asked if isinstance(each, int)] == [13]

    async def test_a_process_that_hangs(self, machine: Machine) -> None:
        """Of a daemon that does not answer, systemd knows the process."""
        machine.daemon = Daemon(DaemonState.HANGS, "no answer")
        seen = await machine.look()
        assert [each for each in machine.asked if isinstance(each, int)] == [12]
        assert (seen.daemon.state, seen.daemon.uid) == (DaemonState.HANGS, OWN.uid)

    async def test_stopped(self, machine: Machine) -> None:
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
    async def test_unknown_user(self, machine: Machine, user: str) -> None:
        """Without a user it cannot be said what the daemon may do."""
        machine.daemon = NOT_RUNNING
        machine.unit = UnitSeen(replace(UNIT, is_active=False), 0, user)
        assert (await machine.look()).store is None

    async def test_a_listener_answers(self, machine: Machine) -> None:
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

    async def test_a_listener_of_a_stopped_unit(self, machine: Machine) -> None:
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

    async def test_denied(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A plain user is told which user may ask."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        reason = "control.sock: permission denied; run this as root"
        machine.daemon = Daemon(DaemonState.DENIED, reason)
        seen = await machine.look()
        assert seen.unseen == (Unseen("the status of the daemon", reason),)
        assert not seen.is_root


class TestPostfix:
    """What depends on the Postfix of this machine."""

    async def test_without_chroot(self, machine: Machine) -> None:
        """smtp(8) reads the file of the system."""
        machine.instances = without_chroot(good()).instances
        seen = await machine.look()
        assert seen.postfix_resolver == Resolver("/etc/resolv.conf", ())

    async def test_several(self, machine: Machine) -> None:
        """All queues are counted, and the name servers are those of the first instance."""
        machine.instances = (instance(), instance(folder="/etc/postfix-out", name="postfix-out"))
        assert (await machine.look()).waiting == 6
        assert {"/etc/postfix", "/etc/postfix-out"} < set(machine.asked)

    async def test_none(self, machine: Machine) -> None:
        """Without Postfix there is no queue, and there are no name servers of it."""
        machine.instances = ()
        seen = await machine.look()
        assert (seen.waiting, seen.postfix_resolver, seen.unseen) == (None, None, ())

    async def test_elsewhere(self, machine: Machine) -> None:
        """The queue and the name servers of another machine are not those of this one."""
        seen = await machine.look(main_cf_file=Path("/tmp/main.cf"))  # noqa: S108 (not opened)
        assert (seen.waiting, seen.postfix_resolver) == (None, None)
        assert seen.main_cf_file == "/tmp/main.cf"  # noqa: S108 (the same)


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Holds threads until the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class TestUnseen:
    """Parts that cannot be seen."""

    async def test_late(self, machine: Machine) -> None:
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

    async def test_stuck(self, machine: Machine, stuck: threading.Event) -> None:
        """A thread that does not come back holds nothing up."""

        def blocks(_: ControlClient) -> Daemon:
            stuck.wait()
            return machine.daemon

        machine.budget = 0.05
        machine.changes = {"daemon": blocks}
        seen = await machine.look()
        assert seen.daemon.state is DaemonState.HANGS
        assert "the control socket" in {each.what for each in seen.unseen}

    async def test_failed(self, machine: Machine) -> None:
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

    async def test_an_error_of_this_program(self, machine: Machine) -> None:
        """A fault of the program is not hidden."""

        def fault(_: int) -> Process:
            raise ZeroDivisionError

        machine.changes = {"process": fault}
        with pytest.raises(ExceptionGroup) as caught:
            await machine.look()
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)

    async def test_pending(self, machine: Machine) -> None:
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
            looks=machine._looks(),
        )
        task = asyncio.create_task(collector.run())
        await reached.wait()
        assert "the systemd unit" in collector.pending
        task.cancel()
        await asyncio.wait([task])


class TestOutward:
    """`--outward`."""

    async def test_nothing(self, machine: Machine) -> None:
        """Without it, nobody is asked."""
        assert (await machine.look()).outward is None

    async def test_asked(self, machine: Machine, net: Internet) -> None:
        """The servers of the domain are greeted by the name of this Postfix."""
        net.publish("good.test")
        async with SmtpHost() as host:
            machine.changes = {"ports": Ports(net.hosts.port, host.port)}
            settings, domain = net.settings(machine.folder), parse_domain("good.test")
            seen = await machine.look(settings=settings, outward=domain)
            assert host.commands[0] == "EHLO relay.x.test"
        assert seen.outward is not None
        assert (seen.outward.https_problem, seen.outward.has_starttls) == ("", True)

    async def test_no_ca_file(self, machine: Machine, net: Internet) -> None:
        """A CA file that is gone keeps it from looking outward, and nothing else."""
        settings = net.settings(machine.folder)
        net.ca_file.unlink()
        machine.changes = {"ports": Ports(net.hosts.port, free_port())}
        seen = await machine.look(settings=settings, outward=parse_domain("good.test"))
        assert seen.outward is None
        reason = f"{net.ca_file}: No such file or directory"
        assert seen.unseen == (Unseen("the servers of good.test", reason),)
