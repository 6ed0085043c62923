"""The Debian package, on a Debian 13: built, installed, in use, upgraded, removed and purged.

One machine is taken from each of these to the next by the fixtures; the tests stand in that order.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.asking import ask, asking, secure
from tests.e2e.machines import CONFIG, UNIT, Machine, alone, booted, with_systemd
from tests.e2e.namespace import Namespace, namespace
from tests.e2e.packages import NAME, Workshop, newer
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.wheels import wheels
from tests.e2e.world import World
from tests.e2e.world import world as running_world
from tests.support.obstacles import cannot

pytestmark = pytest.mark.e2e

SOCKET = "postfix-mta-sts.socket"
CHROOT_SOCKET = "postfix-mta-sts-chroot.socket"
QUEUE_SOCKET = "/var/spool/postfix/run/mta-sts/socketmap.sock"
STATE = "/var/lib/postfix-mta-sts"
LIBRARIES = "/usr/lib/postfix-mta-sts"
ABOUT_WHO_BUILDS = "bogus-mail-host,bogus-mail-host-in-debian-changelog,root-in-contact"
ELSEWHERE = ("/var/log", "/var/cache", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")
"""What changes on any system, whatever is installed."""
ACCOUNTS = ("passwd", "shadow", "group", "gshadow")
SHADOWS = (f"/etc/systemd/system/{UNIT}", "/usr/local/bin/postfix-mta-sts")


@pytest.fixture(scope="module")
def workshop(trees: dict[str, Path], folder: Path) -> Workshop:
    """Where the package is built."""
    tree = trees[WITH_DNS.postfix]
    try:
        stock = wheels(WITH_DNS.suite, folder / "package-wheels", "shtab")
        return Workshop(tree, stock, folder / "package")
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="module")
def package(workshop: Workshop) -> Path:
    """The package, built."""
    return workshop.build()


@pytest.fixture(scope="module")
def apart(trees: dict[str, Path]) -> Iterator[Namespace]:
    """A network for this machine alone."""
    with namespace("mta-sts-package", DAEMON_DNS) as made:
        yield made


@pytest.fixture(scope="module")
def around(apart: Namespace, folder: Path, logs: Path) -> Iterator[World]:
    """Name servers and Policy Host there."""
    (folder / "package-world").mkdir()
    with running_world(apart, folder / "package-world", logs / "package-world.log") as made:
        yield made


@pytest.fixture(scope="module")
def machine(
    trees: dict[str, Path], apart: Namespace, package: Path, folder: Path, logs: Path
) -> Iterator[Machine]:
    """A Debian with Postfix, without the daemon; the packages lie in /root."""
    place = folder / "package-system"
    place.mkdir()
    root = place / "root"
    try:
        tree = with_systemd(trees[WITH_DNS.postfix])
        subprocess.run(["cp", "--archive", tree, root], check=True)
        alone(root)
    except NoTreeError as error:
        cannot(str(error))
    shutil.copy(package, root / "root/first.deb")
    shutil.copy(newer(package, folder / "newer"), root / "root/newer.deb")
    with booted(root, apart, place, logs / "package-boot.log") as made:
        yield made
        (logs / "package-unit.log").write_text(made.journal())


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """All files before anything is installed, see `listing`."""
    return listing(machine)


@pytest.fixture(scope="module")
def installed(machine: Machine, before: set[str]) -> str:
    """What apt said when it installed the package."""
    return apt(machine, "install", "/root/first.deb")


@pytest.fixture(scope="module")
def domain(machine: Machine, installed: str, around: World) -> str:
    """A domain with a policy; the daemon told of its DNS, its CA, and the socket in the chroot."""
    settings = {
        "listen": [{"socketmap": "127.0.0.1:8461"}, {"socketmap": f"unix:{QUEUE_SOCKET}"}],
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "https": {"ca_file": "/etc/mta-sts-ca.pem", "allow_private_addresses": True},
    }
    shutil.copy(around.ca_file, machine.root / "etc/mta-sts-ca.pem")
    with (machine.root / CONFIG).open("a") as config:
        config.writelines(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
    machine.told("systemctl", "enable", CHROOT_SOCKET)
    machine.told("systemctl", "stop", UNIT)
    machine.told("systemctl", "start", CHROOT_SOCKET, UNIT)
    fresh = around.fresh("package")
    around.policy(fresh, "enforce")
    return fresh


@pytest.fixture(scope="module")
def upgraded(machine: Machine, domain: str, apart: Namespace) -> list[str]:
    """The replies to who asked while a newer package was installed."""
    with asking(apart, domain) as replies:
        apt(machine, "install", "/root/newer.deb")
    return replies


@pytest.fixture(scope="module")
def removed(machine: Machine, upgraded: list[str], domain: str, apart: Namespace) -> list[str]:
    """The replies to who asked while the package was removed."""
    with asking(apart, domain) as replies:
        apt(machine, "remove", NAME)
    return replies


@pytest.fixture(scope="module")
def purged(machine: Machine, removed: list[str]) -> None:
    """The package is purged, and what the tests themselves have made is gone."""
    apt(machine, "purge", NAME)
    (machine.root / "etc/mta-sts-ca.pem").unlink()


def apt(machine: Machine, what: str, name: str) -> str:
    """What apt-get has to say."""
    noninteractive = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2", "--yes")
    done = machine.run(*noninteractive, what, name)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def listing(machine: Machine) -> set[str]:
    """Kind, mode, owner, path and target of all that is not `ELSEWHERE`."""
    but = [word for folder in ELSEWHERE for word in ("-path", folder, "-prune", "-o")]
    shown = ("-printf", r"%y %m %u:%g %p %l\n")
    return set(machine.told("find", "/etc", "/usr", "/var", "-xdev", *but, *shown).splitlines())


def running_as(machine: Machine) -> set[str]:
    """The users of all processes."""
    return set(machine.told("sh", "-c", "stat --format=%U /proc/[0-9]*").splitlines())


def test_lintian(workshop: Workshop, package: Path) -> None:
    """Debian's own judge of packages finds nothing, but that nobody answers for this one."""
    strict = ("--fail-on=error,warning", f"--suppress-tags={ABOUT_WHO_BUILDS}")
    done = workshop.run("lintian", *strict, f"/mnt/out/{package.name}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_needs(package: Path) -> None:
    """It is bound to the Python that its libraries were built for, and asks for Postfix."""
    fields = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True)
    told = fields.stdout.decode()
    assert "python3 (>= 3.13~), python3 (<< 3.14~)" in told
    assert "\nRecommends: postfix\n" in told
    assert re.search(r"^Version: .*-1~debian13$", told, re.MULTILINE)


