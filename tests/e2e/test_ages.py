"""Changes and failures of a policy that was fetched before, while the daemon keeps running.

All tests share one wait: a record is queried again after its TTL, at least a minute
(lifecycle.MIN_RECHECK). Nothing is restarted.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from postfix_mta_sts.mtasts.lifecycle import MIN_RECHECK
from tests.e2e.daemon import Daemon
from tests.e2e.mta import Mta
from tests.e2e.wires import PORT, SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True)
class Aged:
    """Domains whose policies each Postfix has used before the recheck."""

    moved: str
    """Moved its mail to `new.DOMAIN`, with a policy that names only this host."""
    relaxed: str
    """Changed its policy from enforce to none."""
    cut_off: str
    """Announced a new policy, but its Policy Host is down."""


@pytest.fixture(scope="module")
def aged(mtas: dict[str, Mta], daemon: Daemon, world: World) -> Iterator[Aged]:
    """Change three policies and wait for their rechecks; the Policy Host is down afterwards."""
    domains = Aged(world.fresh("moved"), world.fresh("relaxed"), world.fresh("cut-off"))
    for domain in (domains.moved, domains.relaxed, domains.cut_off):
        world.mail_host(domain, "good")
        world.policy(domain, "enforce")
        for mta in mtas.values():
            mta.use(policy_maps(SOCKETMAP_TCP, PORT))
            seen = mta.send(domain)
            assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen

    world.mail_host(domains.moved, "good", label="new")
    world.policy(domains.moved, "enforce", mx=[f"new.{domains.moved}"], policy_id="2")
    world.mail_host(domains.relaxed, "wrong name")
    world.policy(domains.relaxed, "none", policy_id="2")
    world.policy(domains.cut_off, "none", policy_id="2")
    time.sleep(MIN_RECHECK + 1)  # no event signals that a TTL has passed

    _recheck(daemon, domains.moved, "policy changed")
    _recheck(daemon, domains.relaxed, "policy changed")
    with world.without("policy host"):
        _recheck(daemon, domains.cut_off, "renewal failed")
        yield domains


def _recheck(daemon: Daemon, domain: str, what: str) -> None:
    """Ask once: the reply is the old one, and the recheck behind it logs `what`."""
    mark = daemon.log.mark
    assert daemon.ask(PORT, f"postfix {domain}").startswith("OK secure match=")
    daemon.log.wait(rf"(?=.*\b{what}\b).*{domain}", mark)


def test_a_new_policy_is_taken_up(aged: Aged, mta: Mta) -> None:
    """Id changed: mail is sent, Verified, to the host that only the new policy names."""
    seen = mta.send(aged.moved)

    assert (seen.status, seen.tls(f"new.{aged.moved}")) == ("sent", "Verified"), seen
    assert seen.delay_reason is None


def test_a_policy_of_mode_none_ends_the_old_one(aged: Aged, mta: Mta) -> None:
    """Id changed, mode none: mail is sent to a host that the old policy refused."""
    seen = mta.send(aged.relaxed)

    assert (seen.status, seen.tls(f"mx.{aged.relaxed}")) == ("sent", "Trusted"), seen
    assert seen.delay_reason is None


def test_a_dead_policy_host_weakens_nothing(aged: Aged, mta: Mta, world: World) -> None:
    """Id changed, Policy Host down: the cached policy is still enforced."""
    world.mail_host(aged.cut_off, "good")
    good = mta.send(aged.cut_off)
    world.mail_host(aged.cut_off, "wrong name")
    bad = mta.send(aged.cut_off)

    assert (good.status, good.tls(f"mx.{aged.cut_off}")) == ("sent", "Verified"), good
    assert (bad.status, bad.dsn) == ("deferred", "4.7.5"), bad
    assert bad.delay_reason is not None
    assert bad.receipts == ()
