"""The commands of README.md and docs/, as they are written, on a stock Debian 12 and 13.

Of what a new user has, the test replaces only the Internet: its name servers, its CA, and the index
of Python packages. The tests are in the order of the stages (`tests/docs/blocks.py`).
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from tests.docs.blocks import PAGES, Block, blocks
from tests.e2e import peers
from tests.e2e.machines import CONFIG, MASKED, Machine, booted, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS, POSTFIX_DNS
from tests.e2e.transcript import TIMEOUT
from tests.e2e.trees import RELEASES, WITH_DNS, NoTreeError, Release
from tests.e2e.wheels import ROOT
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

CHECKOUT = (
    "postfix_mta_sts",
    "contrib",
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
)
PIP = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_NO_COMPILE=1"
"""Where pip finds packages, see pip(1); compiling them takes half of its time."""
INSTALL_TIMEOUT = 300.0
"""Seconds; only a failing test waits that long."""
MIGRATING = (ROOT / "docs/migrating.md").read_text("utf-8")
STORE = "/var/lib/postfix-mta-sts/policies.db"
IMPORT = "postfix-mta-sts import /var/lib/mta-sts/cache.db"
EXPORT = "postfix-tlspol -export | awk '{print $1}' | postfix-mta-sts seed -"
EVERY = [block for page in PAGES for block in blocks(page)]


@pytest.fixture(scope="module")
def own_world(own_world: World) -> World:
    """The servers, with the domains that the pages name."""
    for domain in ("example.com", "example.org"):
        own_world.policy(domain, "enforce")
        own_world.mail_host(domain, "good")
    return own_world


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.suite)
def machine(
    request: pytest.FixtureRequest,
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """Each Debian with its own Postfix as installed, and a checkout in /root."""
    release: Release = request.param
    place = folder / f"{release.suite}-readme"
    place.mkdir()
    root = place / "root"
    try:
        subprocess.run(["cp", "--archive", with_systemd(trees[release.postfix]), root], check=True)
        shutil.copytree(stock(release.suite), root / "root/wheels")
        _prepare(root, own_world)
        with booted(root, own_namespace, place, logs / f"{release.suite}-readme.log") as made:
            yield made
            (logs / f"{release.suite}-readme-journal.log").write_text(mail_log(made))
            made.run("systemctl", "--force", "--force", "poweroff")  # an orderly end takes a minute
    except NoTreeError as error:
        cannot(str(error))


def _prepare(root: Path, own_world: World) -> None:
    """Give a stock Debian the Internet of the test, and a checkout."""
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / "root" / name)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(f"nameserver {POSTFIX_DNS}\n")
    with (root / "etc/ssl/certs/ca-certificates.crt").open("a") as bundle:
        bundle.write(own_world.ca_file.read_text())
    (root / CONFIG).write_text(json.dumps(SETTINGS))  # JSON is YAML
    # The SMTP servers of the test have port 25 of other addresses.
    main_cf = root / "etc/postfix/main.cf"
    own_port = re.subn(
        r"(?m)^inet_interfaces.*", "inet_interfaces = 127.0.0.1", main_cf.read_text()
    )
    assert own_port[1] == 1
    main_cf.write_text(own_port[0])
    (root / "var/log/mail.log").write_text("postfix/smtp[1]: 2: to=<a@example.com>, relay=...\n")
    peers.install(root)
    masked = [name for name in MASKED if name != "postfix"]
    subprocess.run(["systemctl", f"--root={root}", "mask", *masked], check=True)


SETTINGS = {
    "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
    "https": {
        "ca_file": "/etc/ssl/certs/ca-certificates.crt",
        "allow_private_addresses": True,
    },
    "metrics": {"listen": "127.0.0.1:8463"},
}


def run_stage(machine: Machine, stage: str) -> dict[str, str]:
    """Run the blocks of a stage in their order; return each block's last command → all output."""
    chosen = [block for block in EVERY if (block.kind, block.value) == ("run", stage)]
    assert chosen
    return {block.text.splitlines()[-1]: run(machine, block) for block in chosen}


