"""The Debian package on a Debian 13: build, install, use, upgrade, go back, remove and purge.

The fixtures take one machine from each step to the next; the tests are in this order.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from tests.e2e.client import ask, ask_repeatedly, secure
from tests.e2e.machines import CONFIG, UNIT, Machine, alone, booted, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.packages import (
    APT_INSTALL,
    BUILD,
    BUILD_OFFLINE,
    GO_BACK,
    NAME,
    NEWER,
    Workshop,
    newer,
)
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

SOCKET = "postfix-mta-sts.socket"
CHROOT_SOCKET = "postfix-mta-sts-chroot.socket"
QUEUE_SOCKET = "/var/spool/postfix/run/mta-sts/socketmap.sock"
STATE = "/var/lib/postfix-mta-sts"
LIBRARIES = "/usr/lib/postfix-mta-sts"
MAINTAINER_TAGS = "bogus-mail-host,bogus-mail-host-in-debian-changelog,root-in-contact"
UNRELATED = ("/var/log", "/var/cache", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")
"""Folders that change on any system, whatever is installed."""
ACCOUNTS = ("passwd", "shadow", "group", "gshadow")
APT_TIMEOUT = 300.0
"""Seconds; only a failing test waits that long."""
OVERRIDES = (f"/etc/systemd/system/{UNIT}", "/usr/local/bin/postfix-mta-sts")


@pytest.fixture(scope="module")
def workshop(trees: dict[str, Path], stock: Callable[[str], Path], folder: Path) -> Workshop:
    """The environment for the build."""
    tree = trees[WITH_DNS.postfix]
    try:
        return Workshop(tree, stock(WITH_DNS.suite), folder / "package")
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="module")
def package(workshop: Workshop) -> Path:
    """The package, built by the command of README.md."""
    return workshop.build(BUILD)


@pytest.fixture(scope="module")
def newer_package(workshop: Workshop, folder: Path) -> Path:
    """A newer version, built by the command of docs/install.md for a machine without a network."""
    return workshop.build(BUILD_OFFLINE, newer(folder / "newer"))


@pytest.fixture(scope="module")
def machine(
    trees: dict[str, Path],
    own_namespace: Namespace,
    package: Path,
    newer_package: Path,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """A Debian with Postfix, without the daemon; the packages are in /root."""
    place = folder / "package-system"
    place.mkdir()
    root = place / "root"
    try:
        tree = with_systemd(trees[WITH_DNS.postfix])
        subprocess.run(["cp", "--archive", tree, root], check=True)
        alone(root)
    except NoTreeError as error:
        cannot(str(error))
    (root / "root/dist").mkdir()
    shutil.copy(package, root / "root/dist")
    shutil.copy(newer_package, root / "root/newer.deb")
    with booted(root, own_namespace, place, logs / "package-boot.log") as made:
        yield made
        (logs / "package-unit.log").write_text(made.journal())


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """All files before anything is installed, see `listing`."""
    return listing(machine)


@pytest.fixture(scope="module")
def installed(machine: Machine, before: set[str]) -> str:
    """The output of apt for the installation of the package, by the command of README.md."""
    done = machine.run("sh", "-ec", f"cd /root; {APT_INSTALL}", seconds=APT_TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def domain(machine: Machine, installed: str, own_world: World) -> str:
    """A domain with a policy; the daemon is configured with DNS, CA and the chroot's socket."""
    settings = {
        "listen": [{"socketmap": "127.0.0.1:8461"}, {"socketmap": f"unix:{QUEUE_SOCKET}"}],
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "https": {"ca_file": "/etc/mta-sts-ca.pem", "allow_private_addresses": True},
    }
    shutil.copy(own_world.ca_file, machine.root / "etc/mta-sts-ca.pem")
    with (machine.root / CONFIG).open("a") as config:
        config.writelines(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
    machine.output("systemctl", "enable", CHROOT_SOCKET)
    machine.output("systemctl", "stop", UNIT)
    machine.output("systemctl", "start", CHROOT_SOCKET, UNIT)
    fresh = own_world.fresh("package")
    own_world.policy(fresh, "enforce")
    return fresh


@pytest.fixture(scope="module")
def upgraded(machine: Machine, domain: str, own_namespace: Namespace) -> list[str]:
    """The replies to look-ups during the installation of a newer package."""
    with ask_repeatedly(own_namespace, domain) as replies:
        apt(machine, "install", "/root/newer.deb")
    return replies


@pytest.fixture(scope="module")
def went_back(
    machine: Machine, upgraded: list[str], package: Path, domain: str, own_namespace: Namespace
) -> list[str]:
    """The replies to look-ups during the installation of the older version again."""
    (machine.root / "root/older").mkdir()
    shutil.copy(package, machine.root / "root/older")
    with ask_repeatedly(own_namespace, domain) as replies:
        done = machine.run("sh", "-ec", f"cd /root; {GO_BACK}", seconds=APT_TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return replies


@pytest.fixture(scope="module")
def removed(
    machine: Machine, went_back: list[str], domain: str, own_namespace: Namespace
) -> list[str]:
    """The replies to look-ups during the removal of the package."""
    with ask_repeatedly(own_namespace, domain) as replies:
        apt(machine, "remove", NAME)
    return replies


@pytest.fixture(scope="module")
def purged(machine: Machine, removed: list[str]) -> None:
    """Purge the package, and remove what the tests have created."""
    apt(machine, "purge", NAME)
    (machine.root / "etc/mta-sts-ca.pem").unlink()


def apt(machine: Machine, what: str, name: str) -> str:
    """Run apt-get and return its output."""
    noninteractive = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2", "--yes")
    done = machine.run(*noninteractive, what, name, seconds=APT_TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def listing(machine: Machine) -> set[str]:
    """Return type, mode, owner, path and target of all files that are not `UNRELATED`."""
    but = [word for folder in UNRELATED for word in ("-path", folder, "-prune", "-o")]
    shown = ("-printf", r"%y %m %u:%g %p %l\n")
    return set(machine.output("find", "/etc", "/usr", "/var", "-xdev", *but, *shown).splitlines())


def schema_version(machine: Machine) -> int:
    """Return how many migrations the store has had."""
    script = f"import sqlite3; db = sqlite3.connect('{STATE}/policies.db')"
    script += "; print(db.execute('PRAGMA user_version').fetchone()[0])"
    return int(machine.output("python3", "-c", script))


def process_users(machine: Machine) -> set[str]:
    """Return the users of all processes."""
    return set(machine.output("sh", "-c", "stat --format=%U /proc/[0-9]*").splitlines())


def test_lintian(workshop: Workshop, package: Path) -> None:
    """Debian's lintian reports nothing, except that the maintainer is not a real one."""
    strict = ("--fail-on=error,warning", f"--suppress-tags={MAINTAINER_TAGS}")
    done = workshop.run("lintian", *strict, f"/mnt/out/{package.name}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_dependencies(package: Path) -> None:
    """It depends on the Python that its libraries were built for, and recommends Postfix."""
    fields = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True)
    text = fields.stdout.decode()
    assert "python3 (>= 3.13~), python3 (<< 3.14~)" in text
    assert "\nRecommends: postfix\n" in text
    assert re.search(r"^Version: .*-1~debian13$", text, re.MULTILINE)


def test_installs_without_a_warning(installed: str) -> None:
    """Without overriding files there is no warning."""
    assert "overrides" not in installed


def test_runs(machine: Machine, installed: str) -> None:
    """It runs behind its socket and starts at boot; the chroot's socket is not enabled."""
    for unit in (UNIT, SOCKET):
        assert machine.unit("ActiveState", unit) == "active"
        assert machine.unit("UnitFileState", unit) == "enabled"
    assert machine.unit("UnitFileState", CHROOT_SOCKET) == "disabled"
    assert machine.output("postfix-mta-sts", "healthcheck") == "socketmap 127.0.0.1:8461: answers"
    assert "inherited socket fits no listener" not in machine.journal()
    assert NAME in process_users(machine)


def test_units(machine: Machine, installed: str) -> None:
    """systemd-analyze finds no fault in the installed units."""
    paths = [f"/usr/lib/systemd/system/{unit}" for unit in (UNIT, SOCKET, CHROOT_SOCKET)]
    done = machine.run("systemd-analyze", "verify", *paths)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_files(machine: Machine, installed: str) -> None:
    """All files are root's, readable and unchanged; only the user can read the state."""
    names = machine.output("dpkg", "--listfiles", NAME).splitlines()
    shown = machine.output("stat", "--format=%U:%G %A %n", *names).splitlines()
    odd = [line for line in shown if not re.match(r"root:root [-d]r[w-][x-]r-[x-]r-[x-] ", line)]
    assert odd == []
    assert machine.output("dpkg", "--verify", NAME) == ""
    assert machine.output("stat", "--format=%U:%G %a", STATE) == f"{NAME}:{NAME} 700"
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
    """There is a valid configuration, which dpkg does not overwrite."""
    fields = machine.output("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)
    assert fields.split()[0] == f"/{CONFIG}"
    assert machine.output("postfix-mta-sts", "check-config", f"/{CONFIG}") == f"/{CONFIG}: valid"


def test_runs_with_its_own_libraries(machine: Machine, installed: str) -> None:
    """It runs with its own libraries, compiled to bytecode, and no others."""
    pid = machine.unit("MainPID")
    maps = machine.output("cat", f"/proc/{pid}/maps")
    own = {line.split()[-1] for line in maps.splitlines() if ".cpython-313-" in line}
    assert {path for path in own if path.startswith(LIBRARIES)}
    assert not [path for path in own if "-packages" in path]
    modules = list((machine.root / LIBRARIES[1:]).glob("postfix_mta_sts/*.py"))
    cached = list((machine.root / LIBRARIES[1:]).glob("postfix_mta_sts/__pycache__/*.pyc"))
    assert len(cached) == len(modules) > 0


def test_looks_up(machine: Machine, domain: str, own_namespace: Namespace) -> None:
    """With the added configuration it looks up a domain, and stores the policy."""
    assert ask(own_namespace, domain) == secure(domain)
    assert machine.output("stat", "--format=%U", f"{STATE}/policies.db") == NAME


class TestUpgraded:
    """A newer version was installed during a steady stream of look-ups."""

    def test_no_look_up_lost(self, upgraded: list[str], domain: str) -> None:
        """All look-ups got the right reply."""
        assert set(upgraded) == {secure(domain)}

    @pytest.mark.usefixtures("upgraded")
    def test_new_version_runs(self, machine: Machine) -> None:
        """The daemon runs the new version with its sockets; the command has it too."""
        *_, last = machine.journal().split("\nStarting ")
        assert f"started version={NEWER} " in last
        assert f"listening wire=socketmap address=unix:{QUEUE_SOCKET}" in last
        assert "inherited socket fits no listener" not in last
        assert machine.output("postfix-mta-sts", "version") == f"postfix-mta-sts {NEWER}"

    @pytest.mark.usefixtures("upgraded")
    def test_configuration_kept(self, machine: Machine) -> None:
        """The administrator's configuration is still in force."""
        assert DAEMON_DNS in (machine.root / CONFIG).read_text()


class TestWentBack:
    """The older version was installed again during a steady stream of look-ups."""

    def test_no_look_up_lost(self, went_back: list[str], domain: str) -> None:
        """All look-ups got the right reply."""
        assert set(went_back) == {secure(domain)}

    @pytest.mark.usefixtures("went_back")
    def test_older_version_runs(self, machine: Machine) -> None:
        """The daemon and the command are those of the older version."""
        *_, last = machine.journal().split("\nStarting ")
        assert f"started version={__version__} " in last
        assert machine.output("postfix-mta-sts", "version") == f"postfix-mta-sts {__version__}"

    @pytest.mark.usefixtures("went_back")
    def test_store(
        self, machine: Machine, domain: str, own_namespace: Namespace, own_world: World
    ) -> None:
        """It answers from the store that the newer version has extended, without a network."""
        assert schema_version(machine) == len(SCHEMA) + 1
        with own_world.without("dns", "policy host"):
            machine.output("systemctl", "restart", UNIT)
            assert ask(own_namespace, domain) == secure(domain)
        status = json.loads(machine.output("postfix-mta-sts", "status", "--json"))
        assert status["lookups"]["by_source"]["store"] == 1
        assert not {"store_reading", "store_writing"} & {*status["not_working"]}


class TestRemoved:
    """The package was removed while look-ups continued."""

    def test_nothing_runs(self, machine: Machine, removed: list[str], domain: str) -> None:
        """Neither the daemon nor a socket is active; earlier look-ups were answered."""
        assert NAME not in process_users(machine)
        assert (
            machine.run("systemctl", "is-active", UNIT, SOCKET).stdout.split() == ["inactive"] * 2
        )
        assert "refused" in removed[-1]
        assert removed[0] == secure(domain)

    @pytest.mark.usefixtures("removed")
    def test_what_is_kept(self, machine: Machine) -> None:
        """Configuration and policies are kept; the program is gone."""
        assert (machine.root / CONFIG).exists()
        assert (machine.root / STATE[1:] / "policies.db").exists()
        assert not (machine.root / LIBRARIES[1:]).exists()


class TestPurged:
    """The package was purged."""

    @pytest.mark.usefixtures("purged")
    def test_nothing_left(self, machine: Machine, before: set[str]) -> None:
        """All files are as before the installation; only the user remains."""
        after = listing(machine)
        assert before - after == set()
        backups = {f"/etc/{name}-" for name in ACCOUNTS}
        left = {line.split()[3] for line in after - before}
        assert left <= backups
        passwd = (machine.root / "etc/passwd").read_text()
        assert re.search(rf"^{NAME}:", passwd, re.MULTILINE)

    @pytest.mark.usefixtures("purged")
    def test_overriding_files_are_named(self, machine: Machine, package: Path) -> None:
        """Installed beside a unit or a command that overrides it, it names them."""
        for path in OVERRIDES:
            shadow = machine.root / path[1:]
            shadow.write_text("")
        said = apt(machine, "install", f"/root/dist/{package.name}")
        for path in OVERRIDES:
            assert f"WARNING: {path} overrides the file of this package" in said
