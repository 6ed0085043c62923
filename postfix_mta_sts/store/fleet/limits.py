"""How long the shared store may take for each request, and how much longer each process waits.

`FleetClient` ends a request in time, in a thread of the network process. That process waits for
`REACTION` longer, and finds out that the thread hangs; the daemon for `GRACE` longer, and finds out
that the network process does.
"""

from typing import Final

from postfix_mta_sts.store.fleet.requests import AnyRequest, Claim, Look, OfferPolicy

CALL: Final = 8.0
"""Seconds of a request that brings no limit. A call waits for its turn, 5 s at most, and takes one
second, or `fleet.budget`, 2 s at most (`access`)."""
PATIENT_LOOK: Final = CALL
"""Seconds of a look that can wait, unless the caller has less."""
OFFER: Final = 30.0
"""Seconds of an offer: five calls, and more if relays offer one policy at the same time."""
REACTION: Final = 0.5
"""Seconds by which the thread may be late with an answer."""
GRACE: Final = 1.0
"""Seconds by which the network process may be. With 200 TLS handshakes at once, its event loop is
late by up to half of them, and that is no fault of the store."""


def limit_of(request: AnyRequest) -> float:
    """Return the seconds within which the client answers a request."""
    match request:
        case Look():
            return request.seconds
        case Claim():
            return request.wait + request.seconds
        case OfferPolicy():
            return OFFER
        case _:
            return CALL
