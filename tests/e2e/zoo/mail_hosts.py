"""Domains with one MX host that is special, or with several."""

from collections.abc import Iterator, Mapping

from tests.e2e.zoo.animal import Animal, Data, Mx, Policy, Wish, mx_hosts
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
        ("cn-only", "common name only", "the name is only the common name of the certificate"),
        ("cn-other-san", "common name, other SAN", "common name fits, alternative name does not"),
        (
            "expired-intermediate",
            "expired intermediate",
            "the intermediate certificate has expired",
        ),
        ("middle-wildcard", "wildcard in the middle", "certificate with `*` as the second label"),
        ("double-wildcard", "two wildcards", "certificate with `*.*` in front"),
        ("final-dot-certificate", "final dot", "certificate for the name with a final dot"),
        ("partial-wildcard", "partial wildcard", "certificate for `m*.{d}`"),
    )
    for name, kind, what in rows:
        yield Animal(name, what, mx=(Mx(kind),))
    right = (
        ("intermediate", "intermediate", "the intermediate certificate is sent"),
        ("short-key", "1024-bit key", "RSA key of 1024 bits"),
        ("several-names", "one of several names", "certificate for three names"),
        ("upper-case", "upper-case name", "certificate with the name in upper case"),
        ("root-sent", "root is sent", "the CA's certificate is sent, too"),
        ("wrong-order", "wrong order", "the certificates are sent in the wrong order"),
        ("wildcard-certificate", "wildcard", "certificate for `*.{d}`"),
    )
    for name, kind, what in right:
        yield Animal(name, what, Wish.DELIVER, (Mx(kind),))
    for name, kind, what in (
        ("cn-wildcard", "wildcard common name", "`*.{d}` is only the common name"),
        ("cn-address", "common name, address", "the name is the common name, beside an address"),
    ):
        yield Animal(name, what, mx=(Mx(kind),))
    yield Animal(
        "top-wildcard-certificate",
        "certificate for `*.test`, host `{d}`",
        mx=(Mx("top-level wildcard", "{d}"),),
    )
    yield Animal(
        "deep-wildcard-certificate",
        "certificate for `*.{d}`, host `a.mx.{d}`",
        mx=(Mx("wildcard above", "a.mx.{d}"),),
    )


