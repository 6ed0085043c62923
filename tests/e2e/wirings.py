"""Domains whose policies an MTA other than Postfix must enforce, and domains that it must not hold.

The tests of docs/wiring/exim.md and sendmail.md send a message to each. The sink says what arrived.
"""

from dataclasses import dataclass
from typing import Final

from tests.e2e.sinks import SINKS, Receipt
from tests.e2e.world import World


@dataclass(frozen=True, slots=True)
class Case:
    """A domain with one MX host, and what becomes of mail to it."""

    name: str
    is_held: bool
    sink: str = "good"
    mode: str = "enforce"
    """Of its policy; empty: it has none."""
    mx: str = ""
    """What the policy names, `DOMAIN` standing for the domain; empty: `mx.DOMAIN`."""
    label: str = "mx"
    """Of the MX host."""

    def publish(self, world: World) -> str:
        """Publish a fresh domain, and return it."""
        domain = world.fresh(self.name.replace(" ", "-"))
        world.mail_host(domain, self.sink, label=self.label)
        if self.mode:
            names = [self.mx.replace("DOMAIN", domain)] if self.mx else []
            world.policy(domain, self.mode, mx=names)
        return domain


CASES: Final = (
    Case("good", is_held=False),
    Case("wildcard", is_held=False, mx="*.DOMAIN"),
    Case("wildcard of one label only", is_held=True, mx="*.DOMAIN", label="a.b"),
    Case("host that the policy does not name", is_held=True, mx="other.DOMAIN"),
    Case("wrong name", is_held=True, sink="wrong name"),
    Case("expired", is_held=True, sink="expired"),
    Case("self signed", is_held=True, sink="self-signed"),
    Case("no tls", is_held=True, sink="no STARTTLS"),
    Case("testing expired", is_held=False, sink="expired", mode="testing"),
    Case("testing no tls", is_held=False, sink="no STARTTLS", mode="testing"),
    Case("plain self signed", is_held=False, sink="self-signed", mode=""),
    Case("plain no tls", is_held=False, sink="no STARTTLS", mode=""),
)


def publish_neighbours(world: World) -> tuple[str, str]:
    """Publish a domain without a policy and one with it, at one host; return both.

    The host's certificate is self-signed, and has its name also for a client without SNI. Sendmail
    sorts recipients by domain: the first opens the connection.
    """
    without, with_policy = world.fresh("a-plain-neighbour"), world.fresh("neighbour")
    host = "no-sni.test"
    for domain in (without, with_policy):
        world.records({f"{domain} MX": [f"10 {host}."]})
    world.records({f"{host} A": [SINKS["self-signed"][0]]})
    world.policy(with_policy, "enforce", mx=[host])
    return without, with_policy


def publish_second_host(world: World) -> tuple[str, str]:
    """Publish a domain whose first MX host has expired, and its second not; return it and that."""
    domain = world.fresh("second-host")
    hosts = [f"mx1.{domain}", f"mx2.{domain}"]
    world.policy(domain, "enforce", mx=hosts)
    world.records({
        f"{domain} MX": [f"{10 * n} {host}." for n, host in enumerate(hosts, 1)],
        f"{hosts[0]} A": [SINKS["expired"][0]],
        f"{hosts[1]} A": [SINKS["good"][0]],
    })  # fmt: skip
    return domain, hosts[1]


def received(world: World, domain: str) -> list[Receipt]:
    """Return what arrived at a domain."""
    return world.receipts(f"@{domain}")
