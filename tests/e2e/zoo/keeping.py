"""Publish domains of the zoo under fresh names, and see what Postfix does with their mail."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.servers import POLICY_HOST, POSTFIX_DNS
from tests.e2e.world import World
from tests.e2e.zoo.animal import Animal, Mx, Policy
from tests.e2e.zoo.kinds import IPV4, IPV6, REFUSES

ALWAYS: Final = (
    "inet_protocols = all",
    # A host that does not answer holds the zoo up for so long.
    "smtp_connect_timeout = 3s",
    "smtp_helo_timeout = 3s",
    "smtp_starttls_timeout = 3s",
    "smtp_quit_timeout = 3s",
)
"""Lines of main.cf."""
MAIN_CF: Final[Mapping[str, str]] = {
    "smtp_tls_policy_maps": "{maps}",
    "smtp_tls_security_level": "may",
    "smtp_dns_support_level": "",
    "smtp_tls_servername": "",
    "smtp_tls_secure_cert_match": "nexthop, dot-nexthop",
    "smtp_mx_address_limit": "5",
    "smtp_address_preference": "any",
}
"""Parameters of most domains; `{maps}` is the table of the daemon."""
SIGNED: Final = {"smtp_tls_security_level": "dane", "smtp_dns_support_level": "dnssec"}
"""What is different in signed zones."""


@dataclass(frozen=True, slots=True)
class Place:
    """A domain of the zoo under a fresh name."""

    animal: Animal
    domain: str
    """A-labels."""
    recipient: str
    next_hop: str
    """As Postfix asks its policy map."""

    @property
    def route(self) -> str:
        """Its entry in transport_maps; empty: none."""
        own = self.recipient.partition("@")[2]
        return f", {{{own} = smtp:{self.next_hop}}}" if self.animal.next_hop else ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What Postfix did with a message, as it logged it."""

    status: str
    dsn: str
    text: str


def open_zoo(inside: Namespace, world: World) -> None:
    """Start the MX hosts, with a DNS that claims to be signed outside `test`."""
    for address in IPV6.values():
        inside.add_address(f"{address}/128")
    world.ttl = 3_600  # the renewals of hundreds of domains would overload the DNS, each minute
    world.records({". SOA": ["ns.test. root.test. 1 7200 900 1209600 60"], ". NS": ["ns.test."]})
    world.sign(["."], ["test"])
    world.open_zoo()


def prepare(mta: Mta, world: World) -> None:
    """Let Postfix ask the DNS for seconds only, and read the CA file where others find it, too."""
    mta.resolve(POSTFIX_DNS, "timeout:1 attempts:1")
    inside = mta.root / world.ca_file.relative_to("/")
    inside.parent.mkdir(parents=True)
    shutil.copy(world.ca_file, inside)
    mta.set(f"smtp_tls_CAfile = {world.ca_file}")


def settle(world: World, animal: Animal) -> Place:
    """Publish a domain under a fresh name."""
    fresh = world.fresh(animal.label or animal.name.replace(".", "-"))
    if animal.is_single_label:
        fresh = fresh.removesuffix(".test")
    domain = fresh.encode("idna").decode()

    def named(text: str) -> str:
        return text.replace("{d}", fresh).replace("{D}", fresh.upper())

    _publish(world, animal, domain)
    recipient = f"{fresh.partition('.')[0].encode('idna').decode()}@{named(animal.recipient)}"
    next_hop = named(animal.next_hop or animal.recipient)
    return Place(animal, domain, recipient, next_hop)


def break_down(world: World, place: Place, fetch: Callable[[str], object]) -> None:
    """Break what is broken only after the daemon has fetched the policy, by `fetch`."""
    if place.animal.policy and place.animal.policy.is_cached:
        fetch(place.domain)
        _policy_host(world, place.domain, place.animal.policy)


def parameters(animal: Animal) -> Mapping[str, str]:
    """Return the parameters of Postfix for a domain."""
    return {**MAIN_CF, **(SIGNED if animal.signed else {}), **dict(animal.main_cf)}


def by_parameters(animals: Sequence[Animal]) -> Sequence[Sequence[Animal]]:
    """Group domains by what they need in main.cf."""
    groups: dict[tuple[object, ...], list[Animal]] = {}
    for animal in animals:
        key = tuple(parameters(animal).items())
        own = animal.name if any("{d}" in value for _, value in key) else ""
        groups.setdefault((own, *key), []).append(animal)
    return list(groups.values())


