"""The settings of a fleet that are worth a warning; `store.fleet.settings` says what is wrong.

Nothing is asked of the store itself: no relay needs it to start, and `fleet check` asks it.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.config.settings import FleetSettings
from postfix_mta_sts.store.fleet.settings import relay_name

_NAMES_OF_ALL: Final = frozenset({"localhost", "localhost.localdomain", "relay"})
"""Names of hosts that were given none."""


def doubts(fleet: FleetSettings) -> Iterator[tuple[str, str]]:
    """Yield each key that is probably not as it was meant, and why; the daemon starts."""
    location = fleet.url
    if location is None:
        if fleet.key_file or fleet.password_file:
            yield "fleet.url", "it is not set, so that this relay shares nothing; write the URL"
        return
    if not location.tls and not location.is_loopback:
        reason = "the password crosses the network in the clear"
        yield "fleet.url", f"{reason}; use TLS, unless only you can read this network"
    if (name := relay_name(fleet)) in _NAMES_OF_ALL:
        yield "fleet.name", f"{name} may be the name of another relay, too; write another one"
