"""What a domain of the zoo consists of.

In all texts `{d}` stands for the domain, whose name is fresh in every try. Without more, a domain
has one MX host `mx.{d}`, which is good, and a policy in mode enforce that names its MX hosts.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Data = Sequence[str] | str
"""Data of a record, empty: none; or the name of a `tests.support.dns.Fault`."""


Tlsa = tuple[int, int, int] | tuple[int, int, int, str] | str
"""A right TLSA record: usage, selector, matching type, and the kind of another host whose
certificate it fits; or data as it is."""


class Wish(enum.StrEnum):
    """What RFC 8461 wants a sender to do with mail for a domain."""

    DELIVER = "deliver"
    HOLD = "not deliver"
    NOTHING = "no rule"
    """There is no policy to follow, or no MX host gets as far as TLS with this Postfix."""
    DANE = "leave it to DANE"
    """§2: a policy must not override DANE."""


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX host; the n-th has the preference 10·n."""

    kind: str
    """A key of `hosts.IPV4`, or empty: it has no address."""
    name: str = "mx.{d}"
    families: str = "4"
    tlsa: tuple[Tlsa, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy file, and how it is served."""

    mode: str = "enforce"
    mx: tuple[str, ...] | None = None
    """None: all MX hosts."""
    body: str | None = None
    """The whole file instead."""
    status: int = 200
    fields: Mapping[str, str] = field(default_factory=lambda: {"content_type": "text/plain"})
    certificate: str = "good"
    """Of the Policy Host: a kind of MX host that has the certificate."""
    is_down: bool = False
    """The Policy Host refuses connections."""
    is_cached: bool = False
    """The daemon fetched the policy while all was well."""


@dataclass(frozen=True, slots=True)
class Animal:
    """One domain; a table has `what` as it is."""

    name: str
    what: str
    rfc: Wish = Wish.HOLD
    mx: tuple[Mx, ...] = (Mx("good"),)
    policy: Policy | None = Policy()
    records: Mapping[str, Data] = field(default_factory=dict)
    """Records beside those of `mx` and `policy`, or in their place."""
    signed: bool = False
    """Whether DNSSEC proves its records; Postfix then has level `dane`."""
    main_cf: tuple[tuple[str, str], ...] = ()
    """Other parameters of Postfix than those of the rest, all of them keys of keeping.MAIN_CF."""
    secure: tuple[str, ...] = ("{d}",)
    """The names at and below which it does, if it is signed."""
    insecure: tuple[str, ...] = ()
    """Names below them where it does not."""
    label: str = ""
    """The first label of the domain, if `name` is not."""
    is_single_label: bool = False
    recipient: str = "{d}"
    """The part behind the @."""
    next_hop: str = ""
    """Where transport_maps sends the mail."""


def mx_hosts(*kinds: str) -> tuple[Mx, ...]:
    """One MX host of each kind: mx1, mx2, and so on."""
    return tuple(Mx(kind, f"mx{n}.{{d}}") for n, kind in enumerate(kinds, 1))
