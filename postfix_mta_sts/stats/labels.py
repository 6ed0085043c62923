"""The labels of the daemon's counters and gauges: what is counted by what.

The sets of values are fixed: no name from the network is ever one. `stats` has the numbers.
"""

from enum import StrEnum
from typing import Final

SUCCESS: Final = "success"
"""Takes the place of an error code."""


class Label(StrEnum):
    """Base of the label values. Each look-up counts some, and `Enum` hashes by a Python call."""

    __hash__ = str.__hash__


class Answer(Label):
    """The kinds of reply to Postfix."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    TRY_AGAIN = "try_again"


class Source(Label):
    """Where an answer came from."""

    MEMORY = "memory"
    STORE = "store"
    NETWORK = "network"
    FLEET = "fleet"
    """A policy that another relay had fetched."""
    NONE = "none"
    """No look-up was needed or none was possible: the key names no domain, an exception or a trial
    decides whatever is found, the lookup timeout expired, or a limit was reached."""


class Stage(Label):
    """The steps of an attempt that end in success or in an error of `mtasts.errors`."""

    DNS = "dns"
    HTTPS = "https"
    DANE = "dane"
    OWN = "own"
    """Not a step: a fault of this program ended the attempt."""


class Purpose(Label):
    """What a check of a domain is made for."""

    TRIAL = "trial"
    EXCEPTION = "exception"


class AlertResult(Label):
    """What became of an event for `alerts.command`."""

    DONE = "done"
    """The command ended with exit code 0."""
    FAILED = "failed"
    LEFT_OUT = "left_out"
    """The command was not run: there were too many events, or the daemon stopped."""


class TlsrptResult(Label):
    """What became of a look-up that was to be reported to the collector of TLS reports."""

    SENT = "sent"
    GONE = "gone"
    """The collector's socket is not there, or this daemon may not write to it."""
    FULL = "full"
    """The collector did not read."""
    LEFT_OUT = "left_out"
    """There were too many, or the datagram would have been too long."""


class FleetRequest(Label):
    """What the daemon asks of the shared store, one for each class of `store.fleet.requests`."""

    LOOK = "look"
    CLAIM = "claim"
    RELEASE = "release"
    OFFER_POLICY = "offer_policy"
    READ_HISTORY = "read_history"
    READ_EXCEPTIONS = "read_exceptions"
    WRITE_EXCEPTIONS = "write_exceptions"
    OFFER_CHECK = "offer_check"
    READ_CHECKS = "read_checks"
    ANNOUNCE = "announce"
    READ_RELAYS = "read_relays"
    NOTE_USES = "note_uses"
    FIND_DUE = "find_due"


class FleetOutcome(Label):
    """What became of a request to the shared store."""

    ANSWERED = "answered"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The store was not asked: the breaker is open, or its client is not ready, or hangs."""
    CANCELLED = "cancelled"
    """Nothing waited for the answer any more."""


class FleetLook(Label):
    """What an attempt found in the shared store."""

    ADOPTED = "adopted"
    """A policy that it took, in place of a fetch or of nothing."""
    ABSENT = "absent"
    """No policy."""
    NOT_USED = "not_used"
    """A policy that it may not take; see `mtasts.sharing`."""
    REFUSED = "refused"
    """A record that is not valid."""
    UNAVAILABLE = "unavailable"
    """Nothing: the store did not answer in time, or was not asked."""
    LATE = "late"
    """A policy that the attempt took in place of nothing, after `UNAVAILABLE`."""


class FleetClaim(Label):
    """How the wait for the lease of a domain has ended, before a fetch."""

    HELD = "held"
    """This relay has the lease, and fetches."""
    SHARED = "shared"
    """Another relay had it, and its policy came."""
    IN_VAIN = "in_vain"
    """Another relay had it, and no policy came in time: this one fetches, too."""
    UNAVAILABLE = "unavailable"


class Part(StrEnum):
    """What can fail while Postfix is still answered."""

    DNS = "dns"
    """A name server replies, even if only that there is no record."""
    NETWORK_PROCESS = "network_process"
    """It answers pings, and the last reload could start another one."""
    CA_CERTIFICATES = "ca_certificates"
    """There are some to check Policy Hosts against."""
    STORE_READING = "store_reading"
    STORE_WRITING = "store_writing"
    FLEET = "fleet"
    """The shared store answers, if there is one."""


SPARED: Final = frozenset({Part.FLEET})
"""The parts without which each answer is the same: only what relays share is missing."""
