"""Exim on a booted Debian, set up by the commands of docs/wiring/exim.md.

The SMTP servers of the test are on loopback, which Exim takes for the machine itself; so the test
adds to the routers that it may send there.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.e2e.machines import Machine, install, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.relays import copied, prepare, run, started
from tests.e2e.transcript import TIMEOUT
from tests.e2e.trees import WITH_DNS, NoTreeError, extended
from tests.e2e.wheels import ROOT
from tests.e2e.wirings import CASES, Case, publish_neighbours, publish_second_host, received
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

SPLIT, ROUTERS, TRANSPORT, FORCE, SEE, TAKE_OUT = (
    block
    for block in blocks(ROOT / "docs/wiring/exim.md")
    if block.value == "tests/e2e/test_wiring_exim.py"
)
LOG = "var/log/exim4/mainlog"
TO_LOOPBACK = r"""
cd /etc/exim4/conf.d
sed -i 's/driver = dnslookup/&\n  self = send/' router/190_mta-sts router/200_exim4-config_primary
echo 'ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = 0.0.0.0' > main/000_localmacros
"""


@pytest.fixture(scope="module")
def machine(
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """A Debian whose Exim sends to the Internet, with the daemon, before the steps of the page."""
    try:
        tree = extended(with_systemd(trees[WITH_DNS.postfix]), "exim", ["exim4-daemon-light"])
        root = copied(tree, folder / "exim")
        prepare(root, own_world)
        (root / "etc/mailname").write_text("relay.test\n")
        answers = root / "etc/exim4/update-exim4.conf.conf"
        answers.write_text(answers.read_text().replace("type='local'", "type='internet'"))
        install(root, stock(WITH_DNS.suite))
        with started(root, own_namespace, "exim", logs) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="module")
def relay(machine: Machine, own_world: World) -> Machine:
    """The machine after the steps of the page, which send a message to example.com."""
    own_world.policy("example.com", "enforce")
    own_world.mail_host("example.com", "good")
    for block in (SPLIT, ROUTERS, TRANSPORT):
        run(machine, block)
    machine.output("sh", "-ec", TO_LOOPBACK)
    run(machine, FORCE)
    return machine


def outcome(machine: Machine, recipient: str) -> str:
    """Wait for the first line about a recipient in Exim's log, and return it."""
    log = machine.root / LOG
    deadline = time.monotonic() + TIMEOUT
    while not (
        found := log.exists()
        and re.search(rf"(?m)^.*(?:=>|==|\*\*) {re.escape(recipient)} .*$", log.read_text())
    ):
        assert time.monotonic() < deadline, f"no line about {recipient}:\n{log.read_text()}"
        time.sleep(0.1)
    return found[0]


def send(machine: Machine, *recipients: str) -> list[str]:
    """Send one message, delivered in the foreground; return the line about each recipient."""
    machine.output("sh", "-c", f"echo Hello | exim4 -odi {' '.join(recipients)}")
    return [outcome(machine, each) for each in recipients]


def test_the_page(relay: Machine, own_world: World) -> None:
    """The steps lead to a message that is verified, and to the lines that the page shows."""
    line = outcome(relay, "user@example.com")
    assert re.search(r" => .* R=mta_sts_enforced T=remote_smtp_mta_sts .* CV=yes ", line)
    assert [each.sni for each in received(own_world, "example.com")] == ["mx.example.com"]
    seen = run(relay, SEE)
    assert "  router = mta_sts_enforced, transport = remote_smtp_mta_sts\n" in seen
    assert line in seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(relay: Machine, own_world: World, case: Case) -> None:
    """A message is held if its policy demands that, and by no other reason."""
    domain = case.publish(own_world)
    (line,) = send(relay, f"user@{domain}")
    assert (" == " in line, received(own_world, domain) == []) == (case.is_held, case.is_held)
    assert ("R=mta_sts" in line) == (case.mode == "enforce")


def test_second_host(relay: Machine, own_world: World) -> None:
    """If the certificate of one MX host is not valid, the next one gets the message."""
    domain, second = publish_second_host(own_world)
    (line,) = send(relay, f"user@{domain}")
    assert f" H={second} " in line
    assert [each.sni for each in received(own_world, domain)] == [second]


def test_neighbours(relay: Machine, own_world: World) -> None:
    """A domain without a policy opens no way for one that has it, at the same MX host."""
    domains = publish_neighbours(own_world)
    without, with_policy = send(relay, *(f"user@{domain}" for domain in domains))
    assert re.search(r" (=>|==) ", without)
    assert " == " in with_policy
    assert not received(own_world, domains[1])


@pytest.mark.parametrize(
    "domain", ["[192.0.2.1]", "a,b.test", "${run{/bin/touch /root/x}}.test", "a b.test"]
)
def test_hostile_domain(relay: Machine, domain: str) -> None:
    """A domain with characters that mean something to Exim or to the daemon does nothing."""
    done = relay.run("exim4", "-bt", f"user@{domain}")
    assert done.returncode in {1, 2}
    assert "MTA-STS" not in done.stdout + done.stderr
    assert not (relay.root / "root/x").exists()


def test_stopped(relay: Machine, own_world: World) -> None:
    """While the daemon is stopped mail waits; it is sent once it runs again."""
    units = ("postfix-mta-sts.socket", "postfix-mta-sts.service")
    domain = Case("stopped", is_held=False, mode="").publish(own_world)
    relay.output("systemctl", "stop", *units)
    (line,) = send(relay, f"user@{domain}")
    assert " R=mta_sts defer " in line
    relay.output("systemctl", "start", *units)
    relay.output("exim4", "-qff")
    assert received(own_world, domain)


def test_taken_out(relay: Machine, own_world: World) -> None:
    """Without the routers mail flows, and no policy counts."""
    run(relay, TAKE_OUT)
    domain = Case("taken out", is_held=False, sink="expired").publish(own_world)
    (line,) = send(relay, f"user@{domain}")
    assert " R=dnslookup T=remote_smtp " in line
    assert received(own_world, domain)
