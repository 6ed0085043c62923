"""The domains of a run: what each kind publishes, and how its servers behave.

The name of a domain says what it is: `plain7.g0.test` is the domain 7 of the kind `plain`. A
hundred domains of one kind share a certificate.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tests.torture.events import Policy, Verdict

HOUR: Final = 3600
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
PER_GROUP: Final = 100
SOME_LIFE: Final = 60
"""Seconds: the life of a verdict if the look-up of some hosts failed (`mtasts.verdict`)."""

LONGEST: Final = 200
"""The mx patterns that the daemon accepts in a policy."""

_NAME = re.compile(r"([a-z]+)(\d+)\.g\d+\.test")


class Host(enum.Enum):
    """How the Policy Host of a domain behaves."""

    GOOD = enum.auto()
    HOLE = enum.auto()
    """It accepts TCP and stays silent."""
    HANG = enum.auto()
    """It never answers the GET."""
    FLOOD = enum.auto()
    """Informational responses without end."""
    DRIP = enum.auto()
    """A byte now and then."""
    ENDLESS = enum.auto()
    """A body without end."""
    DHE = enum.auto()
    """TLS 1.2 with a Diffie-Hellman group of 8,192 bits."""


class Names(enum.Enum):
    """How the name servers of a domain behave."""

    GOOD = enum.auto()
    MALFORMED = enum.auto()
    """A TXT record without a character-string, as real resolvers pass it on."""
    MUTE = enum.auto()
    """No answer for the TXT record."""
    SERVFAIL = enum.auto()
    """SERVFAIL for the TXT record."""
    HALF = enum.auto()
    """Two MX hosts; SERVFAIL for the TLSA records of one, none for the other."""
    LOST = enum.auto()
    """No answer for the addresses of the MX host."""


@dataclass(frozen=True, slots=True)
class Site:
    """A domain as it is published now."""

    domain: str
    policy: Policy | None
    verdict: Verdict
    host: Host = Host.GOOD
    names: Names = Names.GOOD

    @property
    def hides_policy(self) -> bool:
        """Whether the daemon cannot be expected to find the policy."""
        hostile_names = self.names in {Names.MALFORMED, Names.MUTE, Names.SERVFAIL}
        too_long = self.policy is not None and len(self.policy.mx) > LONGEST
        return self.host is not Host.GOOD or hostile_names or too_long

    @property
    def hides_verdict(self) -> bool:
        """Whether the daemon cannot be expected to find the verdict."""
        return self.names in {Names.HALF, Names.LOST}

    def renewed(self) -> "Site":
        """The next version of its policy."""
        assert self.policy
        version = self.policy.version + 1
        mx = (f"mx{version}.{self.domain}",)
        return replace(self, policy=replace(self.policy, version=version, mx=mx))


@dataclass(frozen=True, slots=True)
class _Kind:
    mode: str | None = "enforce"
    verdict: str = "insecure"
    max_age: int = WEEK
    ttl: int = DAY
    host: Host = Host.GOOD
    names: Names = Names.GOOD


_KINDS: Final[Mapping[str, _Kind]] = {
    "plain": _Kind(),
    "short": _Kind(max_age=7200),
    "dane": _Kind(verdict="all"),
    "danish": _Kind(mode=None, verdict="all"),
    "some": _Kind(verdict="some", ttl=SOME_LIFE),
    "none": _Kind(verdict="none", ttl=HOUR),
    "testing": _Kind(mode="testing"),
    "off": _Kind(mode="none"),
    "absent": _Kind(mode=None),
    "tarpit": _Kind(),
    "silent": _Kind(verdict="all", host=Host.HOLE),
    "hole": _Kind(host=Host.HOLE),
    "hang": _Kind(host=Host.HANG),
    "flood": _Kind(host=Host.FLOOD),
    "drip": _Kind(host=Host.DRIP),
    "endless": _Kind(host=Host.ENDLESS),
    "dhe": _Kind(host=Host.DHE),
    "huge": _Kind(),
    "wide": _Kind(),
    "malformed": _Kind(mode=None, names=Names.MALFORMED),
    "mute": _Kind(mode=None, names=Names.MUTE),
    "fail": _Kind(mode=None, names=Names.SERVFAIL),
    "half": _Kind(mode=None, verdict="some", ttl=SOME_LIFE, names=Names.HALF),
    "lost": _Kind(verdict="all", names=Names.LOST),
}

_MX_COUNTS: Final = {"huge": 2_400, "wide": LONGEST}
"""How many mx patterns a policy has, if not one; 2,400 are nearly 64 KiB."""

KNOWN: Final[Mapping[str, int]] = {
    "plain": 40,
    "short": 15,
    "dane": 15,
    "danish": 8,
    "some": 6,
    "none": 6,
    "testing": 5,
    "off": 3,
    "absent": 12,
}
"""The domains that are asked for without pause, by kind."""
TARPITS: Final = 360
"""More than the rechecks that may be under way at once (`resolver.recheck_queue`)."""
HEALTHY: Final = ("plain", "dane", "danish", "none", "absent", "plain", "plain", "silent")
"""The kinds of new domains that have a right answer."""
HOSTILE: Final = (
    "hole",
    "hang",
    "flood",
    "drip",
    "endless",
    "dhe",
    "huge",
    "malformed",
    "malformed",
    "mute",
    "fail",
    "half",
    "lost",
)


def name(kind: str, number: int) -> str:
    """The domain with this number."""
    return f"{kind}{number}.g{number // PER_GROUP}.test"


def group(domain: str) -> tuple[str, ...]:
    """The domains that share a certificate with this one."""
    kind, number = _parts(domain)
    first = number - number % PER_GROUP
    return tuple(name(kind, n) for n in range(first, first + PER_GROUP))


def site(domain: str) -> Site:
    """What a domain publishes at the start; raises `ValueError` for the name of no domain."""
    kind = _KINDS[_parts(domain)[0]]
    verdict = Verdict(1, kind.verdict, kind.ttl)
    if kind.mode is None:
        return Site(domain, None, verdict, kind.host, kind.names)
    count = _MX_COUNTS.get(_parts(domain)[0])
    mx = tuple(f"m{n}.{domain}" for n in range(count)) if count else (f"mx1.{domain}",)
    policy = Policy(1, kind.mode, mx, kind.max_age)
    return Site(domain, policy, verdict, kind.host, kind.names)


def known_domains() -> list[str]:
    """The domains that are asked for without pause."""
    return [name(kind, n) for kind, count in KNOWN.items() for n in range(count)]


def _parts(domain: str) -> tuple[str, int]:
    match = _NAME.fullmatch(domain)
    if match is None or match[1] not in _KINDS:
        raise ValueError(f"no domain of this run: {domain}")
    return match[1], int(match[2])
