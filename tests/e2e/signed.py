"""Signs zones, with NSEC or NSEC3, right or wrong in one way.

No I/O: records in, zone files and a trust anchor out. Every zone has one new P-256 key (algorithm
13) for all its signatures, and is delegated from the closest zone above it among those given.
"""

import datetime as dt
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.transaction
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssec import make_dnskey
from dns.dnssectypes import Algorithm
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.dnskeybase import Flag

TTL: Final = 60
"""Seconds, of every record and every denial."""

_SIGNED: Final = (-dt.timedelta(days=1), dt.timedelta(days=30))
# unbound accepts a tenth of a signature's life more, up to a day (val-sig-skew-max).
_EXPIRED: Final = (-dt.timedelta(days=60), -dt.timedelta(days=30))

OPAQUE: Final = r"\# "
"""The prefix of data in hexadecimal, which may be malformed (cf. RFC 3597 §5)."""

Records = Mapping[str, Sequence[str]]
"""`"name TYPE"`, the name without a final dot, → data in zone file notation."""

_Pair = tuple[dns.dnssec.PrivateKey, DNSKEY]


class Signing(enum.Enum):
    """How a zone is signed, and how it proves that something is not there."""

    NSEC = enum.auto()
    NSEC3 = enum.auto()
    """No opt-out, no salt, no further iterations (RFC 9276)."""
    EXPIRED = enum.auto()
    """By NSEC, with signatures that expired a month ago."""
    NONE = enum.auto()
    """Unsigned, without a DS record in the parent: an insecure delegation."""


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone; its records do not include SOA, NS, DNSKEY and delegations."""

    name: str
    records: Records
    signing: Signing = Signing.NSEC
    spoilt: Records = field(default_factory=dict)
    """Records that replace the signed ones after signing."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Signed zones, ready to be served."""

    files: Mapping[str, str]
    """Zone name without a final dot, "" for the root → master file."""
    anchor: str
    """The root's DS record, for a resolver's trust anchor file."""


def tree(zones: Sequence[Zone], server: str) -> Tree:
    """Sign the zones, which include the root; `server` is the name server of all of them."""
    keys = {zone.name: _Key.made() for zone in zones}
    files = {}
    for zone in zones:
        below = [each for each in zones if _parent(each, zones) is zone]
        files[zone.name] = _file(zone, keys, below, server)
    return Tree(files, f". IN DS {keys[''].ds('')}\n")


@dataclass(frozen=True, slots=True)
class _Key:
    private: ec.EllipticCurvePrivateKey
    public: DNSKEY

    @classmethod
    def made(cls) -> Self:
        private = ec.generate_private_key(ec.SECP256R1())
        flags = Flag.ZONE | Flag.SEP
        return cls(private, make_dnskey(private.public_key(), Algorithm.ECDSAP256SHA256, flags))

    def ds(self, zone: str) -> str:
        return dns.dnssec.make_ds(_absolute(zone), self.public, "SHA256").to_text()


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(f"{name}.")


def _split(key: str) -> tuple[dns.name.Name, str]:
    name, _, kind = key.rpartition(" ")
    return _absolute(name), kind


def _parent(zone: Zone, zones: Sequence[Zone]) -> Zone | None:
    """Return the parent zone; None for the root."""
    name = _absolute(zone.name)
    above = [z for z in zones if z is not zone and name.is_subdomain(_absolute(z.name))]
    return max(above, key=lambda each: len(each.name), default=None)


def _file(zone: Zone, keys: Mapping[str, _Key], below: Sequence[Zone], server: str) -> str:
    soa = f"{server}. hostmaster.{server}. 1 3600 600 86400 {TTL}"
    records = {f"{zone.name} SOA": [soa], f"{zone.name} NS": [f"{server}."], **zone.records}
    for each in below:
        records[f"{each.name} NS"] = [f"{server}."]
        if each.signing is not Signing.NONE:
            records[f"{each.name} DS"] = [keys[each.name].ds(each.name)]
    made = dns.zone.Zone(_absolute(zone.name), relativize=False)
    with made.writer() as changes:
        _put(changes, records)
    _sign(made, zone.signing, keys[zone.name])
    with made.writer() as changes:
        _put(changes, zone.spoilt)
    return str(made.to_text(relativize=False))


def _put(changes: dns.transaction.Transaction, records: Records) -> None:
    for key, data in records.items():
        name, kind = _split(key)
        rdatas = [_rdata(kind, each) for each in data]
        changes.replace(name, dns.rdataset.from_rdata_list(TTL, rdatas))


def _rdata(kind: str, data: str) -> dns.rdata.Rdata:
    if not data.startswith(OPAQUE):
        return dns.rdata.from_text("IN", kind, data)
    # Passed as opaque data, because dnspython would refuse malformed data.
    octets = bytes.fromhex(data.removeprefix(OPAQUE))
    return dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.from_text(kind), octets)


def _sign(zone: dns.zone.Zone, signing: Signing, key: _Key) -> None:
    if signing is Signing.NONE:
        return
    now = dt.datetime.now(dt.UTC)
    begin, end = _EXPIRED if signing is Signing.EXPIRED else _SIGNED
    if signing is Signing.NSEC3:
        _sign_by_hash(zone, key, now + begin, now + end)
    else:
        keys: list[_Pair] = [(key.private, key.public)]
        dns.dnssec.sign_zone(zone, keys=keys, inception=now + begin, expiration=now + end)


def _sign_by_hash(
    zone: dns.zone.Zone, key: _Key, inception: dt.datetime, expiration: dt.datetime
) -> None:
    """Sign with NSEC3 (RFC 5155 §7.1), which dnspython cannot, a zone without delegations."""
    origin = zone.origin
    keys: list[_Pair] = [(key.private, key.public)]
    assert origin
    with zone.writer() as changes:
        changes.add(origin, TTL, key.public)
        changes.add(origin, TTL, dns.rdata.from_text("IN", "NSEC3PARAM", "1 0 0 -"))
        for owner, denial in list(_hashed(changes, origin)):
            changes.add(owner, TTL, denial)
        for name, rdataset in list(changes.iterate_rdatasets()):
            rrset = dns.rrset.from_rdata(name, TTL, *rdataset)
            dns.dnssec.default_rrset_signer(
                changes, rrset, origin, keys, keys, inception, expiration
            )


def _hashed(
    changes: dns.transaction.Transaction, origin: dns.name.Name
) -> Iterator[tuple[dns.name.Name, dns.rdata.Rdata]]:
    """Yield the chain of NSEC3 records, each with its owner name."""
    kinds: dict[dns.name.Name, set[str]] = {}
    for name, rdataset in changes.iterate_rdatasets():
        kinds.setdefault(name, set()).update({"RRSIG", dns.rdatatype.to_text(rdataset.rdtype)})
        for above in _between(name, origin):
            kinds.setdefault(above, set())
    chain = sorted((dns.dnssec.nsec3_hash(name, None, 0, "SHA1"), name) for name in kinds)
    for (owner, name), (following, _) in zip(chain, chain[1:] + chain[:1], strict=True):
        text = f"1 0 0 - {following} {' '.join(sorted(kinds[name]))}"
        yield dns.name.from_text(owner, origin), dns.rdata.from_text("IN", "NSEC3", text)


def _between(name: dns.name.Name, origin: dns.name.Name) -> Iterator[dns.name.Name]:
    """Yield the names between `name` and the zone: empty non-terminals unless they have records."""
    while name != origin and (name := name.parent()) != origin:
        yield name