def test_quiet(installed: str) -> None:
    """Nothing shadows it, and it does not say so."""
    assert "WARNING" not in installed


def test_runs(machine: Machine, installed: str) -> None:
    """Installed it runs behind its socket, and will after a boot; not the one in the chroot."""
    for unit in (UNIT, SOCKET):
        assert machine.unit("ActiveState", unit) == "active"
        assert machine.unit("UnitFileState", unit) == "enabled"
    assert machine.unit("UnitFileState", CHROOT_SOCKET) == "disabled"
    assert machine.told("postfix-mta-sts", "healthcheck") == "socketmap 127.0.0.1:8461: answers"
    assert "inherited socket fits no listener" not in machine.journal()
    assert NAME in running_as(machine)


def test_units(machine: Machine, installed: str) -> None:
    """Systemd has nothing to say against the units where they are."""
    paths = [f"/usr/lib/systemd/system/{unit}" for unit in (UNIT, SOCKET, CHROOT_SOCKET)]
    done = machine.run("systemd-analyze", "verify", *paths)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_files(machine: Machine, installed: str) -> None:
    """All are root's and for all to read, none has changed since; the state is the user's alone."""
    names = machine.told("dpkg", "--listfiles", NAME).splitlines()
    shown = machine.told("stat", "--format=%U:%G %A %n", *names).splitlines()
    odd = [line for line in shown if not re.match(r"root:root [-d]r[w-][x-]r-[x-]r-[x-] ", line)]
    assert odd == []
    assert machine.told("dpkg", "--verify", NAME) == ""
    assert machine.told("stat", "--format=%U:%G %a", STATE) == f"{NAME}:{NAME} 700"
    for path in (
        "/usr/share/man/man1/postfix-mta-sts.1.gz",
        "/usr/share/man/man5/postfix-mta-sts.yml.5.gz",
        "/usr/share/bash-completion/completions/postfix-mta-sts",
        "/usr/share/zsh/vendor-completions/_postfix-mta-sts",
        "/usr/share/fish/vendor_completions.d/postfix-mta-sts.fish",
        "/usr/share/doc/postfix-mta-sts/copyright",
        "/usr/share/doc/postfix-mta-sts/examples/config.example.yml",
    ):
        assert path in names


