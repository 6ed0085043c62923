"""Which IP addresses are those of the public Internet.

Border: text in, yes or no out. Whoever publishes a record names the Policy Host; it must not be
able to make a relay speak to itself or to its neighbours.
"""

import ipaddress

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291 §2.4 and IANA's registry
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


def is_public(text: str) -> bool:
    """Whether an address is global and unicast; of an IPv4 one wrapped in IPv6, whether that is.

    Wrapped: IPv4-mapped (RFC 4291 §2.5.5.2), 6to4 (RFC 3056 §2) and NAT64 (RFC 6052 §2.1).
    Raises `ValueError` where the text is no address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or _behind_nat64(address)
        if wrapped is None:
            return address.is_global and address in _GLOBAL_UNICAST
        address = wrapped
    return address.is_global and not address.is_multicast


def _behind_nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else None
