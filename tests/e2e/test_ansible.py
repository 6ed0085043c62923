"""The Ansible role, by the commands and files of docs/wiring/ansible.md, on Debian 12 and 13.

Ansible is Debian's, and runs on the relay itself. The tests are in the order of the page.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from postfix_mta_sts import __version__
from tests.docs.blocks import blocks
from tests.e2e.client import ask, secure
from tests.e2e.machines import CONFIG, MASKED, UNIT, Machine, booted, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.packages import NEWER, newer
from tests.e2e.relays import delivered, mail_log
from tests.e2e.relays import run as run_block
from tests.e2e.servers import DAEMON_DNS, POSTFIX_DNS
from tests.e2e.trees import RELEASES, WITH_DNS, NoTreeError, Release, extended
from tests.e2e.wheels import ROOT, build
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

PAGE = ROOT / "docs/wiring/ansible.md"
BLOCKS = {
    block.text.splitlines()[-1]: block
    for block in blocks(PAGE)
    if block.value == "tests/e2e/test_ansible.py"
}
COMMANDS = {last: block.text for last, block in BLOCKS.items()}
RUN = "ansible-playbook -i inventory relays.yml"
ABSENT = f"{RUN} -e postfix_mta_sts_state=absent"
DOCTOR = "postfix-mta-sts doctor"
TRIAL = "postfix-mta-sts trial report || true"
FIRST_BLOCK = COMMANDS[RUN]
ROLE = ("contrib/ansible", "contrib/systemd", "constraints.txt")
"""What the role needs of a checkout."""
SETTINGS = {
    "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
    "https": {"allow_private_addresses": True},
}
MAPS = {"3.7": "postfix", "3.10": "QUERYwithTLSRPT"}
"""Version of Postfix → the name of the map that is right for it."""
OTHER = "inline:{a.test=none}"
"""A table that somebody else has put into main.cf."""
ENVIRONMENT = (
    "ANSIBLE_ROLES_PATH=contrib/ansible/roles"
    " ANSIBLE_GATHERING=explicit ANSIBLE_PIPELINING=1 PIP_NO_COMPILE=1"
)
"""Where the role is, as on the page; the rest saves time."""
TIMEOUT = 500.0
"""Seconds for a run of the playbook; only a failing test waits that long."""
CHECKED = ("/opt", "/usr/local", "/etc")
"""Folders in which the role writes."""


@pytest.fixture(scope="module")
def own_world(own_world: World) -> World:
    """The servers, with a domain that has a policy."""
    own_world.policy("example.com", "enforce")
    own_world.mail_host("example.com", "good")
    return own_world


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.suite)
def release(request: pytest.FixtureRequest) -> Release:
    """Each Debian in turn."""
    made: Release = request.param
    return made


@pytest.fixture(scope="module")
def machine(
    release: Release,
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """A Debian with Postfix and Ansible as installed, and a checkout in /root."""
    place = folder / f"{release.suite}-ansible"
    place.mkdir()
    root = place / "root"
    try:
        tree = extended(with_systemd(trees[release.postfix]), "ansible", ("ansible-core",))
        subprocess.run(["cp", "--archive", tree, root], check=True)
        shutil.copytree(stock(release.suite), root / "root/wheels")
        prepare(root, own_world)
        with booted(root, own_namespace, place, logs / f"{release.suite}-ansible.log") as made:
            yield made
            (logs / f"{release.suite}-ansible-journal.log").write_text(mail_log(made))
            made.run("systemctl", "--force", "--force", "poweroff")  # an orderly end takes a minute
    except NoTreeError as error:
        cannot(str(error))


def prepare(root: Path, own_world: World) -> None:
    """Give a Debian the Internet of the test, and the checkout with the files of the page."""
    home = root / "root"
    for name in ROLE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (home / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, home / name)
    (home / "dist").mkdir()
    (wheel,) = (home / "wheels").glob("postfix_mta_sts-*.whl")
    shutil.copy(wheel, home / "dist")
    build(newer(root.parent / "newer"), home / "newer")
    (home / "group_vars").mkdir()
    (home / "host_vars").mkdir()
    playbook, variables = files()
    (home / "relays.yml").write_text(playbook)
    (home / "group_vars/relays.yml").write_text(variables)
    (home / "inventory").write_text(inventory())
    configure(root, {})
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(f"nameserver {POSTFIX_DNS}\n")
    with (root / "etc/ssl/certs/ca-certificates.crt").open("a") as bundle:
        bundle.write(own_world.ca_file.read_text())
    # The SMTP servers of the test have port 25 of other addresses.
    main_cf = root / "etc/postfix/main.cf"
    own_port = re.sub(r"(?m)^inet_interfaces.*\n", "", main_cf.read_text())
    main_cf.write_text(f"{own_port}inet_interfaces = 127.0.0.1\n")
    masked = [name for name in MASKED if name != "postfix"]
    subprocess.run(["systemctl", f"--root={root}", "mask", *masked], check=True)


def files() -> tuple[str, str]:
    """The playbook and the variables of the page."""
    page = PAGE.read_text("utf-8")
    found = [dedent(each) for each in re.findall(r"(?ms)^ +```yaml\n(.*?)^ +```$", page)]
    playbook, variables = found
    return playbook, variables


def inventory() -> str:
    """The inventory of the page; Ansible needs no SSH for its relay."""
    found = re.search(r"(?m)^ +\[relays\]\n( +)(\S+)\n", PAGE.read_text("utf-8"))
    assert found
    return f"[relays]\n{found[2]} ansible_connection=local\n"


def configure(root: Path, more: dict[str, object]) -> None:
    """Write what the relay of the test needs: its Internet, and where pip finds libraries."""
    variables = {
        "postfix_mta_sts_settings": SETTINGS,
        "postfix_mta_sts_pip_options": ["--no-index", "--find-links", "/root/wheels"],
    }
    host = inventory().split()[1]
    (root / f"root/host_vars/{host}.yml").write_text(yaml.safe_dump(variables | more))


def run(machine: Machine, commands: str, code: int = 0) -> str:
    """Run commands in the checkout, in a shell that ends at the first error; return the output."""
    script = f"cd /root; export {ENVIRONMENT}; exec 2>&1\n{commands}"
    done = machine.run("sh", "-ec", script, seconds=TIMEOUT)
    assert done.returncode == code, f"{commands}\n{done.stdout}"
    assert "DEPRECATION WARNING" not in done.stdout
    assert "FutureWarning" not in done.stdout
    return done.stdout


def changes(said: str) -> list[int]:
    """How many tasks have changed something, for each run of a playbook."""
    return [int(number) for number in re.findall(r" changed=(\d+) ", said)]


def table(release: Release) -> str:
    """The table that is right for the Postfix of a release."""
    return f"socketmap:inet:127.0.0.1:8461:{MAPS[release.postfix]}"


def contents(machine: Machine) -> str:
    """The files of the folders in which the role writes, with their sizes and times."""
    which = ("-not", "-type", "d", "-not", "-name", "*.pyc")
    return machine.output("find", *CHECKED, *which, "-printf", "%p %s %T@ %l\\n")


def only_on(release: Release) -> pytest.MarkDecorator:
    """Run a test on one release only."""
    return pytest.mark.parametrize(
        "release", [release], ids=[release.suite], indirect=True, scope="module"
    )


@only_on(RELEASES[0])
def test_check(machine: Machine) -> None:
    """A check of a new relay says what would be done, and does nothing."""
    before = contents(machine)
    said = run(machine, FIRST_BLOCK.removesuffix(f"{RUN}\n"))
    (count,) = changes(said)
    assert count > 5
    assert "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:" in said
    assert contents(machine) == before


def test_first_run(machine: Machine, release: Release) -> None:
    """The playbook leads to mail whose TLS connection is verified by the policy."""
    (count,) = changes(run(machine, RUN))
    assert count > 5
    assert machine.output("postconf", "-h", "smtp_tls_policy_maps") == table(release)
    log = delivered(machine, "first@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


def test_second_run(machine: Machine) -> None:
    """A second run changes nothing."""
    before = contents(machine)
    assert changes(run(machine, RUN)) == [0]
    assert contents(machine) == before


def test_doctor(machine: Machine) -> None:
    """The command of the page finds no fault."""
    assert run_block(machine, BLOCKS[DOCTOR]).startswith("All is well\n")


def version(machine: Machine) -> str:
    """Return the version of the daemon that runs."""
    status = json.loads(machine.output("postfix-mta-sts", "status", "--json"))
    assert not {"store_reading", "store_writing"} & {*status["not_working"]}
    running: str = status["version"]
    return running


def put_package(machine: Machine, folder: str) -> None:
    """Replace the package of the playbook by the one in a folder of root's home."""
    home = machine.root / "root"
    for old in (home / "dist").iterdir():
        old.unlink()
    (wheel,) = (home / folder).glob("postfix_mta_sts-*.whl")
    shutil.copy(wheel, home / "dist")


