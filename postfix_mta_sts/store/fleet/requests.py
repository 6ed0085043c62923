"""What the daemon asks of the shared store, and what it gets: the values that cross the processes.

Each request has one answer, named in its docstring; `Unavailable` may answer any of them. Texts in
answers were parsed where they arrived, by the same functions as those of the network. Seconds are
those of the clock of this relay, or durations; `clocks` has the times of the store.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.values import Value


class Request(Value, frozen=True, array_like=True, tag=True):
    """Base of the requests."""


class Answer(Value, frozen=True, array_like=True, tag=True):
    """Base of the answers."""


class StoreCondition(Value, frozen=True):
    """Whether the shared store works, as far as is known."""

    problem: str = ""
    """Why it is not used for everything: one printable line; empty: it works."""
    is_asked: bool = True
    """False: nothing is asked of it at present."""
    is_slow: bool = False
    """Whether look-ups do not ask it, because it takes too long for them.

    With a `problem`, asked and not slow, it is read and not written."""


class Unavailable(Answer, frozen=True):
    """The store did not do it: it failed, the breaker is open, or the time was over."""

    reason: str
    """One printable line."""
    was_asked: bool = True
    """False: the breaker is open, or the client of the store is not ready, or does not react."""


class Done(Answer, frozen=True):
    """It was done; `is_kept` False: the store has something as new, or newer."""

    is_kept: bool = True


class Look(Request, frozen=True):
    """Read the policy of a domain, in at most `seconds`. Answer: `Seen`."""

    domain: Domain
    seconds: float
    can_wait: bool = False
    """It has its turn behind looks that cannot, and more than the budget: no look-up waits for it,
    or one whose network has failed."""


class Seen(Answer, frozen=True):
    """What the store has of a policy."""

    policy: SharedPolicy | None
    refused: str = ""
    """Why a record that is there is not used; it is logged already."""
    seconds: float = 0.0
    """How long the store took."""


class Claim(Request, frozen=True):
    """Take the lease of a domain, or wait for the policy of the relay that has it.

    It ends when this relay has the lease, when there is a policy of another order than `seen`, or
    after `wait` seconds. `seconds`: what the store may take for its first answer, and the claim may
    take beyond `wait`. Answer: `Held`. The lease is renewed each second until `Release`, or
    `OfferPolicy` with its token.
    """

    domain: Domain
    seen: int
    wait: float
    seconds: float


class Held(Answer, frozen=True):
    """How a claim has ended."""

    token: str
    """Names the lease; empty: this relay does not have it."""
    policy: SharedPolicy | None


class Release(Request, frozen=True):
    """Give a lease back. Answer: `Done`."""

    domain: Domain
    token: str


class OfferPolicy(Request, frozen=True):
    """Give a fetched policy to the fleet, with its history. Answer: `Done`."""

    domain: Domain
    text: str
    policy_id: str
    age: float
    """Seconds since the fetch."""
    due_in: float
    """Seconds until it is to be fetched again, if no relay has until then."""
    asked_ago: float | None = None
    """Seconds since it was last asked for; None: not known."""
    token: str = ""
    """A lease to give back afterwards."""
    is_measured: bool = True
    """Whether this process fetched it. False: another relay may have, and the age is that of the
    clock of this one, which may have been set back."""


class ReadHistory(Request, frozen=True):
    """Read the policies that a domain has had. Answer: `History`."""

    domain: Domain


class History(Answer, frozen=True):
    """The policies that a domain has had, the newest first; times by the clock of this relay."""

    entries: tuple[HistoryEntry, ...]


class ReadExceptions(Request, frozen=True):
    """Read the document of exceptions, if its version is above a number.

    That with this very version, too, if it is another document than the one with this digest: a
    store that was switched to a replica may have two under one number. Answer: `Document`, or
    `OtherFleet`.
    """

    above: int
    digest: str = ""
    """See `Document`; empty: none is known."""
    fleet: tuple[str, ...] = ()
    """Of which fleet (`settings.fleet_of`); empty: whichever there is."""


class Document(Answer, frozen=True):
    """The document of exceptions of the fleet."""

    version: int
    """That in the store; 0: there is none, or none that is valid."""
    exceptions: tuple[PolicyException, ...] | None
    """None: there is nothing in it that was asked for."""
    written_by: str = ""
    by_other_key: bool = False
    """Whether it is signed with a key of this relay that is not the one that signs."""
    digest: str = ""
    """What tells it from any other; empty: there is none."""


class WriteExceptions(Request, frozen=True):
    """Replace the document, if its version in the store is lower. Answer: `Done`, `OtherFleet`."""

    version: int
    exceptions: tuple[PolicyException, ...]
    fleet: tuple[str, ...]
    """Of which fleet (`settings.fleet_of`)."""


class OtherFleet(Answer, frozen=True):
    """Nothing was done: a reload has put this relay into another fleet than that of the request."""


class OfferCheck(Request, frozen=True):
    """Give the result of a check to the fleet. Answer: `Done`."""

    check: Check


class ReadChecks(Request, frozen=True):
    """Read checks of the domains after `after`, in order. Answer: `Checks`; an empty one ends."""

    after: str
    limit: int


class Checks(Answer, frozen=True):
    """Checks; times by the clock of this relay."""

    checks: tuple[Check, ...]
    last: str
    """The key after which the next page starts; empty: this was the last."""


VERSION_LENGTH: Final = 32
"""Characters of the version of a daemon."""


class RelayReport(Value, frozen=True):
    """What a relay says of itself, every ten seconds."""

    version: str
    """Of the daemon; at most `VERSION_LENGTH` characters of printable ASCII."""
    policies: int
    """In its own store, those that have not expired."""
    waiting: int
    """Policies that it has not given to the fleet yet."""
    exceptions_version: int


class Announce(Request, frozen=True):
    """Say that this relay is alive. Answer: `Done`."""

    report: RelayReport


class ReadRelays(Request, frozen=True):
    """Read what the relays say of themselves, at most 1,000. Answer: `Relays`."""


class Relay(Value, frozen=True):
    """A relay of the fleet."""

    name: str
    report: RelayReport
    seen_ago: float
    """Seconds since it said so, by the clock of the store."""


class Relays(Answer, frozen=True):
    """The relays, by name."""

    relays: tuple[Relay, ...]
    refused: int = 0
    """Records that are not valid here, such as those of relays with another key."""


class NoteUses(Request, frozen=True):
    """Note that domains were asked for, so many seconds ago each. Answer: `Done`."""

    asked_ago: Mapping[Domain, float]
    due_in: Mapping[Domain, float] | None = None
    """Seconds until these are due, in place of what was noted: a relay takes care of them."""


class FindDue(Request, frozen=True):
    """Find domains that are overdue and were asked for in the last `idle_after` seconds.

    Answer: `Due`.
    """

    idle_after: float
    limit: int


class Due(Answer, frozen=True):
    """Domains to renew, the longest overdue first."""

    domains: tuple[Domain, ...]


AnyRequest: TypeAlias = (
    Look
    | Claim
    | Release
    | OfferPolicy
    | ReadHistory
    | ReadExceptions
    | WriteExceptions
    | OfferCheck
    | ReadChecks
    | Announce
    | ReadRelays
    | NoteUses
    | FindDue
)
AnyAnswer: TypeAlias = (
    Unavailable | Done | Seen | Held | History | Document | OtherFleet | Checks | Relays | Due
)
CallFleet: TypeAlias = Callable[[AnyRequest], Awaitable[AnyAnswer]]
"""Asks the shared store; it never raises, and answers in the time of `limits`."""


def problem_of(answer: AnyAnswer) -> str:
    """Return why an answer is not the one that was asked for."""
    if isinstance(answer, Unavailable):
        return answer.reason or "it did not answer"
    if isinstance(answer, OtherFleet):
        return "a reload has put this relay into another fleet"
    return "it answered something else"
