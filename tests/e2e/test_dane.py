"""The signed zones, the validating resolver, the verdicts of `DaneClient`, and Postfix's own DANE.

No daemon takes part: these tests show that the environment of the others is right.
"""

from typing import Final

import dns.flags
import dns.rcode
import dns.rdatatype
import pytest

from postfix_mta_sts.mtasts.dane import DaneKind
from tests.e2e.dane_verdicts import dane_verdicts
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.resolving import VALIDATING_DNS, Resolver
from tests.e2e.servers import POSTFIX_DNS
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

SECURE: Final = (
    ("good.test", "MX"),
    ("mx.good.test", "A"),
    ("_25._tcp.mx.good.test", "TLSA"),
    ("_25._tcp.mx.hashed.test", "TLSA"),
    ("mx.alias.test", "A"),
    ("_25._tcp.mx.many.test", "TLSA"),
    # Only one RRset of these zones is wrong.
    ("bogus-tlsa.test", "MX"),
    ("mx.bogus-tlsa.test", "A"),
    ("stripped.test", "MX"),
    ("mx.stripped.test", "A"),
)
INSECURE: Final = (
    ("insecure.test", "MX"),
    ("mx.insecure.test", "A"),
    ("_25._tcp.mx.insecure.test", "TLSA"),
)
BOGUS: Final = (
    ("bogus-mx.test", "MX"),
    ("_25._tcp.mx.bogus-tlsa.test", "TLSA"),
    ("expired.test", "MX"),
    ("_25._tcp.mx.stripped.test", "TLSA"),
    ("moved.test", "MX"),
)
VERDICTS: Final = {
    "good.test": DaneKind.ALL,
    "hashed.test": DaneKind.ALL,
    "implicit.test": DaneKind.ALL,
    "alias.test": DaneKind.ALL,
    "initial.test": DaneKind.ALL,
    "outside.test": DaneKind.ALL,
    "many.test": DaneKind.ALL,
    "wrong.test": DaneKind.ALL,
    "mixed.test": DaneKind.ALL,
    "partly.test": DaneKind.SOME,
    "half.test": DaneKind.SOME,
    "lame.test": DaneKind.SOME_FAILED,
    "none.test": DaneKind.NONE,
    "none3.test": DaneKind.NONE,
    "short.test": DaneKind.UNUSABLE,
    "insecure.test": DaneKind.INSECURE,
    "bogus-mx.test": DaneKind.FAILURE,
    "bogus-tlsa.test": DaneKind.FAILURE,
    "stripped.test": DaneKind.FAILURE,
    "moved.test": DaneKind.FAILURE,
    "expired.test": DaneKind.FAILURE,
}


@pytest.fixture(scope="module")
def dane_mta(signed_mta: Mta) -> Mta:
    """Each version of Postfix, with level dane in main.cf."""
    signed_mta.set("smtp_tls_security_level = dane")
    return signed_mta


@pytest.mark.parametrize(("name", "kind"), SECURE)
def test_a_good_signature_is_secure(resolver: Resolver, name: str, kind: str) -> None:
    """A good signature: the answer has the records and AD."""
    answer = resolver.ask(name, kind)

    assert answer.rcode() == dns.rcode.NOERROR
    assert dns.rdatatype.from_text(kind) in {each.rdtype for each in answer.answer}
    assert answer.flags & dns.flags.AD


@pytest.mark.parametrize(("name", "kind"), INSECURE)
def test_an_unsigned_zone_is_insecure(resolver: Resolver, name: str, kind: str) -> None:
    """A delegation without DS: the answer has the records, without AD."""
    answer = resolver.ask(name, kind)

    assert answer.rcode() == dns.rcode.NOERROR
    assert dns.rdatatype.from_text(kind) in {each.rdtype for each in answer.answer}
    assert not answer.flags & dns.flags.AD


@pytest.mark.parametrize(("name", "kind"), BOGUS)
def test_a_bad_signature_is_servfail(resolver: Resolver, name: str, kind: str) -> None:
    """Changed records or expired signatures, in the zone or on the way: SERVFAIL."""
    assert resolver.ask(name, kind).rcode() == dns.rcode.SERVFAIL