def configure(mta: Mta, policy_maps: str, places: Sequence[Place]) -> None:
    """Set main.cf for domains that have the same parameters; those with `{d}` are for one."""
    domain = places[0].domain
    mta.set(
        *(
            f"{name} = {value.replace('{maps}', policy_maps).replace('{d}', domain)}"
            for name, value in parameters(places[0].animal).items()
        ),
        f"transport_maps = inline:{{{{other.test = smtp:}}{''.join(p.route for p in places)}}}",
    )


def deliver(mta: Mta, places: Sequence[Place]) -> Mapping[str, Seen]:
    """Send a message to each, all at once, and return what happened: name → outcome."""
    mark = mta.log.mark
    script = (
        'for each; do printf "Subject: zoo\\n\\n" | sendmail -f sender@relay.test "$each"; done'
    )
    mta.run("sh", "-c", script, "sh", *(place.recipient for place in places))
    return {place.animal.name: _outcome(mta, place, mark) for place in places}


def _outcome(mta: Mta, place: Place, mark: int) -> Seen:
    recipient = re.escape(place.recipient)
    pattern = rf": to=<{recipient}>,.* dsn=([\d.]+), status=(\w+) \((.*)\)"
    dsn, status, text = mta.log.wait(pattern, mark).groups()
    return Seen(status, dsn, text)


def _publish(world: World, animal: Animal, domain: str) -> None:
    def named(text: str) -> str:
        return text.replace("{d}", domain)

    records: dict[str, Sequence[str]] = {}
    for number, mx in enumerate(animal.mx, 1):
        host = named(mx.name)
        records.setdefault(f"{domain} MX", [])
        records[f"{domain} MX"] = [*records[f"{domain} MX"], f"{10 * number} {host}."]
        records |= _addresses(host, mx)
        if mx.tlsa:
            records[f"_25._tcp.{host} TLSA"] = _tlsa(world, host, mx)
    if animal.policy:
        records[f"_mta-sts.{domain} TXT"] = ['"v=STSv1; id=1;"']
        _policy(world, domain, animal)
    faults = {}
    for key, data in animal.records.items():
        if isinstance(data, str):
            faults[named(key)] = data
        else:
            records[named(key)] = [IPV4.get(each, named(each)) for each in data]
    world.records(records)
    world.faults(faults)
    if animal.signed:
        world.sign(
            [named(each) for each in animal.secure], [named(each) for each in animal.insecure]
        )


def _addresses(host: str, mx: Mx) -> dict[str, Sequence[str]]:
    if not mx.kind:
        return {}
    records: dict[str, Sequence[str]] = {}
    if "4" in mx.families:
        records[f"{host} A"] = [IPV4[mx.kind]]
    if "6" in mx.families:
        records[f"{host} AAAA"] = [IPV6[mx.kind]]
    return records


def _tlsa(world: World, host: str, mx: Mx) -> list[str]:
    return [
        each
        if isinstance(each, str)
        else world.zoo_tlsa(each[3] if len(each) > 3 else mx.kind, host, each[:3])
        for each in mx.tlsa
    ]


def _policy(world: World, domain: str, animal: Animal) -> None:
    policy = animal.policy
    assert policy
    names = [mx.name for mx in animal.mx] if policy.mx is None else policy.mx
    lines = ["version: STSv1", f"mode: {policy.mode}", *(f"mx: {name}" for name in names)]
    body = "\r\n".join([*lines, "max_age: 604800", ""]) if policy.body is None else policy.body
    fields = {name: value.replace("{d}", domain) for name, value in policy.fields.items()}
    world.serve(
        domain,
        body.replace("{d}", domain),
        status=policy.status,
        fields=fields,
        certificate=policy.certificate,
    )
    if policy.is_cached:
        world.records({f"mta-sts.{domain} A": [POLICY_HOST]})
    else:
        _policy_host(world, domain, policy)


def _policy_host(world: World, domain: str, policy: Policy) -> None:
    address = IPV4[REFUSES] if policy.is_down else POLICY_HOST
    world.records({f"mta-sts.{domain} A": [address]})
