"""Domains with one MX host that is special, or with several."""

from collections.abc import Iterator

from tests.e2e.zoo.animal import Animal, Mx, Policy, Wish, mx_hosts
from tests.e2e.zoo.kinds import BLACK_HOLE, REFUSES, UNREACHABLE


def certificates() -> Iterator[Animal]:
    """One host, and what is wrong with its certificate."""
    yield Animal("good", "everything is right", Wish.DELIVER)
    rows = (
        ("wrong-name", "wrong name", "certificate for another name"),
        ("expired", "expired", "expired certificate"),
        ("not-yet-valid", "not yet valid", "certificate that is not valid yet"),
        ("self-signed", "self-signed", "self-signed certificate"),
        ("self-signed-expired", "self-signed, expired", "self-signed certificate, expired"),
        ("unknown-ca", "unknown CA", "certificate of an unknown CA"),
        ("unknown-ca-sent", "unknown CA, sent too", "certificate of an unknown CA, which is sent"),
        ("no-intermediate", "missing intermediate", "the intermediate certificate is missing"),
        ("client-only", "client only", "certificate for clients only"),
        ("short-key", "1024-bit key", "RSA key of 1024 bits"),
        ("cn-only", "common name only", "the name is only the common name of the certificate"),
        ("cn-other-san", "common name, other SAN", "common name fits, alternative name does not"),
        ("partial-wildcard", "partial wildcard", "certificate for `m*.{d}`"),
    )
    for name, kind, what in rows:
        yield Animal(name, what, mx=(Mx(kind),))
    right = (
        ("intermediate", "intermediate", "the intermediate certificate is sent"),
        ("several-names", "one of several names", "certificate for three names"),
        ("upper-case", "upper-case name", "certificate with the name in upper case"),
        ("wildcard-certificate", "wildcard", "certificate for `*.{d}`"),
    )
    for name, kind, what in right:
        yield Animal(name, what, Wish.DELIVER, (Mx(kind),))
    yield Animal(
        "deep-wildcard-certificate",
        "certificate for `*.{d}`, host `a.mx.{d}`",
        mx=(Mx("wildcard above", "a.mx.{d}"),),
    )


def sessions() -> Iterator[Animal]:
    """One host, and what is wrong in TCP, in SMTP or in TLS."""
    rows = (
        ("no-starttls", "no STARTTLS", "no STARTTLS"),
        ("starttls-454", "STARTTLS 454", "STARTTLS is refused for now (454)"),
        ("starttls-554", "STARTTLS 554", "STARTTLS is refused (554)"),
        ("starttls-reset", "reset", "reset after STARTTLS"),
        ("starttls-close", "close", "close after STARTTLS"),
        ("starttls-silence", "silent handshake", "silence after STARTTLS"),
        ("starttls-text", "plain text", "plain text in place of TLS"),
        ("tls-1.1", "TLS 1.1", "TLS 1.1 only"),
        ("wants-certificate", "client certificate", "wants a certificate of the client"),
        ("refuses-sni", "refuses SNI", "TLS alert because of SNI"),
        ("greeting-421", "greeting 421", "greeting 421"),
        ("greeting-554", "greeting 554", "greeting 554"),
        ("greeting-garbage", "greeting garbage", "another protocol than SMTP"),
        ("greeting-close", "greeting close", "closes the connection at once"),
        ("greeting-silence", "silent", "no greeting"),
        ("ehlo-502", "EHLO 502", "EHLO is refused (502), HELO is not"),
        ("ehlo-550", "EHLO and HELO 550", "EHLO and HELO are refused (550)"),
        ("ehlo-421", "EHLO 421", "EHLO is refused for now (421)"),
        ("ehlo-close", "EHLO close", "closes the connection after EHLO"),
        ("tls-ehlo-421", "EHLO in TLS 421", "EHLO in TLS is refused for now (421)"),
        ("tls-ehlo-close", "EHLO in TLS close", "closes the connection after EHLO in TLS"),
        ("refused", REFUSES, "connection refused"),
        ("black-hole", BLACK_HOLE, "packets vanish"),
        ("unreachable", UNREACHABLE, "no route to the host"),
        ("loop", "this machine", "the MX host is the relay itself"),
    )
    for name, kind, what in rows:
        yield Animal(name, what, mx=(Mx(kind),))
    yield Animal("tls-1.2", "TLS 1.2 only", Wish.DELIVER, (Mx("TLS 1.2"),))
    yield Animal("tls-1.3", "TLS 1.3 only", Wish.DELIVER, (Mx("TLS 1.3"),))
    yield Animal("ipv6-only", "IPv6 only", Wish.DELIVER, (Mx("good", families="6"),))
    yield Animal("ipv6-wrong", "IPv6 only, wrong name", mx=(Mx("wrong name", families="6"),))
    yield Animal("two-families", "IPv4 and IPv6", Wish.DELIVER, (Mx("good", families="46"),))
    for name, kind, what in (
        ("plain-no-starttls", "no STARTTLS", "no policy, no STARTTLS"),
        ("plain-reset", "reset", "no policy, reset after STARTTLS"),
        ("plain-454", "STARTTLS 454", "no policy, STARTTLS is refused for now (454)"),
        ("plain-tls-1.1", "TLS 1.1", "no policy, TLS 1.1 only"),
        ("plain-expired", "expired", "no policy, expired certificate"),
        ("plain-421", "greeting 421", "no policy, greeting 421"),
        ("plain-554", "greeting 554", "no policy, greeting 554"),
    ):
        yield Animal(name, what, Wish.NOTHING, (Mx(kind),), None)


