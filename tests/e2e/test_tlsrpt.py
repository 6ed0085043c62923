"""The attributes of Postfix 3.10: MX hosts must match the patterns, and TLS reports."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.mta import PUBLIC, Mta
from tests.e2e.transcript import TIMEOUT
from tests.e2e.wires import PORT, SOCKETMAP_TCP, SOCKETMAP_UNIX, policy_maps
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=[SOCKETMAP_TCP, SOCKETMAP_UNIX])
def tlsrpt_mta(request: pytest.FixtureRequest, mtas: dict[str, Mta], daemon: Daemon) -> Mta:
    """Postfix 3.10 with the map name for TLS reports."""
    made = mtas["3.10"]
    made.use(policy_maps(request.param, PORT, "QUERYwithTLSRPT"))
    return made


@pytest.fixture
def collector(tlsrpt_mta: Mta) -> Iterator[socket.socket]:
    """The socket that receives Postfix's TLS sessions, one JSON datagram each."""
    path = tlsrpt_mta.sockets / "tlsrpt.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        made.settimeout(TIMEOUT)
        path.chmod(0o666)
        tlsrpt_mta.set(
            "smtp_tlsrpt_enable = yes", f"smtp_tlsrpt_socket_name = {PUBLIC}/tlsrpt.sock"
        )
        yield made
    path.unlink()
    tlsrpt_mta.set("smtp_tlsrpt_enable = no")


def test_the_attributes_are_accepted(tlsrpt_mta: Mta, world: World) -> None:
    """Mode enforce, a matching certificate: sent as Verified, without a warning."""
    domain = world.fresh("tlsrpt")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce", mx=[f"*.{domain}", f"mx.{domain}"])

    seen = tlsrpt_mta.send(domain)

    assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen
    # Only of smtp(8): after a reload cleanup(8) may warn that rewrite has ended.
    assert not [line for line in seen.log if "postfix/smtp[" in line and "warning" in line]
    assert seen.delay_reason is None


@pytest.mark.parametrize("sink", ["wrong name", "self-signed", "no STARTTLS"])
def test_an_mx_host_that_fails_the_policy_defers_mail(
    tlsrpt_mta: Mta, world: World, sink: str
) -> None:
    """Mode enforce, an MX host that fails the check: deferred."""
    domain = world.fresh("tlsrpt")
    world.mail_host(domain, sink)
    world.policy(domain, "enforce")

    seen = tlsrpt_mta.send(domain)

    assert seen.status == "deferred", seen
    assert seen.delay_reason is not None
    assert seen.receipts == ()


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_mail_is_sent_if_the_policy_is_not_enforced(
    tlsrpt_mta: Mta, world: World, mode: str
) -> None:
    """Mode testing, mode none: sent."""
    domain = world.fresh("tlsrpt")
    world.mail_host(domain, "wrong name")
    world.policy(domain, mode)

    seen = tlsrpt_mta.send(domain)

    assert seen.status == "sent", seen
    assert seen.delay_reason is None


def test_a_foreign_mx_host_is_refused_by_its_name(tlsrpt_mta: Mta, world: World) -> None:
    """An MX host that matches no pattern is not tried, although its certificate matches."""
    domain = world.fresh("foreign")
    world.mail_host(domain, "foreign", label="foreign")
    world.policy(domain, "enforce")

    seen = tlsrpt_mta.send(domain)

    assert seen.status == "deferred", seen
    assert seen.logged(f"MX name 'foreign.{domain}' does not match STS MX pattern"), seen.log
    assert seen.tls(f"foreign.{domain}") is None, seen.log
    assert seen.delay_reason is not None
    assert seen.receipts == ()


def test_the_policy_is_reported_as_declared(
    tlsrpt_mta: Mta, collector: socket.socket, world: World
) -> None:
    """Postfix's datagram has the policy's domain, its patterns and its lines."""
    domain = world.fresh("report")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce", mx=[f"*.{domain}", f"mx.{domain}"])
    world.wants_reports(domain)

    seen = tlsrpt_mta.send(domain)

    assert seen.status == "sent", seen
    report: dict[str, Any] = json.loads(collector.recv(65536))
    (policy,) = report["policies"]
    assert report["d"] == domain, report
    assert policy["policy-domain"] == domain, report
    assert policy["mx-host"] == [f"*.{domain}", f"mx.{domain}"]
    assert policy["policy-string"] == [
        "version: STSv1",
        "mode: enforce",
        f"mx: *.{domain}",
        f"mx: mx.{domain}",
        "max_age: 604800",
    ]
