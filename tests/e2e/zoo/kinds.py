"""The kinds of MX hosts of the zoo, each wrong in one way: in TCP, SMTP, TLS or its certificate.

`hosts.py` runs one host of each kind. Its certificate is for the name that the client requests
(SNI), unless that is what is wrong.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.tls import EXPIRED, NOT_YET_VALID, Authority, Credential, self_signed

ALTERNATIVE_PORT: Final = 2525
"""Where hosts listen as well, for a next-hop with a port."""

_V = ssl.TLSVersion
_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA that Postfix trusts, and others."""

    root: Authority
    intermediate: Authority
    expired: Authority
    stranger: Authority = field(default_factory=lambda: Authority("Another CA"))
    weak_key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(65537, 1024)  # noqa: S505 (its purpose)
    )


Shown = Callable[[Authorities, str], Credential]
"""The certificates that a host shows for a name."""


def _with(leaf: Credential, *above: Authority) -> Credential:
    """Add the certificates of CAs behind a host's own."""
    return Credential(b"".join([leaf.certificate, *(a.certificate for a in above)]), leaf.key)


def _parent(name: str) -> str:
    return name.partition(".")[2]


def _inserted(name: str, label: str) -> str:
    """The name with this label in the place of its second one."""
    first, *_, last = name.split(".")
    return f"{first}.{label}.{last}"


def _good(ca: Authorities, name: str) -> Credential:
    return ca.root.issue(name)


