"""The dress that only Postfix 3.10 takes: MX hosts held to the patterns, and words for TLSRPT."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.mta import PUBLIC, Mta
from tests.e2e.transcript import PATIENCE
from tests.e2e.wires import PORT, SOCKETMAP_TCP, SOCKETMAP_UNIX, policy_maps
from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=[SOCKETMAP_TCP, SOCKETMAP_UNIX])
def dressed(request: pytest.FixtureRequest, mtas: dict[str, Mta], daemon: Daemon) -> Mta:
    """Postfix 3.10, asking by the map name of TLSRPT."""
    made = mtas["3.10"]
    made.use(policy_maps(request.param, PORT, "QUERYwithTLSRPT"))
    return made


@pytest.fixture
def collector(dressed: Mta) -> Iterator[socket.socket]:
    """Where Postfix reports its TLS sessions, a datagram of JSON each."""
    path = dressed.sockets / "tlsrpt.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        made.settimeout(PATIENCE)
        path.chmod(0o666)
        dressed.set("smtp_tlsrpt_enable = yes", f"smtp_tlsrpt_socket_name = {PUBLIC}/tlsrpt.sock")
        yield made
    path.unlink()
    dressed.set("smtp_tlsrpt_enable = no")


def test_the_dress_is_taken(dressed: Mta, world: World) -> None:
    """Mode enforce, a fitting certificate: sent as Verified, without a word of complaint."""
    domain = world.fresh("dress")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce", mx=[f"*.{domain}", f"mx.{domain}"])

    seen = dressed.send(domain)

    assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen
    # Of smtp(8), that is: after a reload cleanup(8) may warn that rewrite has gone.
    assert not [line for line in seen.log if "postfix/smtp[" in line and "warning" in line]
    assert seen.delay_reason is None


@pytest.mark.parametrize("sink", ["wrong name", "self-signed", "no STARTTLS"])
def test_the_dress_holds_back_what_it_must(dressed: Mta, world: World, sink: str) -> None:
    """Mode enforce, an MX host that fails it: deferred."""
    domain = world.fresh("dress")
    world.mail_host(domain, sink)
    world.policy(domain, "enforce")

    seen = dressed.send(domain)

    assert seen.status == "deferred", seen
    assert seen.delay_reason is not None
    assert seen.receipts == ()


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_the_dress_is_not_worn_where_nothing_is_enforced(
    dressed: Mta, world: World, mode: str
) -> None:
    """Mode testing, mode none: sent."""
    domain = world.fresh("dress")
    world.mail_host(domain, "wrong name")
    world.policy(domain, mode)

    seen = dressed.send(domain)

    assert seen.status == "sent", seen
    assert seen.delay_reason is None


def test_a_foreign_mx_host_is_refused_by_its_name(dressed: Mta, world: World) -> None:
    """An MX host outside the patterns is not even tried, though its certificate would fit."""
    domain = world.fresh("foreign")
    world.mail_host(domain, "foreign", label="foreign")
    world.policy(domain, "enforce")

    seen = dressed.send(domain)

    assert seen.status == "deferred", seen
    assert seen.said(f"MX name 'foreign.{domain}' does not match STS MX pattern"), seen.log
    assert seen.tls(f"foreign.{domain}") is None, seen.log
    assert seen.delay_reason is not None
    assert seen.receipts == ()


def test_the_policy_is_reported_as_declared(
    dressed: Mta, collector: socket.socket, world: World
) -> None:
    """What Postfix hands to TLSRPT has the policy's domain, its patterns and its very lines."""
    domain = world.fresh("report")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce", mx=[f"*.{domain}", f"mx.{domain}"])
    world.wants_reports(domain)

    seen = dressed.send(domain)

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
