"""Which addresses a Policy Host may have: public ones, and private ones that a setting allows.

The publisher of a record chooses the Policy Host; it must not be able to make a relay connect to
itself or to its neighbours. `special_ranges` has the ranges.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.errors import ForbiddenAddressError, printable
from postfix_mta_sts.network.special_ranges import (
    METADATA_IPV4,
    METADATA_IPV6,
    METADATA_USE,
    SPECIAL_IPV4,
    SPECIAL_IPV6,
    Range,
)

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_LOCAL_NAT64_BYTES: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Where an IPv4 address is, by the length of the prefix: 48, 56, 64, 96 bits (RFC 6052 §2.2)."""
_SHOWN: Final = 3
"""Addresses named in a reason; a name may have hundreds."""


class AddressRules:
    """The rules of one configuration; `private` is `https.allow_private_addresses`."""

    def __init__(self, private: bool | Sequence[str]) -> None:  # noqa: FBT001 - a setting's value
        self._all = private is True
        prefixes = () if isinstance(private, bool) else private
        self._allowed = tuple(map(ipaddress.ip_network, prefixes))

    def admit(self, text: str) -> bool:
        """Whether an address may be connected to. Raises `ValueError` if it is not an address."""
        use = special_use(text)
        if use is None or use == METADATA_USE:
            return use is None
        return self._all or self._is_listed(ipaddress.ip_address(text))

    def _is_listed(self, address: Address) -> bool:
        """Whether a prefix covers an address, or the IPv4 address that decides for it."""
        both = (address, _deciding(address))
        return any(each in prefix for each in both if each for prefix in self._allowed)


def special_use(text: str) -> str | None:
    """What an address is reserved for; None: it is public, that is global and unicast.

    IPv4-mapped, 6to4 and NAT64 addresses are what their IPv4 address is. Raises `ValueError` if the
    text is not an address.
    """
    address = ipaddress.ip_address(text)
    decides = _deciding(address) or address
    use = _use(decides, SPECIAL_IPV4 if decides.version == 4 else SPECIAL_IPV6)
    if use and any(_is_metadata(each) for each in (address, *_embedded(address))):
        return METADATA_USE
    return use


def forbidden_address(addresses: Sequence[str]) -> ForbiddenAddressError:
    """The error for a host without any address that is allowed; it names the setting."""
    shown = ", ".join(f"{each} ({special_use(each)})" for each in addresses[:_SHOWN])
    more = f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else ""
    never = all(special_use(each) == METADATA_USE for each in addresses)
    hint = "no setting allows it" if never else "https.allow_private_addresses can allow it"
    return ForbiddenAddressError(printable(f"not a public address: {shown}{more}; {hint}", 400))


def _deciding(address: Address) -> ipaddress.IPv4Address | None:
    """The embedded IPv4 address to which packets go in the end; None: they go to `address`."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return _ipv4(address, (12, 13, 14, 15))
    return address.ipv4_mapped or address.sixtofour  # RFC 4291 §2.5.5.2, RFC 3056 §2


def _embedded(address: Address) -> list[Address]:
    """Every IPv4 address to which packets for an IPv6 address could go."""
    found: list[Address] = [each for each in [_deciding(address)] if each]
    if isinstance(address, ipaddress.IPv6Address):
        found.extend(address.teredo or ())  # RFC 4380 §4: the server, the client
        if address in _LOCAL_NAT64:
            found.extend(_ipv4(address, places) for places in _LOCAL_NAT64_BYTES)
    return found


def _ipv4(address: ipaddress.IPv6Address, places: Sequence[int]) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes(address.packed[place] for place in places))


def _is_metadata(address: Address) -> bool:
    return bool(_use(address, METADATA_IPV4 if address.version == 4 else METADATA_IPV6))


def _use(address: Address, ranges: Sequence[Range]) -> str | None:
    number = int(address)
    return next((use for first, last, use in ranges if first <= number <= last), None)
