"""Upgrade, going back a version and removal on a Debian 12, by the commands of the pages.

The fixtures take one machine from each step to the next; the tests are in this order. The newer
version is this source with another number, and with a store that has more tables.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from tests.docs.blocks import ROOT, blocks
from tests.e2e.client import ask, ask_repeatedly, secure
from tests.e2e.machines import CONFIG, UNIT, Machine, alone, booted, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.packages import NEWER, newer
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.trees import RELEASES, NoTreeError
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

(DEBIAN_12,) = (each for each in RELEASES if each.suite == "bookworm")
STORE: Final = "/var/lib/postfix-mta-sts/policies.db"
PIP: Final = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_NO_COMPILE=1"
UV: Final = "UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=/root/wheels"
"""Where pip and uv find packages; compiling them takes half of pip's time."""
SECONDS: Final = 300.0
"""Only a failing test waits that long."""
NOT_OURS: Final = ("/var/log", "/var/cache", "/var/lib/systemd", "/var/tmp")  # noqa: S108 (names)
"""Folders that change on any system."""
ACCOUNTS: Final = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")


def block(page: str, words: str) -> str:
    """Return the block of commands of a page that has these words, and that a test runs."""
    (found,) = (
        each.text for each in blocks(ROOT / page) if words in each.text and each.kind != "same as"
    )
    return found


INSTALL: Final = block("README.md", "systemctl enable --now")
PAGES: Final = block("docs/systemd.md", "man --install")
UPGRADE: Final = block("docs/systemd.md", "pip install --constraint")
REMOVE: Final = block("docs/systemd.md", "rm -rf /opt")
REMOVE_ALL: Final = block("docs/systemd.md", "rm -rf /var/lib")


@dataclass
class Relay:
    """A machine, and the two checkouts in it."""

    machine: Machine
    network: Namespace
    world: World
    domain: str = ""
    """One that has been asked for before anything was upgraded."""

    def run(self, commands: str, checkout: str = "/root/older") -> str:
        """Run commands of a page in a checkout, as root in a shell that ends at the first error."""
        script = f"cd {checkout} && export {PIP} {UV} && exec 2>&1\n{commands}"
        done = self.machine.run("sh", "-ec", script, seconds=SECONDS)
        assert done.returncode == 0, f"{commands}{done.stdout}"
        return done.stdout

    def change(self, checkout: str) -> list[str]:
        """Install another version; return the replies to look-ups meanwhile."""
        with ask_repeatedly(self.network, self.domain) as replies:
            self.run(UPGRADE, checkout)
        return replies

    def new_domain(self) -> str:
        """Publish a policy, and ask for it."""
        domain = self.world.fresh("upgrades")
        self.world.policy(domain, "enforce")
        assert ask(self.network, domain) == secure(domain)
        return domain

    def from_store(self, *domains: str) -> None:
        """Start the daemon without a network; it must have these policies in its store."""
        with self.world.without("dns", "policy host"):
            self.machine.output("systemctl", "restart", UNIT)
            for domain in domains:
                assert ask(self.network, domain) == secure(domain)
        status = json.loads(self.machine.output("postfix-mta-sts", "status", "--json"))
        assert status["lookups"]["by_source"]["store"] == len(domains)
        assert not {"store_reading", "store_writing"} & {*status["not_working"]}

    def version(self) -> str:
        """Return the version of the daemon; the command has the same."""
        status = json.loads(self.machine.output("postfix-mta-sts", "status", "--json"))
        version: str = status["version"]
        assert self.machine.output("postfix-mta-sts", "version") == f"postfix-mta-sts {version}"
        return version

    def schema(self) -> int:
        """Return how many migrations the store has had."""
        script = f"import sqlite3; db = sqlite3.connect('{STORE}')"
        script += "; print(db.execute('PRAGMA user_version').fetchone()[0])"
        return int(self.machine.output("python3", "-c", script))

    def files(self) -> set[str]:
        """Return type, mode, owner, path and target of all files that are not `NOT_OURS`."""
        return self._found("-printf", r"%y %m %u:%g %p %l\n")

    def contents(self) -> set[str]:
        """Return digest and path of the same files."""
        return self._found("-type", "f", "-exec", "sha256sum", "{}", "+")

    def _found(self, *action: str) -> set[str]:
        but = [word for folder in NOT_OURS for word in ("-path", folder, "-prune", "-o")]
        where = ("/etc", "/opt", "/run/postfix-mta-sts", "/usr", "/var")
        return {*self.machine.run("find", *where, "-xdev", *but, *action).stdout.splitlines()}