def run(machine: Machine, block: Block) -> str:
    """Run a block in the checkout, as root in a shell that ends at the first error."""
    script = f"cd /root && export {PIP} && exec 2>&1\n{block.text}"
    done = machine.run("sh", "-ec", script, seconds=INSTALL_TIMEOUT)
    assert done.returncode == 0, f"{block.page}:{block.line}:\n{block.text}{done.stdout}"
    return done.stdout


def mail_log(machine: Machine) -> str:
    """Return what Postfix has logged."""
    machine.output("journalctl", "--sync")
    return machine.output("journalctl", "--output=cat", "--no-pager", "SYSLOG_FACILITY=2")


def delivered(machine: Machine, recipient: str, status: str) -> str:
    """Send a message; wait for a status of it in the mail log; return the log from its start."""
    before = len(mail_log(machine))
    machine.output("sh", "-c", f"echo Hello | sendmail -f root@relay.test {recipient}")
    return logged(machine, before, rf" to=<{re.escape(recipient)}>,.* status={status} ")


def logged(machine: Machine, before: int, pattern: str, *, is_flushed: bool = False) -> str:
    """Wait for a line of the mail log, after its first `before` characters; return these lines.

    A queue manager that ends at a reload takes the wish to flush the queue with it: `is_flushed`
    says it again.
    """
    deadline = time.monotonic() + TIMEOUT
    while not re.search(pattern, log := mail_log(machine)[before:]):
        assert time.monotonic() < deadline, f"no line matches {pattern}:\n{log}"
        if is_flushed:
            machine.output("postqueue", "-f")
        time.sleep(0.1)
    return log


def only_on(release: Release) -> pytest.MarkDecorator:
    """Run a test on one release only."""
    return pytest.mark.parametrize(
        "machine", [release], ids=[release.suite], indirect=True, scope="module"
    )


@only_on(RELEASES[0])
def test_try(machine: Machine) -> None:
    """The command to try it runs the daemon from the checkout."""
    (block,) = (each for each in EVERY if (each.kind, each.value) == ("run", "try"))
    background = f"""
        setsid sh -ec '{block.text}' > serve.log & serve=$!
        until .venv/bin/postfix-mta-sts healthcheck; do kill -0 $serve; sleep 0.2; done
        kill -- -$serve; wait $serve || true
    """
    assert "socketmap 127.0.0.1:8461: answers\n" in run(machine, replace(block, text=background))