def assert_stored(machine: Machine, own_namespace: Namespace, own_world: World) -> None:
    """Assert that the daemon has the policy in its store."""
    with own_world.without("dns", "policy host"):
        machine.output("systemctl", "restart", UNIT)
        assert ask(own_namespace, "example.com") == secure("example.com")


@only_on(WITH_DNS)
def test_upgrade_after_a_failed_run(
    machine: Machine, own_namespace: Namespace, own_world: World
) -> None:
    """A run that fails after it has changed something leaves the restart to the next one."""
    put_package(machine, "newer")
    settings = SETTINGS | {"lookup": {"timeout": "19s"}}
    configure(machine.root, {"postfix_mta_sts_settings": settings})
    socket = "/etc/systemd/system/postfix-mta-sts.socket"
    machine.output("mount", "--bind", "/etc/hostname", socket)  # which no task can replace
    run(machine, RUN, code=2)
    machine.output("umount", socket)
    assert "19s" in (machine.root / CONFIG).read_text()
    assert version(machine) == __version__
    (count,) = changes(run(machine, RUN))
    assert count > 0
    assert version(machine) == NEWER
    assert run_block(machine, BLOCKS[DOCTOR]).startswith("All is well\n")
    assert_stored(machine, own_namespace, own_world)
    assert changes(run(machine, RUN)) == [0]


