"""Domains whose mail hosts the DNS does not lead to, and other next-hops than a domain."""

from collections.abc import Iterator

from tests.e2e.zoo.animal import Animal, Mx, Wish, mx_hosts
from tests.e2e.zoo.kinds import ALTERNATIVE_PORT, IPV4


def dns() -> Iterator[Animal]:
    """Mail hosts that the DNS does not lead to."""
    none = Wish.NOTHING
    yield Animal("null-mx", "null MX", none, records={"{d} MX": ("0 .",)})
    yield Animal(
        "null-mx-no-policy", "null MX, no policy", none, policy=None, records={"{d} MX": ("0 .",)}
    )
    yield Animal(
        "no-address", "the MX host has no address", none, (Mx(""),), records={"mx.{d} TXT": ("x",)}
    )
    yield Animal("no-such-host", "the MX host does not exist", none, (Mx(""),))
    yield Animal(
        "host-servfail",
        "SERVFAIL for the address",
        none,
        (Mx(""),),
        records={"mx.{d} A": "SERVFAIL", "mx.{d} AAAA": "SERVFAIL"},
    )
    missing = mx_hosts("", "")
    yield Animal(
        "servfail-then-no-host",
        "SERVFAIL for the first host, the second does not exist",
        none,
        missing,
        records={"mx1.{d} A": "SERVFAIL", "mx1.{d} AAAA": "SERVFAIL"},
    )
    yield Animal(
        "no-host-then-servfail",
        "the first host does not exist, SERVFAIL for the second",
        none,
        missing,
        records={"mx2.{d} A": "SERVFAIL", "mx2.{d} AAAA": "SERVFAIL"},
    )
    yield Animal(
        "null-mx-and-host",
        "null MX beside another MX record",
        none,
        records={"{d} MX": ("0 .", "10 mx.{d}.")},
    )
    yield Animal("mx-servfail", "SERVFAIL for the MX records", none, records={"{d} MX": "SERVFAIL"})
    yield Animal("mx-silence", "no answer for the MX records", none, records={"{d} MX": "SILENCE"})
    yield Animal(
        "mx-address",
        "an IP address in the MX record",
        Wish.HOLD,
        (Mx(""),),
        records={"{d} MX": ("10 127.0.4.11.",)},
    )
    yield Animal(
        "no-mx",
        "no MX records, the domain has an address",
        Wish.DELIVER,
        (Mx("good", "{d}"),),
        records={"{d} MX": ()},
    )
    yield Animal(
        "no-mx-wrong",
        "no MX records, certificate for another name",
        Wish.HOLD,
        (Mx("wrong name", "{d}"),),
        records={"{d} MX": ()},
    )
    yield Animal(
        "nothing",
        "neither MX records nor an address",
        none,
        (),
        records={"{d} TXT": ("x",), "{d} MX": ()},
    )
    yield Animal(
        "no-such-domain", "the domain does not exist", none, (), None, records={"{d} MX": ()}
    )


def odd_names() -> Iterator[Animal]:
    """MX records with names that are not quite right, and addresses that are not all there."""
    good = Wish.DELIVER
    yield Animal("upper-mx", "MX record in upper case", good, records={"{d} MX": ("10 MX.{d}.",)})
    yield Animal("underscore-mx", "`_` in the host name", Wish.NOTHING, (Mx("good", "m_x.{d}"),))
    for name, host in (("hyphen-mx", "-mx.{d}"), ("star-mx", "*.{d}"), ("space-mx", r"m\032x.{d}")):
        what = f"`{host}` in the MX record"
        odd = {"{d} MX": (f"10 {host}.",)}
        yield Animal(name, what, Wish.NOTHING, (Mx(""),), records=odd)
        both = {"{d} MX": (f"10 {host}.", "20 mx.{d}.")}
        yield Animal(f"{name}-too", f"{what}, and a good one", good, records=both)
    fault = {"mx.{d} AAAA": "SERVFAIL"}
    yield Animal("aaaa-servfail", "SERVFAIL for AAAA, address good", good, records=fault)
    dangling = {"mx.{d} A": (), "mx.{d} CNAME": ("nowhere.{d}.",)}
    yield Animal("dangling-cname", "alias of nothing", Wish.NOTHING, records=dangling)
    loop = {"mx.{d} A": (), "mx.{d} CNAME": ("b.{d}.",), "b.{d} CNAME": ("mx.{d}.",)}
    yield Animal("cname-loop", "aliases of each other", Wish.NOTHING, records=loop)
    alias = {"{d} MX": (), "{d} CNAME": ("host.{d}.",), "host.{d} A": ("good",)}
    yield Animal(
        "no-mx-cname",
        "no MX records, alias of a host",
        good,
        (Mx("good", "{d}"),),
        records=alias | {"{d} A": ()},
    )


def next_hops() -> Iterator[Animal]:
    """Other next-hops than a plain domain."""
    yield Animal("idn", "international domain", Wish.DELIVER, label="bücher")
    yield Animal(
        "idn-wrong", "international domain, wrong name", mx=(Mx("wrong name"),), label="grün"
    )
    bad = (Mx("wrong name"),)
    yield Animal("brackets", "next-hop `[mx.{d}]`", Wish.NOTHING, bad, next_hop="[mx.{d}]")
    yield Animal(
        "brackets-port",
        "next-hop with brackets and port",
        Wish.NOTHING,
        bad,
        next_hop=f"[mx.{{d}}]:{ALTERNATIVE_PORT}",
    )
    yield Animal(
        "port", "next-hop with a port", Wish.HOLD, bad, next_hop=f"{{d}}:{ALTERNATIVE_PORT}"
    )
    yield Animal(
        "literal",
        "address in place of a domain",
        Wish.NOTHING,
        (),
        None,
        recipient=f"[{IPV4['wrong name']}]",
    )
    yield Animal("single-label", "a single label", Wish.NOTHING, bad, is_single_label=True)
    yield Animal(
        "subdomain",
        "subdomain of a domain with a policy",
        Wish.NOTHING,
        bad,
        records={"a.{d} MX": ("10 mx.{d}.",)},
        recipient="a.{d}",
    )
    yield Animal(
        "upper-case-recipient", "recipient's domain in upper case", Wish.DELIVER, recipient="{D}"
    )
