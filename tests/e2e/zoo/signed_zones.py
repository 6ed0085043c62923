"""Domains in signed zones, most with TLSA records."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.e2e.zoo.animal import Animal, Data, Mx, Policy, Tlsa, Wish

_EE: Final = (3, 1, 1)
_TA: Final = (2, 1, 1)
_WRONG: Final = f"3 1 1 {'ab' * 32}"
_WRONG_512: Final = f"3 1 2 {'ab' * 64}"
_WRONG_TA: Final = f"2 1 1 {'ab' * 32}"
_UNKNOWN: Final = f"3 1 9 {'ab' * 32}"
_SHORT: Final = rf"\# 34 030101{'ab' * 31}"
"""31 octets where SHA-256 has 32: such a record is unusable (RFC 7672 §3.1)."""
_POLICY: Final = Policy()


def dane() -> Iterator[Animal]:
    """DANE decides: about the certificate of one host, or for one of several."""
    # No CA signed the right hosts' certificates: what is sent was sent because of DANE.
    rows: tuple[tuple[str, str, str, tuple[Tlsa, ...]], ...] = (
        ("good", "right TLSA record (3 1 1)", "self-signed", (_EE,)),
        ("sha512", "right TLSA record (3 0 2)", "self-signed", ((3, 0, 2),)),
        ("full", "right TLSA record (3 1 0)", "self-signed", ((3, 1, 0),)),
        ("expired", "right TLSA record, expired certificate", "self-signed, expired", (_EE,)),
        ("wrong", "wrong digest", "good", (_WRONG,)),
        ("mixed", "one wrong digest, one right TLSA record", "self-signed", (_WRONG, _EE)),
        ("unusable", "unusable TLSA record, good certificate", "good", (_SHORT,)),
        ("unusable-wrong", "unusable TLSA record, wrong name", "wrong name", (_SHORT,)),
        ("part-unusable", "one unusable TLSA record, one right", "self-signed", (_SHORT, _EE)),
        ("pkix", "TLSA record 1 1 1, right digest", "good", ((1, 1, 1),)),
        ("ta", "right TLSA record 2 1 1, CA is sent", "unknown CA, sent too", (_TA,)),
        ("ta-wrong-name", "right TLSA record 2 1 1, wrong name", "unknown CA, wrong name", (_TA,)),
        ("ta-expired", "right TLSA record 2 1 1, expired", "unknown CA, expired", (_TA,)),
        ("no-starttls", "TLSA record, no STARTTLS", "no STARTTLS", (_WRONG,)),
        ("reset", "TLSA record, reset after STARTTLS", "reset", (_WRONG,)),
        ("agility", "wrong SHA-512, right SHA-256", "self-signed", (_WRONG_512, _EE)),
        ("agility-good", "right SHA-512, wrong SHA-256", "self-signed", (_WRONG, (3, 1, 2))),
        ("two-usages", "wrong 2 1 1, right 3 1 1", "self-signed", (_WRONG_TA, _EE)),
        ("ta-full", "right TLSA record 2 0 0, CA is sent", "unknown CA, sent too", ((2, 0, 0),)),
        ("ta-itself", "TLSA record 2 1 1 of the host's own certificate", "self-signed", (_TA,)),
        ("unknown-type", "TLSA record with matching type 9", "good", (_UNKNOWN,)),
        ("tls-1.1", "TLSA record, TLS 1.1 only", "TLS 1.1", (_EE,)),
        ("short-key", "right TLSA record, RSA key of 1024 bits", "1024-bit key", (_EE,)),
    )
    for name, what, kind, tlsa in rows:
        yield _dane(name, what, Mx(kind, tlsa=tlsa))
    # Of these two the TLSA record fits a certificate that is not sent.
    ca = Mx("unknown CA", tlsa=((2, 1, 1, "unknown CA, sent too"),))
    yield _dane("ta-missing", "right TLSA record 2 1 1, CA is not sent", ca)
    ca = Mx("unknown CA", tlsa=((2, 0, 0, "unknown CA, sent too"),))
    yield _dane("ta-full-missing", "right TLSA record 2 0 0, CA is not sent", ca)
    wrong = Mx("good", "mx1.{d}", tlsa=(_WRONG,))
    right = Mx("self-signed", "mx2.{d}", tlsa=(_EE,))
    plain = Mx("good", "mx2.{d}")
    yield _dane("second", "wrong digest, then right", wrong, right)
    yield _dane("half", "wrong digest, then no TLSA record", wrong, plain)
    text = "wrong digest, then no TLSA record"
    yield _dane("half-no-policy", f"{text}; no policy", wrong, plain, policy=None)
    yield _dane("half-testing", f"{text}; mode testing", wrong, plain, policy=Policy("testing"))
    yield _dane("no-policy", "right TLSA record, no policy", _host(_EE), policy=None)
    yield _dane("wrong-no-policy", "wrong digest, no policy", _host(_WRONG), policy=None)
    yield _dane("unusable-no-policy", "unusable TLSA record, no policy", _host(_SHORT), policy=None)


def dns_of_dane() -> Iterator[Animal]:
    """How the DNS leads to TLSA records, or does not."""
    servfail: Mapping[str, Data] = {"_25._tcp.mx.{d} TLSA": "SERVFAIL"}
    text = "SERVFAIL for the TLSA record"
    yield _dane("servfail", text, Mx("good"), records=servfail)
    yield _dane(
        "servfail-no-policy", f"{text}, no policy", Mx("good"), policy=None, records=servfail
    )
    text = "right TLSA record, no MX records"
    implicit = Mx("self-signed", "{d}", tlsa=(_EE,))
    yield _dane("no-mx", text, implicit, records={"{d} MX": ()})
    text = "the MX host is an alias with a right TLSA record"
    alias: dict[str, Data] = {"mx.{d} CNAME": ("host.{d}.",)}
    moved: dict[str, Data] = {"mx.{d} A": (), "host.{d} A": ("self-signed",)}
    yield _dane("cname", text, _host(_EE), records=alias | moved)
    text = "the MX host is an alias of a host with a right TLSA record"
    target = Mx("self-signed", "host.{d}", tlsa=(_EE,))
    yield _dane("cname-target", text, target, records=alias | {"{d} MX": ("10 mx.{d}.",)})


def no_dane() -> Iterator[Animal]:
    """Signed zones in which DANE does not apply."""
    bad, good = (Mx("wrong name"),), Wish.DELIVER
    yield Animal("signed", "signed, no TLSA record", good, signed=True)
    yield Animal("signed-wrong", "signed, no TLSA record, wrong name", mx=bad, signed=True)
    text = "signed, no TLSA record, no policy, wrong name"
    yield Animal("signed-no-policy", text, Wish.NOTHING, bad, None, signed=True)
    text = "signed, SERVFAIL for the MX records"
    broken: Mapping[str, Data] = {"{d} MX": "SERVFAIL"}
    yield Animal("signed-servfail", text, Wish.NOTHING, records=broken, signed=True)
    mx = (Mx("good", tlsa=(_WRONG,)),)
    text = "TLSA record (wrong digest), MX records not signed"
    yield Animal("insecure-mx", text, good, mx, signed=True, secure=("mx.{d}",))
    text = "TLSA record (wrong digest), address not signed"
    yield Animal("insecure-address", text, good, mx, signed=True, insecure=("mx.{d}",))


def _host(tlsa: Tlsa) -> Mx:
    """The one host, whose certificate no CA signed."""
    return Mx("self-signed", tlsa=(tlsa,))


def _dane(
    name: str,
    what: str,
    *mx: Mx,
    policy: Policy | None = _POLICY,
    records: Mapping[str, Data] = {},
) -> Animal:
    what = f"DANE: {what}"
    return Animal(f"dane-{name}", what, Wish.DANE, mx, policy, records, signed=True)
