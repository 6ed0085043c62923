"""Whether the shared store works, for one kind of access: its breaker, and why it is open."""

from collections.abc import Callable

from postfix_mta_sts.store.fleet.breaker import Admission, Breaker, Position
from postfix_mta_sts.store.fleet.errors import PausedError


class Gate:
    """Admits calls; `monotonic` is a clock in seconds. The end of each is reported."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._breaker = Breaker()
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why calls fail; empty while the breaker is closed."""
        return "" if self._breaker.position is Position.CLOSED else self._problem

    def admit(self, *, may_probe: bool) -> Admission:
        """Let a call pass, also as the probe if it may be that. Raises `PausedError`."""
        admission = self.ask() if may_probe or not self.problem else Admission.NONE
        if admission is Admission.NONE:
            raise PausedError(self._problem)
        return admission

    def ask(self) -> Admission:
        """Say whether the end of a call that is made anyway would count; `NONE`: it would not."""
        self._breaker, admission = self._breaker.asked(self._monotonic())
        return admission

    def succeeded(self, admission: Admission) -> None:
        """Report a call that worked."""
        self._breaker = self._breaker.succeeded(admission)

    def failed(self, admission: Admission, asked_at: float, reason: str) -> None:
        """Report a call that asked at `asked_at`, and did not."""
        self._breaker = self._breaker.failed(admission, asked_at, self._monotonic())
        self._problem = reason

    def gave_up(self, admission: Admission) -> None:
        """Report a call that ended before it was known whether the store works."""
        self._breaker = self._breaker.gave_up(admission)
