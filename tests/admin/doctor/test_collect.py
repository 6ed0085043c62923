"""The collector: what it puts where, and what waits for what."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

import postfix_mta_sts
from postfix_mta_sts.admin.doctor.collect_outward import Ports
from postfix_mta_sts.admin.doctor.collect_system import UnitSeen
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import (
    ConfigProblem,
    Resolver,
    StoreFile,
)
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.values import replace as replace_value
from tests.support.internet import Internet
from tests.support.ports import free_port
from tests.support.seen_machine import OWN, PROBLEM, UNIT, SeenMachine
from tests.support.smtp_host import SmtpHost
from tests.support.snapshots import good, instance, without_chroot


@pytest.fixture
def machine(tmp_path: Path) -> SeenMachine:
    """A machine on which all can be seen."""
    return SeenMachine(tmp_path)


def _with_queue(of: Instance, queue: str) -> Instance:
    """The instance with another queue directory."""
    services = tuple(
        replace_value(each, main_cf=replace_value(each.main_cf, queue_directory=queue))
        for each in of.services
    )
    return replace_value(of, services=services)


class TestAll:
    """Everything is seen."""

    async def test_snapshot(self, machine: SeenMachine) -> None:
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

    async def test_what_the_command_has_read(self, machine: SeenMachine) -> None:
        """Errors of the configuration come first; what the command could not read is unseen."""
        wrong = ConfigProblem("https.timout", "unknown key", is_warning=False)
        unseen = Unseen("the configuration", "Permission denied")
        seen = await machine.look(config_problems=(wrong,), unseen=(unseen,), is_valid=False)
        assert seen.config_problems == (wrong, PROBLEM)
        assert (seen.settings, seen.unseen) == (None, (unseen,))

    async def test_no_file(self, machine: SeenMachine) -> None:
        """Without a configuration file there is no time of it."""
        seen = await machine.look(config_file=None)
        assert (seen.config_file, seen.config_time, seen.unseen) == ("", None, ())

    async def test_all_at_once(self, machine: SeenMachine) -> None:
        """Parts that do not need each other do not wait for each other."""
        met = asyncio.Barrier(3)

        async def unit() -> UnitSeen:
            await met.wait()
            return machine.unit

        async def postfix(*_: object) -> tuple[Instance, ...]:
            await met.wait()
            return ()

        async def resolver(_: object) -> Resolver:
            await met.wait()
            return Resolver("", ())

        machine.changes = {"unit": unit, "postfix": postfix, "resolver": resolver}
        assert (await machine.look()).unseen == ()


class TestPostfix:
    """What depends on the Postfix of this machine."""

    async def test_without_chroot(self, machine: SeenMachine) -> None:
        """smtp(8) reads the file of the system."""
        machine.instances = without_chroot(good()).instances
        seen = await machine.look()
        assert seen.postfix_resolver == Resolver("/etc/resolv.conf", ())

    async def test_several(self, machine: SeenMachine) -> None:
        """All queues are counted, and each chroot may name other servers."""
        machine.instances = (
            instance(),
            instance(folder="/etc/postfix-out", name="postfix-out"),
            _with_queue(instance(name="postfix-3"), "/srv/queue"),
        )
        seen = await machine.look()
        assert seen.waiting == 9
        assert seen.postfix_resolver == Resolver("/var/spool/postfix/etc/resolv.conf", ())
        assert seen.other_resolvers == (Resolver("/srv/queue/etc/resolv.conf", ()),)
        assert {"/etc/postfix", "/etc/postfix-out"} < set(machine.asked)

    async def test_none(self, machine: SeenMachine) -> None:
        """Without Postfix there is no queue, and there are no name servers of it."""
        machine.instances = ()
        seen = await machine.look()
        assert (seen.waiting, seen.postfix_resolver, seen.unseen) == (None, None, ())

    async def test_elsewhere(self, machine: SeenMachine) -> None:
        """The queue and the name servers of another machine are not those of this one."""
        seen = await machine.look(main_cf_file=Path("/tmp/main.cf"))  # noqa: S108 (not opened)
        assert (seen.waiting, seen.postfix_resolver) == (None, None)
        assert seen.main_cf_file == "/tmp/main.cf"  # noqa: S108 (the same)


class TestOutward:
    """`--outward`."""

    async def test_nothing(self, machine: SeenMachine) -> None:
        """Without it, nobody is asked."""
        assert (await machine.look()).outward is None

    async def test_asked(self, machine: SeenMachine, net: Internet) -> None:
        """The servers of the domain are greeted by the name of this Postfix."""
        net.publish("good.test")
        async with SmtpHost() as host:
            machine.changes = {"ports": Ports(net.hosts.port, host.port)}
            settings, domain = net.settings(machine.folder), parse_domain("good.test")
            seen = await machine.look(settings=settings, outward=domain)
            assert host.commands[0] == "EHLO relay.x.test"
        assert seen.outward is not None
        assert (seen.outward.https_problem, seen.outward.has_starttls) == ("", True)

    async def test_no_ca_file(self, machine: SeenMachine, net: Internet) -> None:
        """A CA file that is gone keeps it from looking outward, and nothing else."""
        settings = net.settings(machine.folder)
        net.ca_file.unlink()
        machine.changes = {"ports": Ports(net.hosts.port, free_port())}
        seen = await machine.look(settings=settings, outward=parse_domain("good.test"))
        assert seen.outward is None
        reason = f"{net.ca_file}: No such file or directory"
        assert seen.unseen == (Unseen("the servers of good.test", reason),)
