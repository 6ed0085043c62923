"""Count and log what clients did wrong: one line a minute for each kind, however many they are."""

import logging
from collections import defaultdict
from collections.abc import Callable

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.probe import Place
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.foreign import MAP_PROTOCOLS
from postfix_mta_sts.postfix.protocol.wire import WireError
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.stats import Counters

_log = logging.getLogger(__name__)


class Refusals:
    """`monotonic` gives seconds for the rate limit; `counters` counts refused clients."""

    def __init__(self, counters: Counters, monotonic: Callable[[], float]) -> None:
        self._counters = counters
        self._monotonic = monotonic
        self._limits: defaultdict[str, RateLimit] = defaultdict(RateLimit)  # of a few kinds

    def foreign(self, peer: str, place: Place, protocol: str) -> None:
        """A client speaks another protocol than the listener."""
        self._counters.refused += 1
        count = self._take(f"{protocol} {place.wire}")
        if count is None:
            return
        if protocol in MAP_PROTOCOLS:
            event(
                _log,
                logging.WARNING,
                "client speaks another protocol than the listener, mail is deferred",
                client=protocol,
                listener=place.wire,
                address=place.address,
                hint=hint(place),
                peer=peer,
                count=count,
            )
        else:
            event(
                _log,
                logging.INFO,
                "not a Postfix map client",
                client=protocol,
                address=place.address,
                peer=peer,
                count=count,
            )

    def malformed(self, peer: str, place: Place, error: WireError) -> None:
        """A client sent what is no request of any protocol."""
        self._counters.refused += 1
        if count := self._take(error.kind):
            event(
                _log,
                logging.INFO,
                "malformed request",
                reason=str(error),
                peer=peer,
                address=place.address,
                count=count,
            )

    def full(self, peer: str, limit: int) -> None:
        """A connection was closed because there are too many."""
        if count := self._take("connections"):
            event(
                _log,
                logging.INFO,
                "connection limit reached",
                limit=limit,
                peer=peer,
                count=count,
            )

    def flooded(self, peer: str, limit: int) -> None:
        """A connection was closed because too many bytes are kept for all."""
        if count := self._take("bytes"):
            event(
                _log,
                logging.WARNING,
                "too many unanswered requests or unread replies, connection closed",
                limit=limit,
                peer=peer,
                count=count,
            )

    def _take(self, kind: str) -> int | None:
        return self._limits[kind].take(self._monotonic())


def hint(place: Place) -> str:
    """What to write to reach a listener from Postfix, which has no tcp_table on UNIX sockets."""
    is_tcp = isinstance(place.address, TcpAddress)
    if place.wire == socketmap.NAME:
        return f"write socketmap:{'inet:' if is_tcp else ''}{place.address}:postfix in main.cf"
    if is_tcp:
        return f"write tcp:{place.address} in main.cf"
    return f"write {socketmap.NAME}: {place.address} in listen"
