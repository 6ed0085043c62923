"""The domains as they are published now, and what the run is told of them.

`names` and `hosts` serve from it; the schedule changes it. Domains are made when they are first
asked for, since their names say what they publish.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.support.dns import Fault, Records
from tests.torture import domains
from tests.torture.domains import Host, Names, Site
from tests.torture.events import Event, PolicyServed, Published, VerdictServed

GOOD_ADDRESS: Final = "127.0.0.1"
ADDRESSES: Final = {Host.HOLE: "127.0.0.3", Host.DHE: "127.0.0.4"}
"""Where Policy Hosts are that are hostile before HTTP starts."""
TXT_TTL: Final = 60

_TLSA: Final = ("3 1 1 " + "ab" * 32,)
_SECURE_KINDS: Final = frozenset({"all", "some", "none"})


class World:
    """All domains; `tell` receives an event for each change and each response."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._sites: dict[str, Site] = {}

    def site(self, domain: str) -> Site | None:
        """What a domain publishes; None if there is no such domain in this run."""
        if domain not in self._sites:
            try:
                self.publish(domains.site(domain))
            except ValueError:
                return None
        return self._sites[domain]

    def publish(self, site: Site) -> None:
        """Publish this from now on."""
        self._sites[site.domain] = site
        self._tell(
            Published(
                time.monotonic(),
                site.domain,
                site.policy,
                site.verdict,
                hides_policy=site.hides_policy,
                hides_verdict=site.hides_verdict,
            )
        )

    def renew(self, domain: str) -> None:
        """Give a domain another policy with another id."""
        if (site := self.site(domain)) and site.policy:
            self.publish(site.renewed())

    def hold(self, domain: str) -> None:
        """Give a domain another id, and a Policy Host that does not answer any more."""
        if (site := self.site(domain)) and site.policy:
            self.publish(replace(site.renewed(), host=Host.HANG))

    def policy_served(self, domain: str, version: int) -> None:
        """The Policy Host has sent a policy."""
        self._tell(PolicyServed(time.monotonic(), domain, version))

    def records(self, owner: str, kind: str) -> Records | Fault | None:
        """The answer to a DNS query; None: the name does not exist."""
        if owner == ".":
            return Records(["a. b. 1 2 3 4 5"]) if kind == "SOA" else Fault.NODATA
        prefix, site = self._find(owner)
        return self._below(site, prefix, kind) if site else None

    def is_signed(self, owner: str) -> bool:
        """Whether DNSSEC proves what is at a name, or that nothing is."""
        if owner == ".":
            return True
        _, site = self._find(owner)
        return site is not None and site.verdict.kind in _SECURE_KINDS

    def _find(self, owner: str) -> tuple[str, Site | None]:
        """The labels before the domain that a name belongs to, and that domain."""
        labels = owner.split(".")
        return ".".join(labels[:-3]), self.site(".".join(labels[-3:]))

    def _below(self, site: Site, prefix: str, kind: str) -> Records | Fault | None:
        """The answer for a name below a domain."""
        match prefix:
            case "":
                return self._mx(site) if kind == "MX" else Fault.NODATA
            case "_mta-sts":
                return _txt(site, kind)
            case "mta-sts" if site.policy:
                return _address(ADDRESSES.get(site.host, GOOD_ADDRESS), kind)
            case "mx1" | "mx2":
                lost = site.names is Names.LOST
                return Fault.SILENCE if lost else _address(GOOD_ADDRESS, kind)
            case "_25._tcp.mx1" | "_25._tcp.mx2":
                return _tlsa(site, prefix, kind)
        return None

    def _mx(self, site: Site) -> Records:
        self._tell(VerdictServed(time.monotonic(), site.domain, site.verdict.version))
        hosts = ["mx1", "mx2"] if site.verdict.kind == "some" else ["mx1"]
        records = [f"{n}0 {host}.{site.domain}." for n, host in enumerate(hosts, 1)]
        return Records(records, ttl=site.verdict.life)


def _txt(site: Site, kind: str) -> Records | Fault | None:
    if kind != "TXT":
        return Fault.NODATA
    match site.names:
        case Names.MALFORMED:
            return Records([r"\# 0"], ttl=TXT_TTL)
        case Names.MUTE:
            return Fault.SILENCE
        case Names.SERVFAIL:
            return Fault.SERVFAIL
    if site.policy is None:
        return None
    return Records([f'"v=STSv1; id={site.policy.policy_id};"'], ttl=TXT_TTL)


def _address(address: str, kind: str) -> Records | Fault:
    return Records([address], ttl=domains.DAY) if kind == "A" else Fault.NODATA


def _tlsa(site: Site, prefix: str, kind: str) -> Records | Fault | None:
    if site.names is Names.HALF:
        return Fault.SERVFAIL if prefix.endswith("mx1") else None
    if site.verdict.kind not in {"all", "some"} or prefix.endswith("mx2"):
        return None
    return Records(_TLSA, ttl=site.verdict.life) if kind == "TLSA" else Fault.NODATA