@pytest.fixture(scope="module")
def relay(
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Relay]:
    """A Debian 12 with a checkout of either version, and nothing installed."""
    place = folder / "upgrades"
    place.mkdir()
    root = place / "root"
    try:
        tree = with_systemd(trees[DEBIAN_12.postfix])
        subprocess.run(["cp", "--archive", tree, root], check=True)
        alone(root)
        shutil.copytree(stock(DEBIAN_12.suite), root / "root/wheels")
        newer(root / "root/newer")
        newer(root / "root/older")  # its number is changed back below
        package = "root/older/postfix_mta_sts"
        for name in ("__init__.py", "store/sqlite/layout.py"):
            shutil.copy(ROOT / "postfix_mta_sts" / name, root / package / name)
        with booted(root, own_namespace, place, logs / "upgrades-boot.log") as machine:
            yield Relay(machine, own_namespace, own_world)
            (logs / "upgrades-unit.log").write_text(machine.journal())
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="module")
def before(relay: Relay) -> set[str]:
    """All files before anything is installed."""
    return relay.files()


@pytest.fixture(scope="module")
def contents(relay: Relay) -> set[str]:
    """What is in them."""
    return relay.contents()


@pytest.fixture(scope="module")
def installed(relay: Relay, before: set[str], contents: set[str]) -> Relay:
    """The daemon by the commands of README.md, and pages and completion by those of systemd.md."""
    root = relay.machine.root
    settings = {
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "https": {"ca_file": "/etc/ssl/upgrades-ca.pem", "allow_private_addresses": True},
    }
    shutil.copy(relay.world.ca_file, root / "etc/ssl/upgrades-ca.pem")
    (root / CONFIG).write_text(json.dumps(settings))  # JSON is YAML
    relay.run(INSTALL)
    relay.run(PAGES)
    relay.domain = relay.new_domain()
    return relay


@pytest.fixture(scope="module")
def upgraded(installed: Relay) -> list[str]:
    """The replies to look-ups during the installation of the newer version."""
    assert (installed.version(), installed.schema()) == (__version__, len(SCHEMA))
    return installed.change("/root/newer")


@pytest.fixture(scope="module")
def went_back(installed: Relay, upgraded: list[str]) -> list[str]:
    """The replies to look-ups during the installation of the older version again."""
    assert upgraded
    return installed.change("/root/older")


@pytest.fixture(scope="module")
def removed(installed: Relay) -> Relay:
    """The machine after the first block of commands that removes the daemon."""
    installed.run(REMOVE)
    return installed


@pytest.fixture(params=["pipx", "uv tool"])
def tool(request: pytest.FixtureRequest, relay: Relay) -> str:
    """Either of them, in the machine."""
    name: str = request.param
    if name == "pipx":
        relay.run("python3 -m venv /opt/pipx && /opt/pipx/bin/pip install --quiet pipx")
        (relay.machine.root / "usr/local/bin/pipx").symlink_to("/opt/pipx/bin/pipx")
    else:
        shutil.copy(Path(sys.executable).parent / "uv", relay.machine.root / "usr/local/bin")
    return name


def test_pages_and_completion(installed: Relay) -> None:
    """The man pages are where man(1) looks, the script where bash-completion does."""
    root = installed.machine.root
    assert (root / "usr/local/share/man/man1/postfix-mta-sts.1").read_text().startswith(".TH ")
    assert (root / "usr/local/share/man/man5/postfix-mta-sts.yml.5").is_file()
    script = "/usr/local/share/bash-completion/completions/postfix-mta-sts"
    loaded = installed.run(f"bash -c '. {script}; complete -p postfix-mta-sts'")
    assert loaded.endswith(" postfix-mta-sts\n")


