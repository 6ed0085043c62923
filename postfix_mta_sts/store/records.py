"""What a store keeps for administrators, beside the policies: exceptions, checks, weakenings.

Every backend of `Store` has these methods, too. Times are seconds since the epoch. A backend raises
`StoreError`; of `FailsafeStore`, see each method.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.store.errors import StoreError
from postfix_mta_sts.values import Value, replace

EXCEPTIONS_LIMIT: Final = 1_000
"""Exceptions that commands may add; more are for the configuration."""
CHECKS_LIMIT: Final = 100_000
"""Checks that are kept, one of each domain; the oldest are removed first."""
WEAKENINGS_LIMIT: Final = 10_000
"""Events that are kept; the oldest are removed first."""
TEXT_LIMIT: Final = 1_000
"""Characters of one text of a check or an event; domain owners choose some of them."""


Changes: TypeAlias = Mapping[Scope, PolicyException | None]
"""Exceptions to put in place of those with their scopes; None: to remove."""


class FleetNotes(Value, frozen=True):
    """What a relay has seen last of the exceptions that its fleet shares in one document."""

    version: int = 0
    """Of that document, the highest that the relay has seen; 0: it has seen none."""
    keys: tuple[str, ...] = ()
    """What tells the keys of that fleet from those of others."""
    marks: Mapping[Scope, str] = {}
    """What identifies each exception of that document (`admin.exceptions.shared`)."""
    removed: Mapping[Scope, tuple[str, ...]] = {}
    """Marks of what commands have removed or replaced here since, and the fleet may still have."""


class RefusedError(StoreError):
    """The store works, and refuses this request; `str()` says what to do."""


class AdminRecords(Protocol):
    """The records that commands write and read."""

    async def exceptions(self) -> Sequence[PolicyException]:
        """Return the exceptions that commands have added, also those that have ended.

        Raises `StoreError` if they cannot be read, also in `FailsafeStore`.
        """

    async def put_exception(self, exception: PolicyException) -> None:
        """Add an exception, or replace the one with its scope; then it survives a `kill -9`.

        Raises `StoreError` if it cannot be written, also in `FailsafeStore`, and `RefusedError` if
        there are `EXCEPTIONS_LIMIT` others.
        """

    async def remove_exception(self, scope: Scope) -> bool:
        """Remove an exception; return whether there was one.

        Raises `StoreError` if that cannot be written, also in `FailsafeStore`.
        """

    async def take_exceptions(self, changes: Changes, notes: FleetNotes) -> None:
        """Do changes of at most 2 * `EXCEPTIONS_LIMIT` exceptions, and keep the notes: all or none.

        Raises `StoreError` if that cannot be written, also in `FailsafeStore`.
        """

    async def fleet_notes(self) -> FleetNotes:
        """Return the notes; empty ones if there are none, or they are damaged.

        Raises `StoreError` if they cannot be read, also in `FailsafeStore`.
        """

    async def said_at(self) -> float | None:
        """Return what `put_said_at` noted last; None if nothing was, or it cannot be read."""

    async def put_said_at(self, at: float) -> None:
        """Note that the log has all ends of exceptions until then; `FailsafeStore` may lose it."""

    async def put_check(self, check: Check) -> None:
        """Keep the last check of a domain; `FailsafeStore` may lose it."""

    async def check(self, domain: Domain) -> Check | None:
        """Return the last check of a domain; None if there is none, or it cannot be read."""

    async def checks(self, since: float, after: Domain | None, limit: int) -> Sequence[Check]:
        """Return at most `limit` checks made since then, of the domains after `after`, in order.

        To get the next page, pass the last domain of this one. An empty page is the last.
        """

    async def put_weakenings(self, *weakenings: Weakening) -> None:
        """Keep events, all or none; `FailsafeStore` may lose them."""

    async def weakenings(self, since: float, limit: int) -> Sequence[Weakening]:
        """Return at most `limit` events since then, the newest first."""


def too_many() -> RefusedError:
    """Make the error of `put_exception` if there is no room."""
    advice = "remove some, or write them into the configuration"
    return RefusedError(f"there are {EXCEPTIONS_LIMIT} exceptions already; {advice}")


def short_check(check: Check) -> Check:
    """Return a check of which no text is too long for a store."""
    return replace(
        check,
        sentence=_short(check.sentence),
        cause=_short(check.cause),
        fault=_short(check.fault),
        policy_id=_short(check.policy_id),
    )


def short_weakening(weakening: Weakening) -> Weakening:
    """Return an event of which no text is too long for a store."""
    return replace(
        weakening,
        before=_short(weakening.before),
        after=_short(weakening.after),
        policy_id=_short(weakening.policy_id),
    )


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 3]}..."
