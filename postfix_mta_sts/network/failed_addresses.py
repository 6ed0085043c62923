"""Remember with which addresses GETs have failed, so that the next GET begins with another one.

After a ServerHello, or once the time is up, a fetch ends without a try of the other addresses (see
`https`). So an IPv6 address that stalls, has an old certificate or answers 404 would spoil each
attempt, although IPv4 works.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

MAX_ADDRESSES: Final = 1_024
"""Addresses remembered, some 300 bytes each; for one more, the oldest is forgotten."""


class FailedAddresses:
    """The addresses that failed last, of hosts that have several."""

    def __init__(self) -> None:
        self._failed: dict[tuple[str, str], int] = {}  # to the number of the failure, rising
        self._numbers = count(1)

    def add(self, host: str, address: str) -> None:
        """A GET for a host has failed with this address."""
        self.remove(host, address)
        self._failed[host, address] = next(self._numbers)
        if len(self._failed) > MAX_ADDRESSES:
            del self._failed[next(iter(self._failed))]

    def remove(self, host: str, address: str) -> None:
        """A GET for a host has succeeded with this address."""
        self._failed.pop((host, address), None)

    def last(self, host: str, addresses: Sequence[str]) -> list[str]:
        """The addresses in their order, but those that failed come last, the latest at the end."""
        return sorted(addresses, key=lambda address: self._failed.get((host, address), 0))
