"""What happens to a policy that was fetched while the daemon goes on running.

One wait serves all of it: a record is asked for again after its TTL, which counts as a minute at
least (lifecycle.RECHECK_LEAST). Nothing here is restarted.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from postfix_mta_sts.mtasts.lifecycle import RECHECK_LEAST
from tests.e2e.daemon import Daemon
from tests.e2e.mta import Mta
from tests.e2e.wires import PORT, SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Aged:
    """Domains whose policies every Postfix has used before their time had come."""

    moved: str
    """Has since moved its mail to `new.DOMAIN`, with a policy for that alone."""
    relaxed: str
    """Has since gone from enforce to none."""
    cut_off: str
    """Has since announced a new policy, and its Policy Host is dead."""


@pytest.fixture(scope="module")
def aged(mtas: dict[str, Mta], daemon: Daemon, world: World) -> Iterator[Aged]:
    """A minute in the lives of three policies; the Policy Host stays dead while entered."""
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
    time.sleep(RECHECK_LEAST + 1)  # nothing announces that a TTL is over

    _recheck(daemon, domains.moved, "policy changed")
    _recheck(daemon, domains.relaxed, "policy changed")
    with world.without("policy host"):
        _recheck(daemon, domains.cut_off, "renewal failed")
        yield domains


def _recheck(daemon: Daemon, domain: str, what: str) -> None:
    """Ask once: the reply is the old one, and behind it comes what the log calls `what`."""
    mark = daemon.log.mark
    assert daemon.ask(PORT, f"postfix {domain}").startswith("OK secure match=")
    daemon.log.wait(rf"(?=.*\b{what}\b).*{domain}", mark)


def test_a_new_policy_is_taken_up(aged: Aged, mta: Mta) -> None:
    """Id changed: mail goes, Verified, to the host that only the new policy names."""
    seen = mta.send(aged.moved)

    assert (seen.status, seen.tls(f"new.{aged.moved}")) == ("sent", "Verified"), seen
    assert seen.delay_reason is None


def test_a_policy_of_mode_none_ends_the_old_one(aged: Aged, mta: Mta) -> None:
    """Id changed, mode none: mail goes to a host that the old policy would have refused."""
    seen = mta.send(aged.relaxed)

    assert (seen.status, seen.tls(f"mx.{aged.relaxed}")) == ("sent", "Trusted"), seen
    assert seen.delay_reason is None


def test_a_dead_policy_host_weakens_nothing(aged: Aged, mta: Mta, world: World) -> None:
    """Id changed, Policy Host dead: the policy that lives is enforced, as ever."""
    world.mail_host(aged.cut_off, "good")
    good = mta.send(aged.cut_off)
    world.mail_host(aged.cut_off, "wrong name")
    bad = mta.send(aged.cut_off)

    assert (good.status, good.tls(f"mx.{aged.cut_off}")) == ("sent", "Verified"), good
    assert (bad.status, bad.dsn) == ("deferred", "4.7.5"), bad
    assert bad.delay_reason is not None
    assert bad.receipts == ()