def test_mail_is_verified(machine: Machine) -> None:
    """README.md alone leads to mail whose TLS connection is verified by the policy."""
    for stage in ("install", "configure", "postfix"):
        run_stage(machine, stage)
    log = delivered(machine, "user@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


def test_checks(machine: Machine) -> None:
    """The commands that show that it works print what the page says."""
    shown = run_stage(machine, "check")
    policy = shown["postfix-mta-sts policy show example.com"]
    assert "secure match=mx.example.com servername=hostname\n" in policy
    assert re.search(r"^mode +enforce$", policy, re.MULTILINE)
    query = shown["postfix-mta-sts query example.com --smtp"]
    assert query.startswith("Mail to example.com is delivered, verified by its policy\n")
    assert "  answer    OK secure match=mx.example.com servername=hostname\n" in query
    assert "  message   sent through mx.example.com, TLS Verified\n" in query


def test_docs(machine: Machine) -> None:
    """The commands of the other pages succeed, and leave a relay that still verifies."""
    run_stage(machine, "docs")
    logged(machine, 0, r" to=<postmaster@example.com>,.* status=deliverable ")
    log = delivered(machine, "docs@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


def test_log(machine: Machine, own_world: World) -> None:
    """The commands that search the log find a failed renewal."""
    machine.output("postfix-mta-sts", "healthcheck", "example.org")
    with own_world.without("policy host"):
        assert machine.run("postfix-mta-sts", "policy", "refresh", "example.org").returncode == 2
    (found,) = run_stage(machine, "log").values()
    assert re.search(r"postfix-mta-sts\[\d+\]: example.org: renewal failed id=1 ", found)
    assert "\nexample.org: policy fetched id=1 " in f"\n{found}"
    machine.output("postfix-mta-sts", "policy", "refresh", "example.org")


@only_on(WITH_DNS)
def test_from_the_resolver(machine: Machine) -> None:
    """The change from postfix-mta-sts-resolver: this daemon takes over its port and its cache."""
    stop(machine)
    machine.output("systemctl", "enable", "--now", *peers.RESOLVER)
    shown = run_stage(machine, "from the resolver")
    assert f"       1 imported into {STORE}\n" in shown[IMPORT]
    machine.output("sh", "-c", "until postfix-mta-sts healthcheck; do sleep 0.1; done")
    done = machine.run("systemctl", "is-enabled", *peers.RESOLVER, "postfix-mta-sts")
    assert done.stdout.split() == ["disabled", "enabled"]


@only_on(WITH_DNS)
def test_from_tlspol(machine: Machine) -> None:
    """The change from postfix-tlspol, with the configuration of that page, and its domains."""
    stop(machine)
    (example,) = re.findall(r"^listen:\n.*:8642$", MIGRATING, re.MULTILINE)
    config = (machine.root / CONFIG).read_text()
    configure(machine, example)
    machine.output("systemctl", "enable", "--now", *peers.TLSPOL)
    shown = run_stage(machine, "from tlspol")
    assert "       1 enforce\n" in shown[EXPORT]
    machine.output("sh", "-c", "until postfix-mta-sts healthcheck; do sleep 0.1; done")
    done = machine.run("systemctl", "is-enabled", *peers.TLSPOL)
    assert done.stdout.split() == ["disabled"] * 2
    (machine.root / CONFIG).write_text(config)
    stop(machine)
    machine.output("systemctl", "start", "postfix-mta-sts.socket", "postfix-mta-sts")


def stop(machine: Machine) -> None:
    """Stop the daemon and its sockets."""
    machine.output("sh", "-c", "systemctl stop postfix-mta-sts*.socket postfix-mta-sts")


def configure(machine: Machine, listen: str) -> None:
    """Write a configuration with the listeners of a page."""
    rest = "".join(f"{key}: {json.dumps(value)}\n" for key, value in SETTINGS.items())
    (machine.root / CONFIG).write_text(f"{listen}\n{rest}")


def test_chroot(machine: Machine) -> None:
    """So do those for a socket in Postfix's chroot, with the listeners of that page."""
    page = (ROOT / "docs/systemd.md").read_text("utf-8")
    listen = re.search(r"^    listen:\n(    .+\n)+", page, re.MULTILINE)
    assert listen
    configure(machine, dedent(listen[0]))
    run_stage(machine, "chroot")
    assert "socketmap:unix:" in machine.output("postconf", "-h", "smtp_tls_policy_maps")
    log = delivered(machine, "chroot@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


def test_exception(machine: Machine) -> None:
    """An exception stands in place of the policy of one domain, and of no other."""
    run_stage(machine, "exception")
    log = delivered(machine, "exception@example.com", "sent")
    assert "Trusted TLS connection established to mx.example.com[127.0.0.11]:25" in log
    log = delivered(machine, "rule@example.org", "sent")
    assert "Verified TLS connection established to mx.example.org[127.0.0.11]:25" in log


def test_stopped(machine: Machine, own_world: World) -> None:
    """While the daemon is stopped all mail waits; one line takes it out, and the mail is sent."""
    machine.output(
        "sh", "-c", "systemctl stop postfix-mta-sts*.socket postfix-mta-sts; postfix reload"
    )
    plain = own_world.fresh("plain")
    own_world.mail_host(plain, "good")
    log = delivered(machine, f"user@{plain}", "deferred")
    assert "client TLS configuration problem" in log
    before = len(mail_log(machine))
    run_stage(machine, "take out")
    logged(machine, before, rf" to=<user@{plain}>,.* status=sent ", is_flushed=True)


def test_removed(machine: Machine) -> None:
    """The last command leaves no unit that starts at boot."""
    run_stage(machine, "remove")
    done = machine.run("systemctl", "is-enabled", "postfix-mta-sts.socket", "postfix-mta-sts")
    assert done.stdout.split() == ["disabled"] * 2