def names() -> Iterator[Animal]:
    """MX host names and the patterns of the policy."""
    one = Policy(mx=("mx.{d}",))
    wild = Policy(mx=("*.{d}",))
    foreign = Mx("good", "foreign.{d}")
    yield Animal("foreign", "MX host that fits no pattern", mx=(foreign,), policy=one)
    yield Animal(
        "foreign-both",
        "MX host that fits no pattern; certificate also for one that does",
        mx=(Mx("parent too", "foreign.{d}"),),
        policy=one,
    )
    yield Animal("wildcard", "pattern `*.{d}`, host `mx.{d}`", Wish.DELIVER, policy=wild)
    deep = (Mx("good", "a.mx.{d}"),)
    yield Animal("deep-wildcard", "pattern `*.{d}`, host `a.mx.{d}`", mx=deep, policy=wild)
    apex = (Mx("good", "{d}"),)
    yield Animal("apex-wildcard", "pattern `*.{d}`, host `{d}`", mx=apex, policy=wild)
    yield Animal("other-mx", "the policy names none of the MX hosts", policy=Policy(mx=("a.{d}",)))
    yield Animal("address-mx", "the policy has an IP address", policy=Policy(mx=("127.0.4.11",)))
    yield Animal(
        "upper-pattern", "pattern in upper case", Wish.DELIVER, policy=Policy(mx=("MX.{d}",))
    )
    yield Animal(
        "cname",
        "the MX host is an alias (CNAME)",
        Wish.DELIVER,
        records={"mx.{d} A": (), "mx.{d} CNAME": ("host.{d}.",), "host.{d} A": ("good",)},
    )
    yield Animal(
        "domain-cname",
        "the domain is an alias of one with MX records",
        records={"{d} MX": (), "{d} CNAME": ("real.{d}.",), "real.{d} MX": ("10 mx.{d}.",)},
        rfc=Wish.DELIVER,
    )


def several() -> Iterator[Animal]:
    """More than one MX host, with different faults, so that the last error differs."""
    yield Animal("two-good", "two good hosts", Wish.DELIVER, mx_hosts("good", "good"))
    yield Animal("first-bad", "expired, good", Wish.DELIVER, mx_hosts("expired", "good"))
    yield Animal("first-dead", "refused, good", Wish.DELIVER, mx_hosts(REFUSES, "good"))
    yield Animal("last-bad", "good, expired", Wish.DELIVER, mx_hosts("good", "expired"))
    yield Animal(
        "two-bad-one-good",
        "no STARTTLS, wrong name, good",
        Wish.DELIVER,
        mx_hosts("no STARTTLS", "wrong name", "good"),
    )
    rows = (
        ("all-bad", "expired", "no STARTTLS"),
        ("all-bad-reverse", "no STARTTLS", "expired"),
        ("bad-then-dead", "wrong name", REFUSES),
        ("dead-then-bad", REFUSES, "wrong name"),
        ("bad-then-421", "self-signed", "greeting 421"),
        ("bad-then-554", "self-signed", "greeting 554"),
        ("554-then-bad", "greeting 554", "self-signed"),
        ("bad-then-bounce", "expired", "STARTTLS 554"),
        ("bounce-then-bad", "STARTTLS 554", "expired"),
        ("bad-then-loop", "expired", "this machine"),
        ("all-bad-three", BLACK_HOLE, "reset", "wrong name"),
        ("black-hole-last", "wrong name", BLACK_HOLE),
    )
    for name, *kinds in rows:
        yield Animal(name, ", ".join(kinds), mx=mx_hosts(*kinds))
    yield Animal(
        "bounce-then-good", "STARTTLS 554, good", Wish.DELIVER, mx_hosts("STARTTLS 554", "good")
    )
    yield Animal(
        "ehlo-550-then-good",
        "EHLO and HELO 550, good",
        Wish.DELIVER,
        mx_hosts("EHLO and HELO 550", "good"),
    )
    yield Animal(
        "good-then-loop", "good, this machine", Wish.DELIVER, mx_hosts("good", "this machine")
    )
    yield Animal(
        "loop-then-good", "this machine, good", Wish.DELIVER, mx_hosts("this machine", "good")
    )
    yield Animal(
        "two-addresses",
        "one host with two addresses, wrong name and good",
        Wish.DELIVER,
        records={"mx.{d} A": ("wrong name", "good")},
    )
    six = ("wrong name", "expired", "no STARTTLS", REFUSES, "self-signed", "good")
    yield Animal("sixth-good", "five bad hosts, the sixth is good", Wish.DELIVER, mx_hosts(*six))
    yield Animal(
        "first-without-address",
        "the first host has no address, the second is good",
        Wish.DELIVER,
        mx_hosts("", "good"),
    )
    yield Animal("second-without-address", "expired, no address", mx=mx_hosts("expired", ""))
    yield Animal(
        "first-foreign",
        "the first host fits no pattern, the second is good",
        Wish.DELIVER,
        mx_hosts("good", "good"),
        Policy(mx=("mx2.{d}",)),
    )
    yield Animal(
        "foreign-then-bad",
        "the first host fits no pattern, the second is expired",
        mx=mx_hosts("good", "expired"),
        policy=Policy(mx=("mx2.{d}",)),
    )
