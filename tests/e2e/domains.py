"""The records of each domain of the DANE tests, right and wrong.

`signed.py` signs the zones and `resolving.py` serves them. Every domain also has an MTA-STS record;
the Policy Host serves its policy once a test calls `World.policy`.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.e2e.servers import AUTHORITATIVE_DNS, POLICY_HOST
from tests.e2e.signed import OPAQUE, Signing, Zone
from tests.e2e.sinks import SINKS

SERVER: Final = "ns.test"
"""The one name server of all zones."""

Tlsa = Callable[[str, str], str]
"""A sink and a host → the TLSA data (3 1 1) of the certificate that the sink has for the host."""

FORGED: Final = {
    "_25._tcp.mx.stripped.test TLSA": (),
    "moved.test MX": ("10 mx.insecure.test.",),
}
"""Queries whose answers are forged on the way to the resolver; empty: the records are removed."""

_SHORT: Final = OPAQUE + "030101" + "ab" * 31  # octets, where SHA-256 has 32: not usable


def zones(tlsa: Tlsa) -> list[Zone]:
    """All zones from the root down."""
    server = {f"{SERVER} A": [AUTHORITATIVE_DNS]}
    return [Zone("", server), Zone("test", server), *_right(tlsa), *_absent(), *_wrong(tlsa)]


def _right(tlsa: Tlsa) -> Iterator[Zone]:
    """Zones with usable TLSA records, each in another place."""

    def right(host: str) -> dict[str, list[str]]:
        return {f"_25._tcp.{host} TLSA": [tlsa("self-signed", host)]}

    # No CA has signed these hosts' certificates: mail that they receive was sent by DANE.
    yield Zone("good.test", _mail("good.test", "self-signed") | right("mx.good.test"))
    yield Zone(
        "hashed.test", _mail("hashed.test", "self-signed") | right("mx.hashed.test"), Signing.NSEC3
    )
    yield Zone(
        "implicit.test",
        _policy("implicit.test")
        | {"implicit.test A": [SINKS["self-signed"][0]]}
        | right("implicit.test"),
    )
    yield Zone("host.test", _address("mx.host.test", "self-signed") | right("mx.host.test"))
    yield Zone("alias.test", _mail("alias.test") | {"mx.alias.test CNAME": ["mx.host.test."]})
    yield Zone("plain.test", _address("mx.plain.test", "self-signed"))
    yield Zone(
        "initial.test",
        _mail("initial.test")
        | {"mx.initial.test CNAME": ["mx.plain.test."]}
        | right("mx.initial.test"),
    )
    # The CNAME is secure, and what it points to is not (RFC 7672 §2.2.2).
    yield Zone("loose.test", _address("mx.loose.test", "self-signed"), Signing.NONE)
    yield Zone(
        "outside.test",
        _mail("outside.test")
        | {"mx.outside.test CNAME": ["mx.loose.test."]}
        | right("mx.outside.test"),
    )
    yield Zone("many.test", _mail("many.test", "self-signed") | _many(tlsa, "mx.many.test"))
    mixed = {"_25._tcp.mx.mixed.test TLSA": [_SHORT, tlsa("self-signed", "mx.mixed.test")]}
    yield Zone("mixed.test", _mail("mixed.test", "self-signed") | mixed)
    yield Zone("partly.test", _two("partly.test") | right("mx.partly.test"))


def _absent() -> Iterator[Zone]:
    """Zones for which it is proven that they have no usable TLSA record."""
    yield Zone("none.test", _mail("none.test", "good"))
    yield Zone("none-wrong.test", _mail("none-wrong.test", "wrong name"))
    yield Zone("none3.test", _mail("none3.test", "good"), Signing.NSEC3)
    yield Zone("none3-wrong.test", _mail("none3-wrong.test", "wrong name"), Signing.NSEC3)
    for domain, sink in (
        ("short.test", "good"),
        ("short-wrong.test", "wrong name"),
        ("short-free.test", "wrong name"),
        ("short-plain.test", "no STARTTLS"),
    ):
        yield Zone(domain, _mail(domain, sink) | {f"_25._tcp.mx.{domain} TLSA": [_SHORT]})


def _wrong(tlsa: Tlsa) -> Iterator[Zone]:
    """Zones with records that must not be trusted, or hosts that must not receive mail."""

    def of_another(host: str) -> dict[str, list[str]]:
        return {f"_25._tcp.{host} TLSA": [tlsa("good", "another.test")]}

    def right(host: str) -> dict[str, list[str]]:
        return {f"_25._tcp.{host} TLSA": [tlsa("good", host)]}

    yield Zone("wrong.test", _mail("wrong.test", "good") | of_another("mx.wrong.test"))
    for half in ("half.test", "half-free.test"):
        yield Zone(half, _two(half) | of_another(f"mx.{half}"))
    for domain, sink in (("insecure.test", "good"), ("insecure-wrong.test", "wrong name")):
        records = _mail(domain, sink) | of_another(f"mx.{domain}")
        yield Zone(domain, records, Signing.NONE)
    yield Zone("expired.test", _mail("expired.test", "good"), Signing.EXPIRED)
    yield Zone(
        "bogus-mx.test",
        _mail("bogus-mx.test", "good"),
        spoilt={"bogus-mx.test MX": ["10 mx.insecure.test."]},
    )
    bogus = "bogus-tlsa.test"
    tlsa_of_bogus = right(f"mx.{bogus}")
    yield Zone(bogus, _mail(bogus, "good") | tlsa_of_bogus, spoilt=of_another(f"mx.{bogus}"))
    # The look-up of the first host fails, and the second is proven to have no TLSA records.
    for lame in ("lame.test", "lame-free.test"):
        yield Zone(lame, _two(lame) | right(f"mx.{lame}"), spoilt=of_another(f"mx.{lame}"))
    # The zone is right; its answers are forged on the way (`FORGED`).
    yield Zone("stripped.test", _mail("stripped.test", "good") | of_another("mx.stripped.test"))
    yield Zone("moved.test", _mail("moved.test", "good") | right("mx.moved.test"))


def _mail(domain: str, sink: str | None = None) -> dict[str, list[str]]:
    """One MX host `mx.DOMAIN`, and the policy; the host's address unless it is not a sink."""
    host = f"mx.{domain}"
    address = _address(host, sink) if sink else {}
    return {f"{domain} MX": [f"10 {host}."]} | address | _policy(domain)


def _two(domain: str) -> dict[str, list[str]]:
    """Two MX hosts, of which the first is self-signed and the second is good."""
    return (
        {f"{domain} MX": [f"10 mx.{domain}.", f"20 mx2.{domain}."]}
        | _address(f"mx.{domain}", "self-signed")
        | _address(f"mx2.{domain}", "good")
        | _policy(domain)
    )


def _many(tlsa: Tlsa, host: str) -> dict[str, list[str]]:
    """More TLSA records than fit into a datagram; one is right."""
    others = [tlsa("self-signed", f"{n}.another.test") for n in range(60)]
    return {f"_25._tcp.{host} TLSA": [*others, tlsa("self-signed", host)]}


def _address(host: str, sink: str) -> dict[str, list[str]]:
    return {f"{host} A": [SINKS[sink][0]]}


def _policy(domain: str) -> dict[str, list[str]]:
    return {
        f"_mta-sts.{domain} TXT": ['"v=STSv1; id=1;"'],
        f"mta-sts.{domain} A": [POLICY_HOST],
    }
