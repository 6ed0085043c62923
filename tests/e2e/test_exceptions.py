"""Exceptions: mail that a policy holds is let through, and held again after the end.

Each test has domains of its own. The servers' DNS is not signed; the tests of DANE have the signed
zones, and a daemon of their own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.office import Office, office
from tests.e2e.resolving import VALIDATING_DNS
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

PORT: Final = 8491
DANE_PORT: Final = 8493


@pytest.fixture(scope="module")
def excepting(
    inside: Namespace, world: World, settings: dict[str, object], folder: Path, logs: Path
) -> Iterator[Daemon]:
    """A daemon for the exceptions of this file."""
    own_settings = settings | {"listen": [{"socketmap": f"127.0.0.1:{PORT}"}]}
    log = logs / "daemon-exceptions.log"
    with running(Daemon(inside, folder / "exceptions", log, own_settings)) as made:
        yield made


@pytest.fixture(scope="module")
def here(
    inside: Namespace, mta: Mta, excepting: Daemon, folder: Path, world: World
) -> Iterator[Office]:
    """Each version of Postfix, with that daemon in main.cf."""
    programs = mta.programs(folder / f"exceptions-bin-{mta.version}")
    with office(inside, mta, excepting, PORT, programs, world) as made:
        yield made


def test_held_mail_goes_and_is_held_again_after_the_end(here: Office) -> None:
    """`ignore` lets held mail through at the next queue run, also after a restart; it ends."""
    domain = here.broken("friday-evening")
    held = here.held(domain)

    mark = here.daemon.log.mark
    printed = here.add(domain, "ignore")
    here.daemon.log.wait(rf"{domain}: exception added .*\buid=0\b", mark)
    here.daemon.stop()
    here.daemon.start()
    flushed = here.queue_run(held)
    another = here.mta.send(domain)

    for said in ("smtp_tls_security_level = may", "1 message", "postqueue -f"):
        assert said in printed
    assert (flushed.status, flushed.tls(f"mx.{domain}")) == ("sent", "Untrusted"), flushed
    assert another.status == "sent"

    mark = here.daemon.log.mark
    here.add(domain, "ignore", lasting="1s")
    here.daemon.log.wait(rf"{domain}: exception ended\b", mark)
    here.held(domain)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A domain whose mail is held, and an exception that lets it through."""

    sink: str
    use: str
    words: tuple[str, ...] = ()
    """`{d}` is the domain."""
    held: str = "4.7.5"
    """The DSN."""
    tls: str | None = None
    """Of the session with the MX host; None: in the clear."""


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "ignore": Scenario("wrong name", "ignore", tls="Trusted"),
    "may": Scenario("no STARTTLS", "may", held="4.7.4"),
    "encrypt": Scenario("expired", "encrypt", tls="Untrusted"),
    # The policy names another host than the one that the domain has.
    "pin": Scenario("good", "pin", ("--mx", "*.{d}"), tls="Verified"),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_held_mail_goes(here: Office, scenario: Scenario) -> None:
    """Each use lets through what it says, in the way that it says, until it is removed."""
    domain = here.world.fresh(scenario.use)
    here.world.mail_host(domain, scenario.sink, label="new")
    here.world.policy(domain, "enforce")
    held = here.held(domain, scenario.held)

    here.add(domain, scenario.use, *(word.replace("{d}", domain) for word in scenario.words))
    flushed = here.queue_run(held)
    here.run("exception", "remove", domain)

    assert (flushed.status, flushed.tls(f"new.{domain}")) == ("sent", scenario.tls), flushed
    assert len(flushed.receipts) == 1
    here.held(domain, scenario.held)


def test_encrypt_holds_what_would_go_in_the_clear(here: Office) -> None:
    """`encrypt`: no message to a host without STARTTLS."""
    domain = here.broken("in-the-clear", "no STARTTLS")

    here.add(domain, "encrypt")

    here.held(domain, "4.7.4")


def test_a_pin_holds_what_it_does_not_name(here: Office) -> None:
    """A domain without a policy is held to the names of the pin."""
    domain = here.world.fresh("pinned")
    here.world.mail_host(domain, "good")

    here.add(domain, "pin", "--mx", f"mx2.{domain}")

    assert here.reply(domain) == f"OK secure match=mx2.{domain} servername=hostname"
    here.held(domain)


def test_enforce_holds_what_a_testing_policy_lets_through(here: Office) -> None:
    """A policy of mode testing is enforced."""
    domain = here.broken("half-hearted", mode="testing")
    before = here.mta.send(domain)

    here.add(domain, "enforce")

    assert before.status == "sent"
    here.held(domain)


def test_a_wildcard_is_for_the_names_below(here: Office) -> None:
    """`*.DOMAIN` is for names below at any depth, the domain itself is held."""
    domain = here.broken("parent")
    below = f"a.b.{domain}"
    here.world.mail_host(below, "expired")
    here.world.policy(below, "enforce")

    here.add(f"*.{domain}", "ignore")

    assert here.mta.send(below).status == "sent"
    here.held(domain)


def test_an_exception_of_the_configuration(here: Office) -> None:
    """A reload puts it in force, and ends it; commands do not change it."""
    domain = here.broken("configured")
    held = here.held(domain)
    written = {"use": "ignore", "reason": "ticket 4712", "forever": True}

    here.daemon.reload({"exceptions": {domain: written}})
    flushed = here.queue_run(held)
    listed = here.run("exception", "list", "--json")
    refused = here.commands.run("exception", "remove", domain)
    here.daemon.reload({})

    assert flushed.status == "sent"
    assert domain in listed
    assert "ticket 4712" in listed
    assert refused.code != 0
    here.held(domain)


@pytest.fixture(scope="module")
def dane_here(
    inside: Namespace,
    signed_mta: Mta,
    settings: dict[str, object],
    world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Office]:
    """Each version of Postfix, and a daemon with DANE, in the signed zones."""
    own_settings = settings | {
        "listen": [{"socketmap": f"127.0.0.1:{DANE_PORT}"}],
        "dns": {"nameservers": [VALIDATING_DNS], "timeout": "2s"},
        "dane": {"mode": "on"},
    }
    name = f"daemon-exceptions-dane-{signed_mta.version}"
    programs = signed_mta.programs(folder / f"exceptions-dane-bin-{signed_mta.version}")
    with (
        running(Daemon(inside, folder / name, logs / f"{name}.log", own_settings)) as daemon,
        office(inside, signed_mta, daemon, DANE_PORT, programs, world) as made,
    ):
        yield made


def test_dane_is_untouched(dane_here: Office) -> None:
    """Only an exception that says so stands in the place of DANE."""
    domain = "wrong.test"  # its TLSA records are of another key
    held = dane_here.held(domain)

    replies = {}
    for use in ("ignore", "enforce", "encrypt", "may"):
        dane_here.add(domain, use)
        replies[use] = dane_here.reply(domain)
    still_held = dane_here.queue_run(held)
    dane_here.add(domain, "may", "--dane", "ignore")
    flushed = dane_here.queue_run(held)

    assert set(replies.values()) == {"OK dane-only"}
    assert still_held.status == "deferred"
    assert (flushed.status, flushed.tls(f"mx.{domain}")) == ("sent", "Trusted")
