"""Domains for which main.cf is another one."""

from collections.abc import Iterator

from tests.e2e.zoo.animal import Animal, Mx, Wish, mx_hosts

_BAD = (Mx("wrong name"),)


def levels() -> Iterator[Animal]:
    """Other levels in main.cf than `may`; the domain has a policy, or not."""
    for level in ("", "none", "encrypt", "verify", "secure", "dane-only"):
        dns = "dnssec" if level == "dane-only" else ""
        main_cf = (("smtp_tls_security_level", level), ("smtp_dns_support_level", dns))
        name, what = f"level-{level or 'empty'}", f"level `{level}` in main.cf"
        yield Animal(name, f"{what}, good", Wish.DELIVER, main_cf=main_cf)
        for kind in ("good", "expired", "no STARTTLS", "1024-bit key", "TLS 1.1"):
            own = f"{name}-no-policy-{kind.lower().replace(' ', '-')}"
            host = (Mx(kind),)
            text = f"{what}, no policy, {kind}"
            yield Animal(own, text, Wish.NOTHING, host, None, main_cf=main_cf)


def limits() -> Iterator[Animal]:
    """Other parameters that decide which addresses are tried, and which names count."""
    one = (("smtp_mx_address_limit", "1"),)
    what = "smtp_mx_address_limit = 1; hosts: expired, good"
    yield Animal("one-address", what, Wish.DELIVER, mx_hosts("expired", "good"), main_cf=one)
    for family, version in (("4", "ipv4"), ("6", "ipv6")):
        prefer = (("smtp_address_preference", version),)
        what = f"smtp_address_preference = {version}"
        both = (Mx("good", families="46"),)
        yield Animal(f"prefer-{version}", what, Wish.DELIVER, both, main_cf=prefer)
        bad = (Mx("expired", "mx1.{d}", families=family), Mx("good", "mx2.{d}", families="46"))
        what += f", first host: expired, {version} only"
        yield Animal(f"prefer-{version}-bad", what, Wish.DELIVER, bad, main_cf=prefer)
    for names in ("hostname", "nexthop", "dot-nexthop"):
        secure = (("smtp_tls_security_level", "secure"), ("smtp_tls_secure_cert_match", names))
        for host in ("mx.{d}", "{d}"):
            what = f"level `secure`, smtp_tls_secure_cert_match = {names}, no policy, host `{host}`"
            name = f"match-{names}-{'mx' if host.startswith('mx') else 'apex'}"
            mx = (Mx("good", host),)
            more = (*secure, ("smtp_tls_servername", "hostname"))
            yield Animal(name, what, Wish.NOTHING, mx, None, main_cf=more)


def tables() -> Iterator[Animal]:
    """Another table beside the daemon's in smtp_tls_policy_maps."""
    rows = (
        ("exception", "{d} = may", Wish.HOLD),
        ("exception-none", "{d} = none", Wish.NOTHING),
        ("exception-match", "{d} = secure match=wrong.test", Wish.HOLD),
        ("exception-above", ".test = may", Wish.HOLD),
        ("exception-unknown", "{d} = strict", Wish.HOLD),
        ("exception-attribute", "{d} = secure color=red", Wish.HOLD),
    )
    for name, entry, wish in rows:
        maps = f"inline:{{{{{entry}}}}}, {{maps}}"
        what = f"`{entry}` in a table before the daemon's, wrong name"
        yield Animal(name, what, wish, _BAD, main_cf=(("smtp_tls_policy_maps", maps),))
    after = (("smtp_tls_policy_maps", "{maps}, inline:{{{d} = secure match=wrong.test}}"),)
    what = "`secure match=wrong.test` in a table behind the daemon's"
    yield Animal("table-behind", f"{what}, wrong name", Wish.HOLD, _BAD, main_cf=after)
    what += ", no policy, wrong name"
    yield Animal("table-behind-no-policy", what, Wish.NOTHING, _BAD, None, main_cf=after)
    alone = (("smtp_tls_policy_maps", ""),)
    what = "smtp_tls_policy_maps is empty, wrong name"
    yield Animal("no-table", what, Wish.HOLD, _BAD, main_cf=alone)
    dead = (("smtp_tls_policy_maps", "socketmap:inet:127.0.0.1:9:postfix"),)
    yield Animal("dead-table", "nobody answers the socketmap", Wish.DELIVER, main_cf=dead)
