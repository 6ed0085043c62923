"""The address ranges that are not for public hosts, as data.

From IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890, RFC 8190) as of May 2025, whose
newest entry is that of RFC 9780; with the ranges that the registries lack, each with its source.
Python's `is_global` is not used: its table is another one in each version of Python.

Within one table the first range that contains an address decides.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final, NamedTuple


class Range(NamedTuple):
    """The addresses from `first` to `last`, as numbers, and what they are reserved for."""

    first: int
    last: int
    use: str


def _ranges(table: Mapping[str, str]) -> tuple[Range, ...]:
    networks = {ipaddress.ip_network(prefix): use for prefix, use in table.items()}
    return tuple(Range(int(n[0]), int(n[-1]), use) for n, use in networks.items())


METADATA_USE: Final = "metadata service of a cloud"

SPECIAL_IPV4: Final = _ranges({
    "0.0.0.0/8": "this network",  # RFC 791 §3.2
    "10.0.0.0/8": "private",  # RFC 1918
    "100.64.0.0/10": "shared by a provider's customers",  # RFC 6598
    "127.0.0.0/8": "loopback",  # RFC 1122 §3.2.1.3
    "168.63.129.16/32": METADATA_USE,  # of Azure; not in the registry
    "169.254.0.0/16": "link-local",  # RFC 3927
    "172.16.0.0/12": "private",  # RFC 1918
    # DS-Lite, PCP and TURN anycast, the dummy address, NAT64 discovery: all are for the next
    # router, although the registry has two of them as globally reachable.
    "192.0.0.0/24": "IETF protocols",  # RFC 6890 §2.1
    "192.0.2.0/24": "documentation",  # RFC 5737
    "192.31.196.0/24": "anycast, AS112",  # RFC 7535; the nearest network answers, as for AMT
    "192.52.193.0/24": "anycast, AMT",  # RFC 7450
    "192.88.99.0/24": "anycast, 6to4 relays",  # RFC 7526
    "192.168.0.0/16": "private",  # RFC 1918
    "192.175.48.0/24": "anycast, AS112",  # RFC 7534
    "198.18.0.0/15": "benchmarks",  # RFC 2544
    "198.51.100.0/24": "documentation",  # RFC 5737
    "203.0.113.0/24": "documentation",  # RFC 5737
    "224.0.0.0/4": "multicast",  # RFC 5771; not in the registry
    "255.255.255.255/32": "broadcast",  # RFC 919 §7
    "240.0.0.0/4": "reserved",  # RFC 1112 §4
})  # fmt: skip

SPECIAL_IPV6: Final = _ranges({
    "::/128": "unspecified",  # RFC 4291 §2.5.2
    "::1/128": "loopback",  # RFC 4291 §2.5.3
    "::/96": "IPv4-compatible",  # RFC 4291 §2.5.5.1; deprecated, not in the registry
    "64:ff9b:1::/48": "local NAT64",  # RFC 8215
    "100::/64": "discarded",  # RFC 6666
    "100:0:0:1::/64": "dummy prefix",  # RFC 9780
    "2001::/32": "Teredo",  # RFC 4380
    "2001:2::/48": "benchmarks",  # RFC 5180
    "2001:10::/28": "ORCHID",  # RFC 4843
    "2001:20::/28": "ORCHIDv2",  # RFC 7343; identifiers, no locations
    "2001:30::/28": "drone identifiers",  # RFC 9374
    # The rest: anycast addresses for PCP, TURN, SRP, AMT and AS112.
    "2001::/23": "IETF protocols",  # RFC 2928
    "2001:db8::/32": "documentation",  # RFC 3849
    "2620:4f:8000::/48": "anycast, AS112",  # RFC 7534
    "3ffe::/16": "6bone",  # RFC 3701; returned, not in the registry
    "3fff::/20": "documentation",  # RFC 9637
    "5f00::/16": "SRv6 segments",  # RFC 9602
    "fc00::/7": "private",  # RFC 4193
    "fe80::/10": "link-local",  # RFC 4291 §2.5.6
    "fec0::/10": "site-local",  # RFC 3879; deprecated, not in the registry
    "ff00::/8": "multicast",  # RFC 4291 §2.7; not in the registry
    # IANA has allocated no unicast addresses outside of 2000::/3 (RFC 4291 §2.4).
    "::/3": "reserved",
    "4000::/2": "reserved",
    "8000::/1": "reserved",
})  # fmt: skip
"""Without the ranges with an embedded IPv4 address that decides: see `addresses`."""

METADATA_IPV4: Final = _ranges(dict.fromkeys((
    "169.254.169.0/24",  # .254: nearly all clouds; .123, .253: time and DNS of AWS
    "169.254.170.0/24",  # .2, .23: credentials of containers at AWS
    "169.254.0.23/32",  # Tencent
    "169.254.42.42/32",  # Scaleway
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure
    "192.0.0.192/32",  # Oracle
), METADATA_USE))  # fmt: skip
"""Services that give the secrets of a virtual machine to each of its processes.

Each is in `SPECIAL_IPV4` as well, in the wider range that contains it."""

METADATA_IPV6: Final = _ranges(dict.fromkeys((
    "fd00:ec2::/32",  # ::254, ::253, ::23: AWS
    "fd20:ce::254/128",  # Google
    "fd00:42::42/128",  # Scaleway
    "fd00:a9fe:a9fe::/48",  # Akamai
    "fe80::a9fe:a9fe/128",  # OpenStack
), METADATA_USE))  # fmt: skip