def test_forged_answers_reach_the_resolver(resolver: Resolver) -> None:
    """Without validation they are accepted: another MX host, and no TLSA records at all."""
    moved = resolver.ask("moved.test", "MX", unchecked=True)
    stripped = resolver.ask("_25._tcp.mx.stripped.test", "TLSA", unchecked=True)

    assert "10 mx.insecure.test." in {rdata.to_text() for each in moved.answer for rdata in each}
    assert (stripped.rcode(), stripped.answer) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize(
    ("domain", "denial"), [("none.test", "NSEC"), ("none3.test", "NSEC3"), ("partly.test", "NSEC")]
)
def test_absence_is_proven(resolver: Resolver, domain: str, denial: str) -> None:
    """No TLSA records: NXDOMAIN with AD, by NSEC or by NSEC3."""
    host = "mx2" if domain == "partly.test" else "mx"
    answer = resolver.ask(f"_25._tcp.{host}.{domain}", "TLSA")

    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert dns.rdatatype.from_text(denial) in {each.rdtype for each in answer.authority}
    assert answer.flags & dns.flags.AD


def test_the_daemon_finds_each_verdict(inside: Namespace, resolver: Resolver) -> None:
    """`DaneClient`, without the daemon: the verdict on each domain, through the same resolver."""
    seen = dane_verdicts(inside, VALIDATING_DNS, list(VERDICTS))

    assert seen == (True, VERDICTS)


def test_a_resolver_that_does_not_validate_is_recognized(inside: Namespace, world: World) -> None:
    """A name server without DNSSEC proves nothing."""
    assert dane_verdicts(inside, POSTFIX_DNS, []) == (False, {})


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("good.test", "mx.good.test"),
        ("hashed.test", "mx.hashed.test"),
        ("implicit.test", "implicit.test"),
        ("alias.test", "mx.host.test"),
        ("initial.test", "mx.initial.test"),
        ("outside.test", "mx.outside.test"),
        ("many.test", "mx.many.test"),
        ("mixed.test", "mx.mixed.test"),
        ("partly.test", "mx.partly.test"),
    ],
)
def test_dane_verifies_an_mx_host(dane_mta: Mta, domain: str, host: str) -> None:
    """Right TLSA records: sent as Verified, with SNI, to a server without a CA's signature."""
    seen = dane_mta.send(domain)

    assert seen.status == "sent", seen
    assert any("Verified TLS connection" in line for line in seen.log), seen.log
    assert [(r.sink, r.sni) for r in seen.receipts] == [("self-signed", host)]


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ("wrong.test", "Server certificate not verified"),
        ("short-plain.test", "TLS is required, but was not offered"),
        ("bogus-tlsa.test", "TLSA lookup error"),
        ("stripped.test", "TLSA lookup error"),
        ("bogus-mx.test", "Host or domain name not found"),
        ("moved.test", "Host or domain name not found"),
        ("expired.test", "Host or domain name not found"),
    ],
)
def test_mail_is_deferred_if_dane_fails(dane_mta: Mta, domain: str, why: str) -> None:
    """TLSA records that do not match or cannot be had: deferred despite a good certificate."""
    seen = dane_mta.send(domain)

    assert seen.status == "deferred", seen
    assert why in seen.why, seen
    assert seen.receipts == ()


@pytest.mark.parametrize(
    ("domain", "sink"),
    [
        ("none.test", "good"),
        ("none3.test", "good"),
        ("none-wrong.test", "wrong name"),
        ("insecure.test", "good"),
        ("short-wrong.test", "wrong name"),
        ("half.test", "good"),
    ],
)
def test_mail_is_sent_if_dane_does_not_apply(dane_mta: Mta, domain: str, sink: str) -> None:
    """No usable TLSA records, or another MX host without any: sent, and not Verified."""
    seen = dane_mta.send(domain)

    assert seen.status == "sent", seen
    assert not seen.logged("Verified TLS connection"), seen.log
    assert [r.sink for r in seen.receipts] == [sink]