def _by_intermediate(ca: Authorities, name: str) -> Credential:
    return _with(ca.intermediate.issue(name), ca.intermediate)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of host behaves; the defaults are right."""

    shown: Shown | None = _good
    """None: it does not offer STARTTLS."""
    greeting: bytes | None = b"220 sink.test ESMTP"
    """What it sends first; None: nothing."""
    ehlo: bytes | None = None
    """Its reply to EHLO; None: the right one."""
    helo: bytes = b"250 sink.test"
    ehlo_in_tls: bytes | None = None
    starttls: bytes = b"220 2.0.0 go ahead"
    handshake: str = "right"
    """Or `reset`, `close`, `silence`, `plain text` after its reply to STARTTLS."""
    versions: tuple[_V, _V] = (_V.TLSv1_2, _V.MAXIMUM_SUPPORTED)
    is_weak: bool = False
    """It uses keys and versions that OpenSSL refuses by default."""
    wants_certificate: bool = False
    """Of the client."""
    refuses_name: bool = False
    """It sends an alert if the client requests a name (SNI)."""


def _named(*names: Callable[[str], str], common_name: str = "") -> Shown:
    """Issue a certificate for names that are made of the requested one."""
    return lambda ca, name: ca.root.issue(*(each(name) for each in names), common_name=common_name)


def _same(name: str) -> str:
    return name


KINDS: Final[dict[str, Kind]] = {
    "good": Kind(),
    # Certificates.
    "wrong name": Kind(_named(lambda _: "wrong.test")),
    "expired": Kind(lambda ca, name: ca.root.issue(name, valid=EXPIRED)),
    "not yet valid": Kind(lambda ca, name: ca.root.issue(name, valid=NOT_YET_VALID)),
    "self-signed": Kind(lambda _, name: self_signed(name)),
    "self-signed, expired": Kind(lambda _, name: self_signed(name, valid=EXPIRED)),
    "unknown CA": Kind(lambda ca, name: ca.stranger.issue(name)),
    "unknown CA, sent too": Kind(lambda ca, name: _with(ca.stranger.issue(name), ca.stranger)),
    "common name only": Kind(lambda ca, name: ca.root.issue(common_name=name)),
    "common name, other SAN": Kind(lambda ca, name: ca.root.issue("wrong.test", common_name=name)),
    "intermediate": Kind(_by_intermediate),
    "missing intermediate": Kind(lambda ca, name: ca.intermediate.issue(name)),
    "unknown CA, wrong name": Kind(
        lambda ca, _: _with(ca.stranger.issue("wrong.test"), ca.stranger)
    ),
    "unknown CA, expired": Kind(
        lambda ca, name: _with(ca.stranger.issue(name, valid=EXPIRED), ca.stranger)
    ),
    "client only": Kind(lambda ca, name: ca.root.issue(name, purpose=_CLIENT)),
    "1024-bit key": Kind(lambda ca, name: ca.root.issue(name, key=ca.weak_key), is_weak=True),
    "parent too": Kind(_named(_same, lambda name: f"mx.{_parent(name)}")),
    "one of several names": Kind(_named(lambda _: "a.wrong.test", _same, lambda _: "b.wrong.test")),
    "upper-case name": Kind(_named(str.upper)),
    "wildcard": Kind(_named(lambda name: f"*.{_parent(name)}")),
    "wildcard above": Kind(_named(lambda name: f"*.{_parent(_parent(name))}")),
    "partial wildcard": Kind(_named(lambda name: f"m*.{_parent(name)}")),
    "wildcard in the middle": Kind(_named(lambda name: _inserted(name, "*"))),
    "two wildcards": Kind(_named(lambda name: f"*.*.{_parent(_parent(name))}")),
    "top-level wildcard": Kind(_named(lambda name: f"*.{name.rpartition('.')[2]}")),
    "final dot": Kind(_named(lambda name: f"{name}.")),
    "wildcard common name": Kind(
        lambda ca, name: ca.root.issue(common_name=f"*.{_parent(name)}")
    ),
    "common name, address": Kind(
        lambda ca, name: ca.root.issue(common_name=name, addresses=("127.0.0.1",))
    ),
    "expired intermediate": Kind(
        lambda ca, name: _with(ca.expired.issue(name), ca.expired)
    ),
    "root is sent": Kind(lambda ca, name: _with(ca.root.issue(name), ca.root)),
    "wrong order": Kind(
        lambda ca, name: _with(ca.intermediate.issue(name), ca.root, ca.intermediate)
    ),
    # TLS.
    "TLS 1.1": Kind(versions=(_V.TLSv1_1, _V.TLSv1_1), is_weak=True),
    "TLS 1.2": Kind(versions=(_V.TLSv1_2, _V.TLSv1_2)),
    "TLS 1.3": Kind(versions=(_V.TLSv1_3, _V.TLSv1_3)),
    "reset": Kind(handshake="reset"),
    "close": Kind(handshake="close"),
    "silent handshake": Kind(handshake="silence"),
    "plain text": Kind(handshake="plain text"),
    "client certificate": Kind(versions=(_V.TLSv1_2, _V.TLSv1_2), wants_certificate=True),
    "refuses SNI": Kind(refuses_name=True),
    "TLS 1.3, client certificate": Kind(
        versions=(_V.TLSv1_3, _V.TLSv1_3), wants_certificate=True
    ),
    # SMTP.
    "no STARTTLS": Kind(None),
    "STARTTLS 454": Kind(starttls=b"454 4.7.0 TLS not available due to local problem"),
    "STARTTLS 554": Kind(starttls=b"554 5.7.3 no TLS for you"),
    "greeting 421": Kind(greeting=b"421 4.3.2 too busy"),
    "greeting 554": Kind(greeting=b"554 5.7.1 go away"),
    "greeting garbage": Kind(greeting=b"SSH-2.0-OpenSSH_9.2"),
    "greeting close": Kind(greeting=b""),
    "silent": Kind(greeting=None),
    "EHLO 502": Kind(ehlo=b"502 5.5.1 command not implemented"),
    "EHLO and HELO 550": Kind(
        ehlo=b"550 5.7.1 bad name", helo=b"550 5.7.1 bad name, still"
    ),
    "EHLO 421": Kind(ehlo=b"421 4.7.0 try again later", helo=b"421 4.7.0 try again later"),
    "EHLO close": Kind(ehlo=b""),
    "EHLO in TLS 550": Kind(ehlo_in_tls=b"550 5.7.1 no", helo=b"550 5.7.1 no HELO"),
    "lower-case STARTTLS": Kind(ehlo=b"250-sink.test\r\n250-8bitmime\r\n250 starttls"),
    "STARTTLS with a word": Kind(ehlo=b"250-sink.test\r\n250-STARTTLS now\r\n250 SMTPUTF8"),
    "no STARTTLS, similar": Kind(ehlo=b"250-sink.test\r\n250-XSTARTTLS\r\n250 START TLS"),
    "several lines": Kind(greeting=b"220-sink.test ESMTP\r\n220-hello\r\n220 go on"),
    "several lines 554": Kind(greeting=b"554-sink.test\r\n554-5.7.1 go away\r\n554 5.7.0 now"),
    "greeting 450": Kind(greeting=b"450 busy"),
    "greeting 550, no status": Kind(greeting=b"550 no"),
    "greeting 550, wrong status": Kind(greeting=b"550 4.7.1 no"),
    "greeting 354": Kind(greeting=b"354 go on"),
    "greeting 250": Kind(greeting=b"250 hello"),
    "greeting UTF-8": Kind(greeting="554 5.7.1 Zugang gesperrt für Müller".encode()),
    "greeting control": Kind(greeting=b"554 5.7.1 go\taway\x1b[31m\x01now"),
    "greeting long": Kind(greeting=b"554 5.7.1 " + b" ".join([b"go away"] * 40)),
    "says our name": Kind(ehlo=b"250-relay.test\r\n250 STARTTLS"),
    "STARTTLS 421": Kind(starttls=b"421 4.3.0 later"),
    "STARTTLS close": Kind(starttls=b""),
    "STARTTLS 250": Kind(starttls=b"250 2.0.0 ok"),
    "STARTTLS 501": Kind(starttls=b"501 5.5.4 no parameters allowed"),
    "EHLO in TLS 421": Kind(ehlo_in_tls=b"421 4.7.0 not now"),
    "EHLO in TLS close": Kind(ehlo_in_tls=b""),
}  # fmt: skip

REFUSES: Final = "refuses connections"
BLACK_HOLE: Final = "black hole"
UNREACHABLE: Final = "unreachable"

_NUMBERS: Final = {name: n for n, name in enumerate((*KINDS, REFUSES, BLACK_HOLE), 11)}
IPV4: Final = {
    **{name: f"127.0.4.{n}" for name, n in _NUMBERS.items()},
    UNREACHABLE: "192.0.2.1",  # the namespace has no route
    "this machine": "127.0.0.1",
}
"""Kind → address."""
IPV6: Final = {name: f"fd00:25::{n}" for name, n in _NUMBERS.items()}
