"""Exceptions, a store for them that can fail, and a keeper with a manual clock."""

from collections.abc import Callable, Mapping, Sequence

from postfix_mta_sts.admin.exceptions.keeper import ExceptionKeeper
from postfix_mta_sts.mtasts.exceptions import (
    Exceptions,
    PolicyException,
    Scope,
    Use,
    parse_exception,
    parse_scope,
)
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.memory_records import MemoryRecords
from postfix_mta_sts.store.records import Changes, FleetNotes
from tests.support.surroundings import START

HOUR, DAY = 3_600.0, 86_400.0


def exception(
    scope: str = "good.test",
    lasts: float | None = 3 * DAY,
    use: Use = Use.IGNORE,
    *,
    reason: str = "ticket 4711",
    added_at: float | None = START,
    uid: int = 0,
    mx: tuple[str, ...] = (),
    ignores_dane: bool = False,
    relay: str = "",
) -> PolicyException:
    """An exception that a command added at `added_at`; None: it is in the configuration."""
    start = START if added_at is None else added_at
    return parse_exception(
        parse_scope(scope, anyway=True),
        use,
        reason,
        None if lasts is None else start + lasts,
        mx=mx,
        ignores_dane=ignores_dane,
        added_at=added_at,
        uid=None if added_at is None else uid,
        relay=relay,
    )


def configured(*exceptions: PolicyException) -> Mapping[Scope, PolicyException]:
    """Exceptions by their scope."""
    return {each.scope: each for each in exceptions}


class Records(MemoryRecords):
    """`AdminRecords` in memory, of which exceptions fail while `problem` is not empty."""

    def __init__(self, *exceptions: PolicyException) -> None:
        super().__init__()
        self._exceptions |= configured(*exceptions)
        self.kept = self._exceptions
        self.known_checks = self._checks
        self.problem = ""
        self.is_slow = False
        """Whether a write that fails is done all the same."""

    def _call(self) -> None:
        if self.problem:
            raise StoreError(self.problem)

    async def exceptions(self) -> Sequence[PolicyException]:
        """See `AdminRecords`."""
        self._call()
        return await super().exceptions()

    async def put_exception(self, exception: PolicyException) -> None:
        """See `AdminRecords`."""
        if self.is_slow:
            await super().put_exception(exception)
        self._call()
        await super().put_exception(exception)

    async def remove_exception(self, scope: Scope) -> bool:
        """See `AdminRecords`."""
        if self.is_slow:
            await super().remove_exception(scope)
        self._call()
        return await super().remove_exception(scope)

    async def take_exceptions(self, changes: Changes, notes: FleetNotes) -> None:
        """See `AdminRecords`."""
        if self.is_slow:
            await super().take_exceptions(changes, notes)
        self._call()
        await super().take_exceptions(changes, notes)


class Time:
    """A clock of the day and one that only runs, both moved by hand."""

    def __init__(self) -> None:
        self.now = START
        self.runs = 0.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.runs += seconds


class Kept:
    """A keeper, what it has given to the rules, and its surroundings."""

    def __init__(
        self, *stored: PolicyException, use: Callable[[Exceptions], None] | None = None
    ) -> None:
        self.records = Records(*stored)
        self.time = Time()
        self.used: list[Exceptions] = []
        self.cleared = 0
        """How often cached replies were to be made again."""
        self._use = use or self.used.append
        self.restart()

    def restart(self) -> None:
        """Go on with the keeper of a new daemon."""
        self.keeper = ExceptionKeeper(
            self.records, self._use, self._clear, lambda: self.time.now, lambda: self.time.runs
        )

    def _clear(self) -> None:
        self.cleared += 1

    async def tick_after(self, seconds: float) -> None:
        """Let time pass, then do what is due."""
        self.time.pass_by(seconds)
        await self.keeper.tick()
