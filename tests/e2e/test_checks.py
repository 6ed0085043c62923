"""The daemon's checks of mail servers, in a trial: what the owner of a domain can have them do."""

import socket
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.network.mail_hosts import MAX_HOSTS
from postfix_mta_sts.postfix.smtp_client.delivery import MAX_TARGETS
from postfix_mta_sts.resolver.check_schedule import CHECKS_AT_ONCE
from tests.e2e.daemon import Daemon, running
from tests.e2e.namespace import Namespace
from tests.e2e.packets import packets
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.transcript import TIMEOUT
from tests.e2e.wires import PORT
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(300)

HOSTS: Final = 60
ADDRESSES: Final = 4
"""Of each host."""
DOMAINS: Final = 30
VICTIM: Final = "127.0.8.1"
REPEATED: Final = 20
OTHER_QUERIES: Final = 10
"""For the record, the Policy Host, the MX records, and what is asked at the start."""


@pytest.fixture
def checking(
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
    request: pytest.FixtureRequest,
) -> Daemon:
    """A daemon in a trial, for one test; it does not run yet."""
    settings: dict[str, object] = {
        "listen": [{"socketmap": f"127.0.0.1:{PORT}"}],
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "dane": {"mode": "off"},
        "https": {"ca_file": str(own_world.ca_file), "allow_private_addresses": True},
        "trial": {"enabled": True},
        "log": {"level": "debug"},
    }
    name = f"checking-{request.node.name}"
    return Daemon(own_namespace, folder / name[:40], logs / f"daemon-{name}.log", settings)


def test_one_domain(own_namespace: Namespace, own_world: World, checking: Daemon) -> None:
    """Many hosts with many addresses, asked for often: one check, of some addresses, once each."""
    domain = own_world.fresh("hostile")
    own_world.policy(domain, "enforce", mx=[f"*.{domain}"])
    hosts = [f"mx{number}.{domain}" for number in range(HOSTS)]
    own_world.records({f"{domain} MX": [f"10 {host}." for host in hosts]})
    for number, host in enumerate(hosts):
        first = ADDRESSES * number
        own_world.records({f"{host} A": [f"127.0.9.{first + n}" for n in range(ADDRESSES)]})

    with packets(own_namespace) as seen, running(checking):
        replies = {_ask(checking, domain) for _ in range(REPEATED)}
        checking.log.wait(rf" {domain}: mail servers checked ")
        replies |= {_ask(checking, domain) for _ in range(REPEATED)}

    connections = seen.connections(25)
    assert replies == {"NOTFOUND "}
    assert 0 < len(connections) <= MAX_TARGETS
    assert len(set(connections)) == len(connections)
    assert len(seen.connections(443)) == 1
    assert seen.datagrams(53) <= 2 * MAX_HOSTS + OTHER_QUERIES


def test_many_domains(own_namespace: Namespace, own_world: World, checking: Daemon) -> None:
    """Many domains that name the same host: it gets one connection for each, some at a time."""
    parent = own_world.fresh("many")
    domains = [f"d{number}.{parent}" for number in range(DOMAINS)]
    own_world.records({f"mx.{parent} A": [VICTIM]})
    for domain in domains:
        own_world.records({f"{domain} MX": [f"10 mx.{parent}."]})
        own_world.policy(domain, "enforce", mx=[f"mx.{parent}"])

    with own_namespace.listen(VICTIM, 25) as victim, packets(own_namespace) as seen:
        victim.settimeout(TIMEOUT)
        with running(checking):
            replies = {_ask(checking, domain) for domain in domains}
            first = [victim.accept()[0] for _ in range(CHECKS_AT_ONCE)]
            for domain in domains:
                checking.log.wait(rf" {domain}: policy fetched ")
            replies |= {_ask(checking, domain) for domain in domains}
            at_once = len(seen.connections(25))
            for connection in first:
                _refuse(connection)
            for _ in domains[CHECKS_AT_ONCE:]:
                _refuse(victim.accept()[0])
            for domain in domains:
                checking.log.wait(rf" {domain}: mail servers checked ")

    assert replies == {"NOTFOUND "}
    assert at_once == CHECKS_AT_ONCE
    assert seen.connections(25) == [VICTIM] * DOMAINS


def _refuse(connection: socket.socket) -> None:
    with connection:
        connection.sendall(b"554 5.7.1 go away\r\n")


def _ask(daemon: Daemon, domain: str) -> str:
    return daemon.ask(PORT, f"postfix {domain}")
