"""The addresses that smtp(8) finds, in its order, and its words if there is none."""

from collections import Counter

import pytest

from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import SMTP_PORT
from postfix_mta_sts.postfix.smtp_client import route
from postfix_mta_sts.postfix.smtp_client.route import LIST_LIMIT, find_route, within_limit
from postfix_mta_sts.postfix.smtp_client.values import MainCf, NextHop
from postfix_mta_sts.postfix.smtp_client.words import Words
from postfix_mta_sts.values import replace
from tests.support.smtp_client import NEW, NEXT_HOP, host, numbered

_NXDOMAIN, _FAILURE = DnsProblem.NO_SUCH_NAME, DnsProblem.FAILURE
_NOT_FOUND = "Host or domain name not found. Name service error"
_NO_NAME = f"{_NOT_FOUND}: Host not found"
_NO_DATA = f"{_NOT_FOUND}: Host found but no data record of requested type"
_AGAIN = f"{_NOT_FOUND}: Host not found, try again"
_MX_AGAIN = f"{_NOT_FOUND} for type=MX: Host not found, try again"
_NULL_MX = Words("5.1.0", "Domain does not accept mail (nullMX)")
_MALFORMED = Words(
    "5.4.4", "Name service error for type=MX: Malformed or unexpected name server reply"
)
_LOOPS = Words("5.4.6", "mail loops back to myself")


def without(problem: DnsProblem | None, name: str = "mx.x.test", preference: int = 10) -> MxHost:
    """Return an MX host without an address."""
    return MxHost(name, preference, problem=problem)


def texts(found: MailHosts, main_cf: MainCf, next_hop: NextHop = NEXT_HOP) -> list[str]:
    """Return the addresses of the route, limited."""
    route = find_route(next_hop, found, main_cf).addresses
    kept = within_limit(route, [each.is_ipv6 for each in route], main_cf)
    return [each.text for each in kept]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (MailHosts((), problem=DnsProblem.NULL_MX), _NULL_MX),
        (MailHosts((host("."), host())), _NULL_MX),
        (MailHosts((), problem=_NXDOMAIN), Words("5.4.4", _NO_NAME)),
        (MailHosts((), problem=DnsProblem.NO_RECORDS), Words("5.4.4", _NO_DATA)),
        (MailHosts(()), Words("5.4.4", _NO_DATA)),
        (MailHosts((), problem=_FAILURE), Words("4.4.3", _MX_AGAIN)),
        (MailHosts((), implicit=True, problem=_FAILURE), Words("4.4.3", _AGAIN)),
        (
            MailHosts((), problem=DnsProblem.INVALID),
            _MALFORMED,
        ),
        (
            MailHosts((without(DnsProblem.INVALID, "bad name"),)),
            _MALFORMED,
        ),
        (
            MailHosts((without(DnsProblem.INVALID, "bad name", 0),), implicit=True),
            Words("5.4.4", "Name service error: invalid host or domain name"),
        ),
        (MailHosts((without(_NXDOMAIN),)), Words("5.4.4", _NO_NAME)),
        (MailHosts((without(DnsProblem.NO_RECORDS),)), Words("5.4.4", _NO_DATA)),
        (MailHosts((without(None),)), Words("5.4.4", _NO_DATA)),
        (MailHosts((without(_FAILURE),)), Words("4.4.3", _AGAIN)),
        # The last text counts; a soft status dominates.
        (
            MailHosts((without(_FAILURE), without(_NXDOMAIN, "mx2.x.test", 20))),
            Words("4.4.4", _NO_NAME),
        ),
        (
            MailHosts((without(_NXDOMAIN), without(_FAILURE, "mx2.x.test", 20))),
            Words("4.4.3", _AGAIN),
        ),
        (MailHosts((without(_NXDOMAIN, "x.test", 0),), implicit=True), Words("5.4.4", _NO_NAME)),
    ],
)  # fmt: skip
def test_no_address(found: MailHosts, words: Words) -> None:
    """Without an address, smtp(8) bounces or defers in the words of the DNS."""
    route = find_route(NEXT_HOP, found, MainCf())
    assert route.addresses == ()
    assert route.words == words


def test_a_failure_leaves_its_words() -> None:
    """The words of a host without an address remain, with the text of the last look-up."""
    missing, both = (
        without(_NXDOMAIN, "mx1.x.test"),
        host("mx2.x.test", "1.2.3.4", "::1"),
    )
    assert find_route(NEXT_HOP, MailHosts((missing, both)), MainCf()).words == Words(
        "5.4.4", _NO_NAME
    )
    one = host("mx2.x.test", "1.2.3.4", preference=20)
    assert find_route(NEXT_HOP, MailHosts((missing, one)), MainCf()).words == Words(
        "5.4.4", _NO_DATA
    )
    only = MainCf(inet_protocols="ipv4")
    assert find_route(NEXT_HOP, MailHosts((missing, one)), only).words == Words("5.4.4", _NO_NAME)


