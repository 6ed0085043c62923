"""Ask the daemon's own listeners, as Postfix does."""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.daemon import watchdog
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.postfix.probe import Place, ProbeError

TIMEOUT: Final = 5.0
"""Seconds for a reply that needs neither network nor store."""


def places(listeners: Listeners) -> Sequence[Place]:
    """Return the addresses of the open listeners."""
    return [probe.place_of(wire, sock) for wire, sock in listeners.sockets]


async def self_check(listeners: Listeners) -> str:
    """Return why the first accessible listener does not answer; the empty text if it does."""
    try:
        await watchdog.look_up(places(listeners), TIMEOUT)
    except ProbeError as error:
        return str(error)
    return ""