def test_configuration(machine: Machine, installed: str) -> None:
    """A configuration is in place that dpkg will not overwrite, and it is valid."""
    fields = machine.told("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)
    assert fields.split()[0] == f"/{CONFIG}"
    assert machine.told("postfix-mta-sts", "check-config", f"/{CONFIG}") == f"/{CONFIG}: valid"


def test_on_its_own(machine: Machine, installed: str) -> None:
    """It runs with its own libraries, as bytecode, and with nothing that lies elsewhere."""
    pid = machine.unit("MainPID")
    maps = machine.told("cat", f"/proc/{pid}/maps")
    own = {line.split()[-1] for line in maps.splitlines() if ".cpython-313-" in line}
    assert {path for path in own if path.startswith(LIBRARIES)}
    assert not [path for path in own if "-packages" in path]
    modules = list((machine.root / LIBRARIES[1:]).glob("postfix_mta_sts/*.py"))
    cached = list((machine.root / LIBRARIES[1:]).glob("postfix_mta_sts/__pycache__/*.pyc"))
    assert len(cached) == len(modules) > 0


def test_looks_up(machine: Machine, domain: str, apart: Namespace) -> None:
    """With what was added to its configuration it looks a domain up, and keeps the policy."""
    assert ask(apart, domain) == secure(domain)
    assert machine.told("stat", "--format=%U", f"{STATE}/policies.db") == NAME


class TestUpgraded:
    """A newer version was installed, under a steady stream of look-ups."""

    def test_no_look_up_lost(self, upgraded: list[str], domain: str) -> None:
        """Everybody was answered, and rightly."""
        assert set(upgraded) == {secure(domain)}

    @pytest.mark.usefixtures("upgraded")
    def test_new_one_runs(self, machine: Machine) -> None:
        """The running daemon is of the new version, with its sockets; so is the command."""
        *_, last = machine.journal().split("\nStarting ")
        assert "started version=9.9 " in last
        assert f"listening wire=socketmap address=unix:{QUEUE_SOCKET}" in last
        assert "inherited socket fits no listener" not in last
        assert machine.told("postfix-mta-sts", "version") == "postfix-mta-sts 9.9"

    @pytest.mark.usefixtures("upgraded")
    def test_configuration_kept(self, machine: Machine) -> None:
        """What the administrator wrote is in force still."""
        assert DAEMON_DNS in (machine.root / CONFIG).read_text()


class TestRemoved:
    """The package was removed, while Postfix still asked."""

    def test_nothing_runs(self, machine: Machine, removed: list[str], domain: str) -> None:
        """Neither the daemon, nor a socket that would start it; before that all were answered."""
        assert NAME not in running_as(machine)
        assert (
            machine.run("systemctl", "is-active", UNIT, SOCKET).stdout.split() == ["inactive"] * 2
        )
        assert "refused" in removed[-1]
        assert removed[0] == secure(domain)

    @pytest.mark.usefixtures("removed")
    def test_what_is_kept(self, machine: Machine) -> None:
        """Configuration and policies are there, should it come back; the program is not."""
        assert (machine.root / CONFIG).exists()
        assert (machine.root / STATE[1:] / "policies.db").exists()
        assert not (machine.root / LIBRARIES[1:]).exists()


class TestPurged:
    """The package was purged."""

    @pytest.mark.usefixtures("purged")
    def test_nothing_left(self, machine: Machine, before: set[str]) -> None:
        """All files are as they were before it was installed, and its user is left."""
        after = listing(machine)
        assert before - after == set()
        backups = {f"/etc/{name}-" for name in ACCOUNTS}
        left = {line.split()[3] for line in after - before}
        assert left <= backups
        passwd = (machine.root / "etc/passwd").read_text()
        assert re.search(rf"^{NAME}:", passwd, re.MULTILINE)

    @pytest.mark.usefixtures("purged")
    def test_shadowed(self, machine: Machine) -> None:
        """Installed again where a unit or a command is in force instead, it says which."""
        for path in SHADOWS:
            shadow = machine.root / path[1:]
            shadow.write_text("")
        said = apt(machine, "install", "/root/first.deb")
        for path in SHADOWS:
            assert f"WARNING: {path} overrides the file of this package" in said
