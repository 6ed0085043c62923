"""The commands of README.md and docs/, as they are written, on a stock Debian 12 and 13.

What the test replaces on these machines is in `relays.py`. The tests are in the order of the stages
(`tests/docs/blocks.py`).
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from tests.docs.blocks import PAGES, blocks
from tests.e2e import peers
from tests.e2e.machines import CONFIG, MASKED, Machine, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.relays import (
    SETTINGS,
    check_out,
    copied,
    delivered,
    leave_port_25,
    logged,
    mail_log,
    mask,
    prepare,
    run,
    started,
)
from tests.e2e.trees import RELEASES, WITH_DNS, NoTreeError, Release
from tests.e2e.wheels import ROOT
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

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
    name = f"{release.suite}-readme"
    try:
        root = copied(with_systemd(trees[release.postfix]), folder / name)
        check_out(root, stock(release.suite))
        prepare(root, own_world)
        leave_port_25(root)
        (root / "var/log/mail.log").write_text(
            "postfix/smtp[1]: 2: to=<a@example.com>, relay=...\n"
        )
        peers.install(root)
        mask(root, *(unit for unit in MASKED if unit != "postfix"))
        with started(root, own_namespace, name, logs) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


def run_stage(machine: Machine, stage: str) -> dict[str, str]:
    """Run the blocks of a stage in their order; return each block's last command → all output."""
    chosen = [block for block in EVERY if (block.kind, block.value) == ("run", stage)]
    assert chosen
    return {block.text.splitlines()[-1]: run(machine, block) for block in chosen}


def map_stage(machine: Machine) -> str:
    """Return the stage of README.md that sets the map for this machine's version of Postfix."""
    major, minor, *_ = machine.output("postconf", "-h", "mail_version").split(".")
    return "postfix 3.10" if (int(major), int(minor)) >= (3, 10) else "postfix 3.4"


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
    for stage in ("install", "configure", "postfix", map_stage(machine)):
        run_stage(machine, stage)
    log = delivered(machine, "user@example.com", "sent")
    assert "Verified TLS connection established to mx.example.com[127.0.0.11]:25" in log


def test_checks(machine: Machine) -> None:
    """The commands that show that it works print what the page says; `doctor` finds nothing."""
    shown = run_stage(machine, "check")
    assert shown["postfix-mta-sts doctor"].startswith("All is well\n")
    policy = shown["postfix-mta-sts policy show example.com"]
    assert "secure match=mx.example.com servername=hostname\n" in policy
    assert re.search(r"^mode +enforce$", policy, re.MULTILINE)
    query = shown["postfix-mta-sts query example.com --smtp"]
    assert query.startswith("Mail to example.com is delivered, verified by its policy\n")
    attributes = {"postfix 3.4": "", "postfix 3.10": " policy_type=sts policy_domain=example.com"}
    answer = "OK secure match=mx.example.com servername=hostname" + attributes[map_stage(machine)]
    assert re.search(rf"^  answer    {answer}( |$)", query, re.MULTILINE)
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


def test_removed_for_good(machine: Machine) -> None:
    """The commands of docs/wiring/debian.md leave nothing but policies and user; mail flows."""
    run_stage(machine, "remove all")
    assert machine.run("systemctl", "cat", "postfix-mta-sts").returncode != 0
    assert machine.run("sh", "-c", "command -v postfix-mta-sts").returncode != 0
    log = delivered(machine, "out@example.com", "sent")
    assert re.search(r"Trusted TLS connection established to mx\.example\.com", log)
    assert "Verified" not in log
