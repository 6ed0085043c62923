"""docs/wiring/debian.md on a booted Debian 13, from nothing until it is taken out again.

On Debian 12 `test_readme.py` runs its commands, which are those of README.md. apt has no network
here, so its packages are those of the tree.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import Block, blocks
from tests.e2e.machines import CONFIG, MASKED, Machine, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.packages import APT_INSTALL, BUILD, Workshop
from tests.e2e.relays import (
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
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.wheels import ROOT
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(1200)  # the first test builds the package and boots

PACKAGE, _, SETTINGS, MAP, _, SEND, DOCTOR, LOG, TAKE_OUT, PURGE, _ = blocks(
    ROOT / "docs/wiring/debian.md"
)
"""The blocks of the page but those for Debian 12."""
KEPT: Final = "root/postfix-mta-sts.yml"
"""The configuration, which names the servers of the test; the package brings one of its own."""
VERIFIED: Final = "Verified TLS connection established to mx.example.com[127.0.0.11]:25"


@pytest.fixture(scope="module")
def machine(
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """A Debian with its own Postfix as installed, and the package in /root/dist."""
    own_world.policy("example.com", "enforce")
    own_world.mail_host("example.com", "good")
    tree, name = trees[WITH_DNS.postfix], "debian-wiring"
    try:
        root = copied(with_systemd(tree), folder / name)
        prepare(root, own_world)
        (root / CONFIG).rename(root / KEPT)
        (root / "etc/apt/apt.conf.d/99-yes").write_text('APT::Get::Assume-Yes "true";\n')
        leave_port_25(root)
        mask(root, *(unit for unit in MASKED if unit != "postfix"))
        Workshop(tree, stock(WITH_DNS.suite), root / "root/dist").build(BUILD)
        with started(root, own_namespace, name, logs) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


def last_line(block: Block) -> Block:
    """The package is built elsewhere; what is left of this block is its last line."""
    *_, last = block.text.splitlines()
    assert last == APT_INSTALL
    return Block(block.page, block.line, last, block.kind, block.value)


def test_verified(machine: Machine) -> None:
    """The steps of the page lead to a message that is verified; `doctor` finds nothing."""
    run(machine, last_line(PACKAGE))
    machine.output("sh", "-ec", f"cp /{KEPT} /{CONFIG}; systemctl reload postfix-mta-sts")
    run(machine, SETTINGS)
    run(machine, MAP)
    run(machine, SEND)
    assert VERIFIED in logged(machine, 0, r" to=<user@example\.com>,.* status=sent ")
    assert VERIFIED in run(machine, LOG)
    assert run(machine, DOCTOR).startswith("All is well\n")


def test_held(machine: Machine, own_world: World) -> None:
    """A message to a server whose certificate has expired is held."""
    domain = own_world.fresh("expired")
    own_world.mail_host(domain, "expired")
    own_world.policy(domain, "enforce")
    assert "Server certificate not verified" in delivered(machine, f"user@{domain}", "deferred")


def test_taken_out(machine: Machine) -> None:
    """After the last steps nothing of the daemon is left, and mail flows."""
    run(machine, TAKE_OUT)
    run(machine, PURGE)
    assert machine.run("systemctl", "cat", "postfix-mta-sts").returncode != 0
    assert machine.run("sh", "-c", "command -v postfix-mta-sts").returncode != 0
    before = len(mail_log(machine))
    machine.output("sh", "-c", "echo Hello | sendmail out@example.com")
    log = logged(machine, before, r" to=<out@example\.com>,.* status=sent ")
    assert re.search(r"Trusted TLS connection established to mx\.example\.com", log)
    assert "Verified" not in log
