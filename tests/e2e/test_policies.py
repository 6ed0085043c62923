"""The effect of a policy on mail: each mode, each fault of an MX host, over each protocol."""

import pytest

from tests.e2e.mta import Mta
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

FAULTS = {
    "wrong name": ("4.7.5", "Server certificate not verified", "hostname mismatch"),
    "expired": ("4.7.5", "Server certificate not verified", "certificate has expired"),
    "self-signed": ("4.7.5", "Server certificate not verified", "self-signed certificate"),
    "no STARTTLS": ("4.7.4", "TLS is required, but was not offered", "TLS is required"),
}
"""Sink → status code, reason, and another text in Postfix's log."""
NO_ENGINE = ("4.7.5", "TLS is required, but our TLS engine is unavailable")


def test_enforced_mail_goes_out_verified(wired: Mta, world: World) -> None:
    """Mode enforce, a matching certificate: sent as Verified, with the MX host as SNI."""
    domain = world.fresh("good")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce")

    seen = wired.send(domain)

    assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen
    assert seen.delay_reason is None
    assert [(r.sink, r.sni) for r in seen.receipts] == [("good", f"mx.{domain}")]


@pytest.mark.parametrize("sink", FAULTS)
def test_enforced_mail_waits_while_the_mx_host_is_at_fault(
    wired: Mta, world: World, sink: str
) -> None:
    """Mode enforce, an MX host that fails the check: deferred, and nothing is delivered."""
    domain = world.fresh("fault")
    world.mail_host(domain, sink)
    world.policy(domain, "enforce")
    dsn, why, logged = FAULTS[sink]

    seen = wired.send(domain)

    assert (seen.status, seen.dsn) == ("deferred", dsn), seen
    assert why in seen.why
    assert seen.logged(logged), seen.log
    assert seen.delay_reason is not None
    assert why in seen.delay_reason
    assert seen.receipts == ()


@pytest.mark.parametrize("sink", ["wrong name", "no STARTTLS"])
@pytest.mark.parametrize("mode", ["testing", "none", None])
def test_unenforced_mail_goes_out_as_before(
    wired: Mta, world: World, mode: str | None, sink: str
) -> None:
    """Mode testing, mode none, no policy: sent with any TLS, or none."""
    domain = world.fresh("free")
    world.mail_host(domain, sink)
    if mode:
        world.policy(domain, mode)

    seen = wired.send(domain)

    assert seen.status == "sent", seen
    assert seen.tls(f"mx.{domain}") == (None if sink == "no STARTTLS" else "Trusted")
    assert seen.delay_reason is None
    assert [r.sink for r in seen.receipts] == [sink]


def test_mail_does_not_follow_an_mx_record_away_from_the_policy(wired: Mta, world: World) -> None:
    """An MX host outside the policy, with a good certificate for its own name: deferred."""
    domain = world.fresh("stray")
    world.mail_host(domain, "good", label="foreign")
    world.policy(domain, "enforce")

    seen = wired.send(domain)

    assert (seen.status, seen.dsn) == ("deferred", "4.7.5"), seen
    assert seen.logged("hostname mismatch"), seen.log
    assert seen.delay_reason is not None
    assert seen.receipts == ()


def test_a_wildcard_stands_for_one_label(wired: Mta, world: World) -> None:
    """`mx: *.DOMAIN` matches mx.DOMAIN."""
    domain = world.fresh("wild")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce", mx=[f"*.{domain}"])

    seen = wired.send(domain)

    assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen
    assert seen.delay_reason is None


@pytest.mark.parametrize(("sink", "status"), [("good", "sent"), ("wrong name", "deferred")])
@pytest.mark.parametrize("spelling", ["U-label", "A-label"])
def test_an_international_domain_has_a_policy(
    wired: Mta, world: World, spelling: str, sink: str, status: str
) -> None:
    """A recipient at a domain in any script: the policy of its A-label is enforced."""
    name = world.fresh("bücher")
    domain = name.encode("idna").decode()
    world.mail_host(domain, sink)
    world.policy(domain, "enforce")

    seen = wired.send(name if spelling == "U-label" else domain)

    assert seen.status == status, seen
    assert (seen.tls(f"mx.{domain}") == "Verified") == (status == "sent"), seen.log
    assert (seen.delay_reason is None) == (status == "sent")
    assert len(seen.receipts) == (status == "sent")


def test_a_ca_file_that_is_missing(wired: Mta, world: World) -> None:
    """Postfix turns TLS off: a policy holds mail, other mail goes out in plain text."""
    held, free = world.fresh("held"), world.fresh("free")
    for domain in (held, free):
        world.mail_host(domain, "good")
    world.policy(held, "enforce")
    wired.set("smtp_tls_CAfile = /etc/postfix/missing.pem")
    try:
        seen, plain = wired.send(held), wired.send(free)
    finally:
        wired.set("smtp_tls_CAfile = /etc/postfix/ca.pem")

    assert (seen.status, seen.dsn, seen.why) == ("deferred", *NO_ENGINE), seen
    assert (plain.status, plain.tls(f"mx.{free}")) == ("sent", None), plain
