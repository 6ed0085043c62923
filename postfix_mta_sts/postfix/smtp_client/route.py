"""The addresses that smtp(8) finds for a next-hop, in its order, or why there is none.

Follows smtp_addr.c in Postfix's sources, with smtp_host_lookup = dns. The answers of the DNS come
from `network.mail_hosts`. Postfix shuffles addresses with the same rank.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.network.smtp.host_names import as_address, is_address, is_host_name
from postfix_mta_sts.network.smtp.values import SMTP_PORT
from postfix_mta_sts.postfix.smtp_client.values import MainCf, NextHop
from postfix_mta_sts.postfix.smtp_client.words import Words, say
from postfix_mta_sts.values import Value

LIST_LIMIT: Final = 100
"""Addresses of a domain that Postfix keeps (var_dns_rr_list_limit)."""

_NULL_MX: Final = {"", "."}
_NOT_FOUND: Final = "Host or domain name not found. Name service error for name={} type={}: {}"
_H_ERRNO: Final = {
    DnsProblem.NO_SUCH_NAME: "Host not found",
    DnsProblem.NO_RECORDS: "Host found but no data record of requested type",
    DnsProblem.FAILURE: "Host not found, try again",
}


class Address(Value, frozen=True):
    """One address of a mail host."""

    host: MxHost
    text: str
    rank: tuple[int, int]
    """MX preference, then address family: only addresses with the same rank change places."""

    @property
    def is_ipv6(self) -> bool:
        """Its family."""
        return ":" in self.text


class Route(Value, frozen=True):
    """All addresses in order, before smtp_mx_address_limit, and what was wrong with others."""

    addresses: tuple[Address, ...]
    words: Words | None = None
    """What Postfix says if it connects to no address: a look-up that failed leaves its words."""
    are_words_certain: bool = True
    """False: they depend on the order of hosts with the same preference."""


A = TypeVar("A")


def find_route(next_hop: NextHop, found: MailHosts, main_cf: MainCf) -> Route:
    """The addresses for a next-hop, or the words of the failure."""
    if words := _no_hosts(next_hop, found):
        return Route((), words)
    hosts = _mail_hosts(found)
    if not hosts:
        text = f"Name service error for name={next_hop.host} type=MX: "
        return Route((), say("5.4.4", f"{text}Malformed or unexpected name server reply"))
    families = _families(main_cf)
    # Found once: there may be thousands of them, and hundreds of orders.
    found_at = [(host, _addresses(host, families)) for host in hosts]
    addresses = [
        Address(host, text, (host.preference, 0)) for host, texts in found_at for text in texts
    ][:LIST_LIMIT]
    words = _leftover(found_at, families)
    orders = shuffled(found_at, lambda each: each[0].preference)
    others = (_leftover(order, families) for order in orders)
    is_certain = all(other == words for other in others)
    if next_hop.port == SMTP_PORT and (own := _own(addresses, main_cf)):
        addresses = _before(own, addresses, found)
        if not addresses:
            return Route((), _loops(next_hop, own, hosts))
    ordered = sorted(_ranked(addresses, main_cf), key=lambda each: each.rank)
    return Route(tuple(ordered), words, is_certain)


def shuffled(items: Sequence[A], rank: Callable[[A], object]) -> Iterator[Sequence[A]]:
    """Orders in which Postfix may shuffle items that are sorted by rank.

    Of those of the same rank, each is once the first, and once the last.
    """
    ranks = [rank(item) for item in items]
    count = Counter(ranks)
    for index, own in enumerate(ranks):
        if count[own] > 1:
            first = ranks.index(own)
            for place in (first, first + count[own] - 1):
                rest = [*items[:index], *items[index + 1 :]]
                yield [*rest[:place], items[index], *rest[place:]]


def within_limit(
    addresses: Sequence[A], families: Sequence[bool], main_cf: MainCf
) -> tuple[A, ...]:
    """The addresses that smtp(8) tries: smtp_balance_inet_protocols and smtp_mx_address_limit.

    `families` says of each address whether it is an IPv6 address.
    """
    limit = main_cf.smtp_mx_address_limit
    if limit <= 0:
        return tuple(addresses)
    if not main_cf.smtp_balance_inet_protocols:
        return tuple(addresses[:limit])
    room = _shares(families, min(limit, LIST_LIMIT))
    kept = []
    for address, is_ipv6 in zip(addresses, families, strict=True):
        if room[is_ipv6]:
            room[is_ipv6] -= 1
            kept.append(address)
    return tuple(kept[:limit])


def _shares(families: Sequence[bool], limit: int) -> dict[bool, int]:
    """How many addresses of each family smtp_balance_inet_proto() keeps."""
    ipv6 = sum(families)
    ipv4 = len(families) - ipv6
    half = limit // 2
    if not ipv4 or not ipv6 or ipv4 + ipv6 <= limit:
        return {False: ipv4, True: ipv6}
    if ipv6 <= half:
        return {False: limit - ipv6, True: ipv6}
    if ipv4 <= half:
        return {False: ipv4, True: limit - ipv4}
    first = (limit + (not families[0])) // 2
    return {False: first, True: limit - first}


def _no_hosts(next_hop: NextHop, found: MailHosts) -> Words | None:
    """Why no MX host is looked up."""
    if found.problem is DnsProblem.NULL_MX or any(host.name in _NULL_MX for host in found.hosts):
        return say("5.1.0", f"Domain {next_hop.host} does not accept mail (nullMX)")
    if found.hosts:
        return None
    if not found.implicit and found.problem is DnsProblem.FAILURE:
        text = _NOT_FOUND.format(next_hop.host, "MX", _H_ERRNO[DnsProblem.FAILURE])
        return say("4.4.3", text)
    if not found.implicit and found.problem is DnsProblem.INVALID:
        return None
    own = MxHost(next_hop.host, 0, problem=found.problem or DnsProblem.NO_RECORDS)
    return _after(None, own)


def _mail_hosts(found: MailHosts) -> Sequence[MxHost]:
    """The hosts in the order of their look-up, without MX records that name no host."""
    usable = (
        host for host in found.hosts if found.implicit or host.problem is not DnsProblem.INVALID
    )
    return sorted(usable, key=_preference)


def _preference(host: MxHost) -> int:
    return host.preference


def _families(main_cf: MainCf) -> frozenset[bool]:
    """Whether IPv6 (True) and IPv4 (False) are used (inet_protocols)."""
    names = set(main_cf.inet_protocols.lower().replace(",", " ").split())
    ipv6, ipv4 = {"all", "ipv6"} & names, {"all", "ipv4"} & names
    return frozenset(family for family, used in ((True, ipv6), (False, ipv4)) if used) or frozenset(
        (True, False)
    )


def _addresses(host: MxHost, families: frozenset[bool]) -> Sequence[str]:
    """A name that is an address is used as one."""
    address = as_address(host.name)
    own = (address,) if address else host.addresses
    return [text for text in own if is_address(text) and (":" in text) in families]


def _leftover(
    hosts: Sequence[tuple[MxHost, Sequence[str]]], families: frozenset[bool]
) -> Words | None:
    """What the look-ups of hosts that have no address leave behind; a soft error dominates.

    `hosts`: each with its usable addresses.
    """
    words: Words | None = None
    for host, usable in hosts:
        if not usable:
            words = _after(words, host)
        elif words and not is_address(host.name) and {":" in each for each in usable} != families:
            # The look-up of the other family changes the text, not the status.
            words = say(words.dsn, _text(host.name, DnsProblem.NO_RECORDS))
    return words


def _after(before: Words | None, host: MxHost) -> Words:
    """The words after the look-up of a host without an address."""
    problem = host.problem or DnsProblem.NO_RECORDS
    if is_address(host.name) or not is_host_name(host.name, wildcard=True):
        text = f"Name service error for {host.name}: invalid host or domain name"
    else:
        text = _text(host.name, problem if problem in _H_ERRNO else DnsProblem.NO_RECORDS)
    if problem is DnsProblem.FAILURE and not is_address(host.name):
        return say("4.4.3", text)
    is_soft = before is not None and not before.is_hard
    return say("4.4.4" if is_soft else "5.4.4", text)


def _text(name: str, problem: DnsProblem) -> str:
    return _NOT_FOUND.format(name, "A", _H_ERRNO[problem])


def _own(addresses: Iterable[Address], main_cf: MainCf) -> Address | None:
    """The first address at which this Postfix takes mail itself."""
    own = {_packed(text) for text in main_cf.own_addresses if is_address(text)}
    return next((each for each in addresses if _packed(each.text) in own), None)


def _packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _before(own: Address, addresses: Sequence[Address], found: MailHosts) -> list[Address]:
    """The addresses of hosts that are preferred to this machine."""
    if found.implicit:
        return []
    first = next(i for i, each in enumerate(addresses) if each.rank[0] == own.rank[0])
    return list(addresses[:first])


def _loops(next_hop: NextHop, own: Address, hosts: Sequence[MxHost]) -> Words:
    if own.rank[0] != hosts[0].preference:
        return say("4.4.4", f"unable to find primary relay for {next_hop.host}")
    return say("5.4.6", f"mail for {next_hop.host} loops back to myself")


def _ranked(addresses: Iterable[Address], main_cf: MainCf) -> Iterable[Address]:
    preferred = {"ipv6": True, "ipv4": False}.get(main_cf.smtp_address_preference.lower())
    for each in addresses:
        family = 0 if preferred is None else int(each.is_ipv6 is not preferred)
        yield Address(each.host, each.text, (each.rank[0], family))