@only_on(WITH_DNS)
def test_way_back(machine: Machine, own_namespace: Namespace, own_world: World) -> None:
    """The older package again, whose daemon reads the newer one's store."""
    put_package(machine, "wheels")
    configure(machine.root, {})
    run(machine, RUN)
    assert version(machine) == __version__
    assert_stored(machine, own_namespace, own_world)
    log = delivered(machine, "back@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


@only_on(WITH_DNS)
def test_trial(machine: Machine, release: Release) -> None:
    """With the variable nothing is enforced; a table of others stays in front."""
    tables = f"{OTHER} socketmap:inet:127.0.0.1:8461:old"
    machine.output("postconf", "-e", f"smtp_tls_policy_maps = {tables}")
    configure(machine.root, {"postfix_mta_sts_trial": True})
    run(machine, RUN)
    assert machine.output("postconf", "-h", "smtp_tls_policy_maps") == f"{OTHER}, {table(release)}"
    log = delivered(machine, "trial@example.com", "sent")
    assert "Trusted TLS connection established to mx.example.com[127.0.0.11]:25" in log
    assert re.search(r"(?m)^ *trial +on in all maps$", run(machine, COMMANDS[TRIAL]))


@only_on(WITH_DNS)
def test_wrong_setting(machine: Machine) -> None:
    """A setting that check-config refuses is not written, and the daemon goes on."""
    before = (machine.root / CONFIG).read_text()
    configure(machine.root, {"postfix_mta_sts_settings": {"lookup": {"timeout": "soon"}}})
    assert "lookup.timeout" in run(machine, RUN, code=2)
    assert (machine.root / CONFIG).read_text() == before
    machine.output("postfix-mta-sts", "healthcheck")


def test_absent(machine: Machine, release: Release) -> None:
    """Taken out, it leaves a Postfix that delivers, and nothing of its own but settings."""
    configure(machine.root, {})
    (count,) = changes(run(machine, COMMANDS[ABSENT]))
    assert count > 2
    left = OTHER if release == WITH_DNS else ""
    assert machine.output("postconf", "-h", "smtp_tls_policy_maps") == left
    log = delivered(machine, "absent@example.com", "sent")
    assert "Trusted TLS connection established to mx.example.com[127.0.0.11]:25" in log
    assert machine.run("systemctl", "cat", "postfix-mta-sts.service").returncode != 0
    assert (machine.root / CONFIG).exists()
    assert not (machine.root / "opt/postfix-mta-sts").exists()


@only_on(WITH_DNS)
def test_absent_already(machine: Machine) -> None:
    """Taken out twice, it changes nothing the second time."""
    assert changes(run(machine, ABSENT)) == [0]