def test_no_look_up_lost_in_the_upgrade(installed: Relay, upgraded: list[str]) -> None:
    """All look-ups got the right reply, and the newer version runs, on a newer store."""
    assert set(upgraded) == {secure(installed.domain)}
    assert (installed.version(), installed.schema()) == (NEWER, len(SCHEMA) + 1)


@pytest.mark.usefixtures("upgraded")
def test_policies_after_the_upgrade(installed: Relay) -> None:
    """What was known before is answered without a network."""
    installed.from_store(installed.domain)


def test_no_look_up_lost_on_the_way_back(installed: Relay, went_back: list[str]) -> None:
    """All look-ups got the right reply, and the older version runs, on the newer store."""
    assert set(went_back) == {secure(installed.domain)}
    assert (installed.version(), installed.schema()) == (__version__, len(SCHEMA) + 1)


@pytest.mark.usefixtures("went_back")
def test_policies_after_the_way_back(installed: Relay) -> None:
    """The older version reads that store, and writes it; a second upgrade has all of it."""
    written = installed.new_domain()
    installed.from_store(installed.domain, written)
    assert set(installed.change("/root/newer")) == {secure(installed.domain)}
    installed.from_store(installed.domain, written)


def test_what_a_removal_keeps(removed: Relay) -> None:
    """Nothing runs; policies and settings are there."""
    assert removed.machine.run("systemctl", "is-active", UNIT).stdout == "inactive\n"
    users = removed.machine.output("sh", "-c", "stat --format=%U /proc/[0-9]*")
    assert "postfix-mta-sts" not in users.splitlines()
    assert (removed.machine.root / STORE[1:]).is_file()
    assert (removed.machine.root / CONFIG).is_file()


def test_nothing_left(removed: Relay, before: set[str], contents: set[str]) -> None:
    """After the second block all files are as before, but for the user and for empty folders."""
    removed.run(REMOVE_ALL)
    (removed.machine.root / "etc/ssl/upgrades-ca.pem").unlink()
    after = removed.files()
    changed = {path_of(line) for line in before - after}
    left = {path_of(line): line[0] for line in after - before}
    folders = {path for path, kind in left.items() if kind == "d"}
    rewritten = {line.partition("  ")[2] for line in contents - removed.contents()}
    assert changed == set()
    assert left.keys() - folders <= {f"/etc/{name}-" for name in ACCOUNTS}
    assert rewritten <= {f"/etc/{name}{end}" for name in ACCOUNTS for end in ("", "-")}
    assert {Path(path).parts[1] for path in folders} <= {"etc", "usr"}
    passwd = (removed.machine.root / "etc/passwd").read_text()
    assert re.search(r"^postfix-mta-sts:", passwd, re.MULTILINE)


def path_of(line: str) -> str:
    """Return the path in a line of `Relay.files`."""
    return line.split()[3]


def test_tool(tool: str, relay: Relay) -> None:
    """Install, change to another version and remove, by the words of the page."""
    place = f"/root/{tool}".partition(" ")[0]
    home = f"mkdir -p {place} && export HOME={place} PATH=$PATH:{place}/.local/bin\n"
    page = (ROOT / "docs/install.md").read_text("utf-8")
    (change,) = re.findall(rf"`({tool} install --\w+ \.)`", page)
    (remove,) = re.findall(rf"`({tool} uninstall [a-z-]+)`", page)
    shown = relay.run(home + block("docs/install.md", f"{tool} install ."), "/root/newer")
    assert f"postfix-mta-sts {NEWER}" in shown
    assert "\nSYNOPSIS\n" in shown
    said = relay.run(f"{home}{change}\npostfix-mta-sts version", "/root/older")
    assert said.endswith(f"\npostfix-mta-sts {__version__}\n")
    relay.run(home + remove)
    left = relay.run(f"find {place}/.local -iname '*mta?sts*' -printf '%f\\n'").split()
    assert left == ([".postfix-mta-sts.lock"] if tool == "pipx" else [])
