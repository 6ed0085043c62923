"""The addresses of the listeners: a host name stands for each of its addresses.

`listeners` opens them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.sockets import ListenError
from postfix_mta_sts.sockets.host_names import addresses_of


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a listener."""

    listener: ListenerSettings
    address: TcpAddress | UnixAddress

    @property
    def name(self) -> TcpAddress | None:
        """The address as configured, if it has a host name."""
        given = self.listener.address
        return given if isinstance(given, TcpAddress) and given != self.address else None

    @property
    def key(self) -> Hashable:
        """What identifies the socket; with port 0, which is another port each time, the place."""
        address = self.address
        return self if isinstance(address, TcpAddress) and not address.port else address


def places_of(listeners: Sequence[ListenerSettings]) -> Sequence[Place]:
    """All addresses of the listeners; host names are looked up, which may block.

    Raises `ListenError` for a name without an address, and if two listeners have the same one.
    """
    places = [Place(each, address) for each in listeners for address in addresses_of(each.address)]
    seen: dict[Hashable, Place] = {}
    for place in places:
        if (other := seen.setdefault(place.key, place)) != place:
            both = f"{other.listener.address} and {place.listener.address}"
            raise ListenError(f"cannot listen on {place.address}: {both} are the same address")
    return places
