"""Which calls of the shared store are made, and what their ends say of it.

    reading  all calls: whether the store answers, however long it takes
    looking  those that a look-up waits for: whether it answers them within `fleet.budget`
    writing  those that change something: one that is read-only, full or without its standby can
             still be read

A call is made if each gate on its way admits it; if it fails, that is told to those of them that it
concerns. So a distant store, too slow for look-ups, still has the exceptions, and what is given to
it.

The probe of each gate is a call that no look-up waits for: one is made every two to ten seconds.
Whether these calls are quick is therefore told to `looking`, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store.fleet.breaker import Admission
from postfix_mta_sts.store.fleet.errors import (
    BusyError,
    CannotServeError,
    DeniedError,
    FleetError,
    LateError,
    PausedError,
)
from postfix_mta_sts.store.fleet.gate import Gate
from postfix_mta_sts.store.fleet.outage import Outage
from postfix_mta_sts.store.fleet.requests import StoreCondition

READING: Final = "reading"
LOOKING: Final = "looking"
WRITING: Final = "writing"


@dataclass(frozen=True, slots=True)
class CallKind:
    """What a call is."""

    is_look: bool
    """Whether a look-up waits for it."""
    is_write: bool


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that is made; report its end."""

    kind: CallKind
    at: float
    """When it began, in seconds of the clock of its gates."""
    admissions: Sequence[tuple[Gate, Admission]]


class Gates:
    """The gates of one store; `budget` as in `SharedStoreSettings`, `monotonic` in seconds."""

    def __init__(self, budget: float, monotonic: Callable[[], float]) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._reading = Gate(monotonic)
        self._looking = Gate(monotonic)
        self._writing = Gate(monotonic)
        lines = RateLimit()
        self._answers = Outage(monotonic, lines)
        self._writes = Outage(monotonic, lines)

    @property
    def condition(self) -> StoreCondition:
        """Whether the store works, as far as is known."""
        if problem := self._reading.problem:
            return StoreCondition(problem, is_asked=False)
        if problem := self._writing.problem:
            return StoreCondition(problem)
        slow = self._looking.problem
        return StoreCondition(slow, is_slow=bool(slow))

    def admit(self, kind: CallKind) -> Admitted:
        """Ask all gates on the way of a call. Raises `PausedError` if one admits nothing."""
        way = [self._reading]
        way += [self._looking] if kind.is_look else []
        way += [self._writing] if kind.is_write else []
        admissions: list[tuple[Gate, Admission]] = []
        try:
            for gate in way:
                admissions += [(gate, gate.admit(may_probe=not kind.is_look))]
        except PausedError:
            _give_up(admissions)
            raise
        if not kind.is_look:
            admissions += [(self._looking, self._looking.ask())]
        return Admitted(kind, self._monotonic(), admissions)

    def succeeded(self, call: Admitted) -> None:
        """Report a call that worked; one that took too long for a look-up is no probe of that."""
        took = self._monotonic() - call.at
        for gate, admission in call.admissions:
            if gate is not self._looking or took <= self._budget:
                gate.succeeded(admission)
            elif admission is Admission.PROBE:
                said = f"an answer took {took:.3g} s, and fleet.budget is {self._budget:g} s"
                gate.failed(admission, call.at, said)
            else:
                gate.gave_up(admission)
        self._say()

    def failed(self, call: Admitted, error: FleetError) -> None:
        """Report a call that did not; that this relay is busy says nothing."""
        blamed = [] if isinstance(error, BusyError) else self._blamed(call.kind, error)
        for gate, admission in call.admissions:
            if gate in blamed:
                gate.failed(admission, call.at, str(error))
            else:
                gate.gave_up(admission)
        self._say()

    def gave_up(self, call: Admitted) -> None:
        """Report a call that ended before it was known whether the store works."""
        _give_up(call.admissions)

    def _blamed(self, kind: CallKind, error: FleetError) -> Sequence[Gate]:
        if kind.is_look and isinstance(error, LateError):
            # A look-up writes only after it has read in time, so a store that hangs on writes alone
            # works for the next read. One that hangs altogether has begun to do so in between.
            return [self._looking, self._writing] if kind.is_write else [self._looking]
        # Late: a PostgreSQL whose synchronous standby is gone answers reads, and no commit.
        is_of_writes = isinstance(error, CannotServeError | DeniedError | LateError)
        return [self._writing if kind.is_write and is_of_writes else self._reading]

    def _say(self) -> None:
        """Log what is new. A store that does not answer at all is late, too: that is one outage."""
        if problem := self._reading.problem:
            self._answers.say(READING, problem, covered_by=LOOKING)
        else:
            self._answers.say(LOOKING, self._looking.problem)
        self._writes.say(WRITING, self._writing.problem)


def _give_up(admissions: Sequence[tuple[Gate, Admission]]) -> None:
    for gate, admission in admissions:
        gate.gave_up(admission)