def test_an_address_for_a_name() -> None:
    """Postfix uses an IP address in an MX record."""
    found = MailHosts((without(_NXDOMAIN, "127.0.0.9"), host()))
    assert texts(found, MainCf()) == ["127.0.0.9", "127.0.0.11"]
    literal = MailHosts((MxHost("::1", 0),), implicit=True)
    route = find_route(
        NextHop("[::1]", "::1", has_mx=False), literal, MainCf(inet_protocols="ipv4")
    )
    assert route.words == Words("5.4.4", "Name service error: invalid host or domain name")


SIX = ("127.0.1.1", "127.0.1.2", "127.0.1.3", "::1", "::2", "::3")


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        (MainCf(), ["127.0.1.1", "127.0.1.2", "127.0.1.3", "::1", "::2"]),
        (MainCf(smtp_mx_address_limit=4), ["127.0.1.1", "127.0.1.2", "::1", "::2"]),
        (MainCf(smtp_mx_address_limit=1), ["127.0.1.1"]),
        (MainCf(smtp_mx_address_limit=0), list(SIX)),
        (MainCf(smtp_mx_address_limit=3, smtp_balance_inet_protocols=False), list(SIX[:3])),
        (MainCf(inet_protocols="ipv6"), ["::1", "::2", "::3"]),
        (MainCf(inet_protocols="ipv6, ipv4", smtp_mx_address_limit=9), list(SIX)),
    ],
)
def test_limit(main_cf: MainCf, expected: list[str]) -> None:
    """The limit counts addresses, and leaves room for both families."""
    assert texts(numbered(*SIX), main_cf) == expected


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"), [(1, 9, (1, 4)), (9, 1, (4, 1)), (9, 9, (3, 2)), (2, 3, (2, 3))]
)
def test_balance(ipv4: int, ipv6: int, expected: tuple[int, int]) -> None:
    """The family with few addresses keeps them all, up to half of the limit."""
    families = [*(ipv4 * [False]), *(ipv6 * [True])]
    kept = within_limit(families, families, MainCf())
    assert (kept.count(False), kept.count(True)) == expected


def test_order() -> None:
    """The preference counts before the family, which counts if main.cf says so."""
    both = MailHosts(
        (host("b.test", "::2", "127.0.1.2", preference=20), host("a.test", "127.0.1.1", "::1"))
    )
    assert texts(both, MainCf()) == ["127.0.1.1", "::1", "::2", "127.0.1.2"]
    ipv4 = MainCf(smtp_address_preference="ipv4")
    assert texts(both, ipv4) == ["127.0.1.1", "::1", "127.0.1.2", "::2"]
    ipv6 = MainCf(smtp_address_preference="ipv6")
    assert texts(both, ipv6) == ["::1", "127.0.1.1", "::2", "127.0.1.2"]


@pytest.mark.parametrize(
    ("found", "left", "words"),
    [
        (numbered("127.0.0.1", "127.0.1.2"), [], _LOOPS),
        (numbered("127.0.1.1", "127.0.0.1", "127.0.1.3"), ["127.0.1.1"], None),
        (MailHosts((host("x.test", "127.0.1.1", "127.0.0.1"),), implicit=True), [], _LOOPS),
        (
            MailHosts((without(_NXDOMAIN), host("b.test", "127.0.0.1", preference=20))),
            [],
            Words("4.4.4", "unable to find primary relay"),
        ),
    ],
)  # fmt: skip
def test_loops(found: MailHosts, left: list[str], words: Words | None) -> None:
    """Hosts that are not preferred to this machine get no mail from it."""
    main_cf = MainCf(own_addresses=("127.0.0.1", "::1", "nonsense"))
    route = find_route(NEXT_HOP, found, main_cf)
    assert [each.text for each in route.addresses] == left
    assert route.words == words


def test_other_port_does_not_loop() -> None:
    """At another port than 25 this machine may be the mail host."""
    main_cf = MainCf(own_addresses=("127.0.1.1",))
    other = replace(NEXT_HOP, port=SMTP_PORT + 1)
    assert texts(numbered("127.0.1.1"), main_cf, other) == ["127.0.1.1"]


def test_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work does not grow with the orders: the owner of a domain chooses how many there are.

    50 hosts with 64 addresses each took 20 seconds.
    """
    seen = Counter[str]()

    def is_address(text: str) -> bool:
        seen[text] += 1
        return True

    monkeypatch.setattr(route, "is_address", is_address)
    addresses = [tuple(f"127.{n}.0.{last}" for last in range(64)) for n in range(50)]
    hosts = tuple(host(f"mx{n}.x.test", *each) for n, each in enumerate(addresses))
    found = find_route(NEXT_HOP, MailHosts(hosts), NEW)
    assert len(found.addresses) == LIST_LIMIT
    assert seen.most_common(1)[0][1] <= 2