def sessions() -> Iterator[Animal]:
    """One host, and what is wrong in TCP, in SMTP or in TLS."""
    in_tls = (
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
        ("starttls-501", "STARTTLS 501", "STARTTLS is refused (501)"),
        ("starttls-421", "STARTTLS 421", "STARTTLS is refused for now (421)"),
        ("starttls-no-reply", "STARTTLS close", "closes the connection at STARTTLS"),
        ("starttls-similar", "no STARTTLS, similar", "offers `XSTARTTLS` and `START TLS`"),
        ("ehlo-502", "EHLO 502", "EHLO is refused (502), HELO is not"),
    )
    for name, kind, what in in_tls:
        yield Animal(name, what, mx=(Mx(kind),))
    before_tls = (
        ("greeting-421", "greeting 421", "greeting 421"),
        ("greeting-554", "greeting 554", "greeting 554"),
        ("greeting-garbage", "greeting garbage", "another protocol than SMTP"),
        ("greeting-close", "greeting close", "closes the connection at once"),
        ("greeting-silence", "silent", "no greeting"),
        ("greeting-450", "greeting 450", "greeting 450, no status code"),
        ("greeting-550", "greeting 550, no status", "greeting 550, no status code"),
        ("greeting-550-4.7.1", "greeting 550, wrong status", "greeting 550 with 4.7.1"),
        ("greeting-354", "greeting 354", "greeting 354"),
        ("greeting-lines", "several lines 554", "greeting 554 of several lines"),
        ("greeting-utf8", "greeting UTF-8", "greeting 554 in UTF-8"),
        ("greeting-control", "greeting control", "greeting 554 with control characters"),
        ("greeting-long", "greeting long", "greeting 554 of 330 characters"),
        ("ehlo-550", "EHLO and HELO 550", "EHLO and HELO are refused (550)"),
        ("ehlo-421", "EHLO 421", "EHLO is refused for now (421)"),
        ("ehlo-close", "EHLO close", "closes the connection after EHLO"),
        ("refused", REFUSES, "connection refused"),
        ("black-hole", BLACK_HOLE, "packets vanish"),
        ("unreachable", UNREACHABLE, "no route to the host"),
        ("loop", "this machine", "the MX host is the relay itself"),
    )
    for name, kind, what in before_tls:
        yield Animal(name, what, Wish.NOTHING, (Mx(kind),))
    after_tls = (
        ("tls-ehlo-421", "EHLO in TLS 421", "EHLO in TLS is refused for now (421)"),
        ("tls-ehlo-close", "EHLO in TLS close", "closes the connection after EHLO in TLS"),
        ("our-name", "says our name", "the MX host has the relay's name"),
        ("tls-ehlo-550", "EHLO in TLS 550", "EHLO and HELO in TLS are refused (550)"),
        ("tls-1.3-certificate", "TLS 1.3, client certificate", "wants a certificate in TLS 1.3"),
        ("starttls-250", "STARTTLS 250", "another positive reply to STARTTLS (250)"),
        ("starttls-lower-case", "lower-case STARTTLS", "offers `starttls`"),
        ("starttls-word", "STARTTLS with a word", "offers `STARTTLS now`"),
        ("greeting-250", "greeting 250", "greeting 250"),
        ("greeting-220-lines", "several lines", "greeting 220 of several lines"),
        ("tls-1.2", "TLS 1.2", "TLS 1.2 only"),
        ("tls-1.3", "TLS 1.3", "TLS 1.3 only"),
    )
    for name, kind, what in after_tls:
        yield Animal(name, what, Wish.DELIVER, (Mx(kind),))
    yield Animal("ipv6-only", "IPv6 only", Wish.DELIVER, (Mx("good", families="6"),))
    yield Animal("ipv6-wrong", "IPv6 only, wrong name", mx=(Mx("wrong name", families="6"),))
    yield Animal("two-families", "IPv4 and IPv6", Wish.DELIVER, (Mx("good", families="46"),))
    for name, kind, what in (
        ("plain-no-starttls", "no STARTTLS", "no policy, no STARTTLS"),
        ("plain-reset", "reset", "no policy, reset after STARTTLS"),
        ("plain-454", "STARTTLS 454", "no policy, STARTTLS is refused for now (454)"),
        ("plain-tls-1.1", "TLS 1.1", "no policy, TLS 1.1 only"),
        ("plain-expired", "expired", "no policy, expired certificate"),
        ("plain-554-starttls", "STARTTLS 554", "no policy, STARTTLS is refused (554)"),
        ("plain-421-starttls", "STARTTLS 421", "no policy, STARTTLS is refused for now (421)"),
        ("plain-no-reply", "STARTTLS close", "no policy, closes the connection at STARTTLS"),
        ("plain-tls-ehlo-close", "EHLO in TLS close", "no policy, closes it after EHLO in TLS"),
        ("plain-tls-ehlo-421", "EHLO in TLS 421", "no policy, EHLO in TLS is refused (421)"),
        ("plain-silence", "silent handshake", "no policy, silence after STARTTLS"),
        ("plain-text", "plain text", "no policy, plain text in place of TLS"),
        ("plain-refuses-sni", "refuses SNI", "no policy, TLS alert because of SNI"),
        ("plain-short-key", "1024-bit key", "no policy, RSA key of 1024 bits"),
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
    right: tuple[tuple[str, ...], ...] = (
        ("two-good", "good", "good"),
        ("first-bad", "expired", "good"),
        ("first-dead", REFUSES, "good"),
        ("first-no-address", "", "good"),
        ("last-bad", "good", "expired"),
        ("two-bad-one-good", "no STARTTLS", "wrong name", "good"),
        ("bounce-then-good", "STARTTLS 554", "good"),
        ("ehlo-550-then-good", "EHLO and HELO 550", "good"),
        ("starttls-421-then-good", "STARTTLS 421", "good"),
        ("good-then-loop", "good", "this machine"),
        ("bad-then-our-name", "expired", "says our name"),
        ("our-name-then-bad", "says our name", "expired"),
        ("sixth-good", "wrong name", "expired", "no STARTTLS", REFUSES, "self-signed", "good"),
    )
    wrong: tuple[tuple[str, ...], ...] = (
        ("all-bad", "expired", "no STARTTLS"),
        ("all-bad-reverse", "no STARTTLS", "expired"),
        ("bad-then-dead", "wrong name", REFUSES),
        ("dead-then-bad", REFUSES, "wrong name"),
        ("bad-then-421", "self-signed", "greeting 421"),
        ("bad-then-554", "self-signed", "greeting 554"),
        ("554-then-bad", "greeting 554", "self-signed"),
        ("550-then-bad", "greeting 550, no status", "expired"),
        ("bad-then-bounce", "expired", "STARTTLS 554"),
        ("bounce-then-bad", "STARTTLS 554", "expired"),
        ("bad-then-loop", "expired", "this machine"),
        ("bad-then-no-address", "expired", ""),
        ("421-then-no-starttls", "STARTTLS 421", "no STARTTLS"),
        ("all-bad-three", BLACK_HOLE, "reset", "wrong name"),
        ("black-hole-last", "wrong name", BLACK_HOLE),
    )
    for wish, rows in ((Wish.DELIVER, right), (Wish.HOLD, wrong)):
        for name, *kinds in rows:
            what = ", ".join(kind or "no address" for kind in kinds)
            yield Animal(name, f"hosts: {what}", wish, mx_hosts(*kinds))
    loop = mx_hosts("this machine", "good")
    yield Animal("loop-then-good", "hosts: this machine, good", Wish.NOTHING, loop)
    both: Mapping[str, Data] = {"mx.{d} A": ("wrong name", "good")}
    what = "one host with two addresses: wrong name, good"
    yield Animal("two-addresses", what, Wish.DELIVER, records=both)
    second = Policy(mx=("mx2.{d}",))
    what = "the first host fits no pattern, the second is good"
    yield Animal("first-foreign", what, Wish.DELIVER, mx_hosts("good", "good"), second)
    what = "the first host fits no pattern, the second is expired"
    yield Animal("foreign-then-bad", what, Wish.HOLD, mx_hosts("good", "expired"), second)
