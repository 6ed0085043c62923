"""Sendmail on a booted Debian, set up by docs/wiring/sendmail.md.

The SMTP servers of the test advertise AUTH, and know no `AUTH=` after `MAIL FROM`: Sendmail is told
to leave it out, as for other servers with this fault.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from tests.docs.blocks import blocks
from tests.e2e.machines import Machine, install, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.relays import copied, logged, mail_log, prepare, run, started
from tests.e2e.trees import WITH_DNS, NoTreeError, extended
from tests.e2e.wheels import ROOT
from tests.e2e.wirings import CASES, Case, publish_neighbours, publish_second_host, received
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

PAGE: Final = ROOT / "docs/wiring/sendmail.md"
FORCE, SEE, TAKE_OUT = (
    block for block in blocks(PAGE) if block.value == "tests/e2e/test_wiring_sendmail.py"
)
PACKAGES: Final = ("sendmail-bin", "sendmail-cf", "m4")
MC: Final = "etc/mail/sendmail.mc"
NO_AUTH: Final = "define(`confAUTH_OPTIONS', `A')dnl\n"


def lines_of_page(start: str) -> str:
    """The one indented block that begins with these words."""
    found = re.findall(rf"(?m)^ +{re.escape(start)}.*\n(?: +.+\n)*", PAGE.read_text("utf-8"))
    assert len(found) == 1
    return dedent(found[0])


ABOVE: Final = lines_of_page("define(`confCACERT_PATH'")
AT_THE_END: Final = lines_of_page("LOCAL_TLS_RCPT\n")


@pytest.fixture(scope="module")
def machine(
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """A Debian with Sendmail and the daemon, before the steps of the page."""
    try:
        tree = extended(with_systemd(trees[WITH_DNS.postfix]), "sendmail", PACKAGES)
        root = copied(tree, folder / "sendmail")
        prepare(root, own_world)
        (root / "etc/hostname").write_text("relay.test\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 relay.test\n")
        install(root, stock(WITH_DNS.suite))
        with started(root, own_namespace, "sendmail", logs) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


def configure(machine: Machine, *, above: str = "", at_the_end: str = "") -> None:
    """Add lines to the configuration that Debian has made, as the page says where."""
    kept = machine.root / f"{MC}.kept"
    if not kept.exists():
        kept.write_text((machine.root / MC).read_text())
    before, found, after = kept.read_text().partition("MAILER_DEFINITIONS")
    assert found
    text = f"{before}{above}{NO_AUTH}{found}{after}{at_the_end}"
    (machine.root / MC).write_text(text)


@pytest.fixture(scope="module")
def relay(machine: Machine, own_world: World) -> Machine:
    """The machine after the steps of the page, which send a message to example.com."""
    own_world.policy("example.com", "enforce")
    own_world.mail_host("example.com", "good")
    configure(machine, above=ABOVE, at_the_end=AT_THE_END)
    run(machine, FORCE)
    return machine


def outcome(machine: Machine, recipient: str, before: int = 0) -> str:
    """Wait for what became of mail to another machine; return the log from `before` on."""
    sent = rf" to=\S*{re.escape(recipient)}\S*, .* mailer=esmtp, .* stat=(Sent|Deferred)"
    return logged(machine, before, sent)


def send(machine: Machine, *recipients: str) -> str:
    """Send one message, with the delivery in the foreground; return what was logged of it."""
    before = len(mail_log(machine))
    machine.output("sh", "-c", f"echo Hello | sendmail -Am -odi {' '.join(recipients)}")
    return [outcome(machine, each, before) for each in recipients][-1]


def test_the_page(relay: Machine, own_world: World) -> None:
    """The steps lead to a message that is verified, and to the lines that the page shows."""
    log = outcome(relay, "user@example.com")
    assert re.search(r"STARTTLS=client, relay=mx\.example\.com\., .* verify=OK, ", log)
    assert [each.sni for each in received(own_world, "example.com")] == ["mx.example.com"]
    seen = run(relay, SEE)
    assert "returns secure match=mx.example.com servername=hostname" in seen
    assert "to=<user@example.com>, " in seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(relay: Machine, own_world: World, case: Case) -> None:
    """A message is held if its policy demands that, and by no other reason."""
    domain = case.publish(own_world)
    log = send(relay, f"user@{domain}")
    is_held = "stat=Deferred" in log
    assert (is_held, received(own_world, domain) == []) == (case.is_held, case.is_held), log


def test_second_host(relay: Machine, own_world: World) -> None:
    """If the certificate of one MX host is not valid, the next one gets the message."""
    domain, second = publish_second_host(own_world)
    log = send(relay, f"user@{domain}")
    assert "reject=403 4.7.0 authentication failed" in log
    assert [each.sni for each in received(own_world, domain)] == [second]


def test_neighbours(relay: Machine, own_world: World) -> None:
    """A domain without a policy opens no way for one that has it, at the same MX host."""
    without, with_policy = publish_neighbours(own_world)
    log = send(relay, f"user@{without}", f"user@{with_policy}")
    assert f"ruleset=tls_rcpt, arg1=user@{with_policy}," in log
    assert received(own_world, without)
    assert not received(own_world, with_policy)


def test_neighbours_in_a_queue_run(relay: Machine, own_world: World) -> None:
    """Neither does it in the next message of a queue run, nor does it wait for the other one."""
    domains = publish_neighbours(own_world)
    relay.output("sh", "-c", "rm -f /var/spool/mqueue/*")
    before = len(mail_log(relay))
    for domain in domains:
        relay.output("sh", "-c", f"echo Hello | sendmail -Am -odq user@{domain}")
    relay.output("sendmail", "-Am", "-q", "-v")
    outcome(relay, f"user@{domains[1]}", before)
    assert received(own_world, domains[0])
    assert not received(own_world, domains[1])


def test_stopped(relay: Machine, own_world: World) -> None:
    """While the daemon is stopped mail waits; it is sent once it runs again."""
    units = ("postfix-mta-sts.socket", "postfix-mta-sts.service")
    domain = Case("stopped", is_held=False, mode="").publish(own_world)
    relay.output("systemctl", "stop", *units)
    assert "STS lookup temp fail" in send(relay, f"user@{domain}")
    relay.output("systemctl", "start", *units)
    relay.output("sendmail", "-Am", "-q", "-v")
    assert received(own_world, domain)


def test_the_hole(relay: Machine, own_world: World) -> None:
    """Without the rules of the page Sendmail has the hole that it names."""
    configure(relay, above=ABOVE)
    relay.output("sh", "-c", f"m4 /{MC} > /etc/mail/sendmail.cf")
    without, with_policy = publish_neighbours(own_world)
    send(relay, f"user@{without}", f"user@{with_policy}")
    assert received(own_world, with_policy)


def test_taken_out(relay: Machine, own_world: World) -> None:
    """Without the lines of the page mail flows, and no policy counts."""
    configure(relay)
    run(relay, TAKE_OUT)
    domain = Case("taken out", is_held=False, sink="expired").publish(own_world)
    send(relay, f"user@{domain}")
    assert received(own_world, domain)
